# cython: language_level=3
"""The host memory of a machine's frames and their records, shared by a machine and its branches until one writes.

What the first branch finds is copied to a file in memory, of which both machines map a private view: the host copies
a page when either of them writes to it.  Later branches map the same file, and copy the pages that have changed since.
"""
import mmap as host
import os
import tempfile
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy
from posix.mman cimport mmap, MAP_ANONYMOUS, MAP_FAILED, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE
import numpy as np
from foliosim._core.flags cimport *
from foliosim._core.machine cimport CoreMachine
from foliosim._core.page cimport *
from foliosim._core.types cimport *

cdef uint64_t HOST_PAGE = host.PAGESIZE
_SWAPPED_OR_PRESENT, _OF_A_FILE = np.uint64(3 << 62), np.uint64(1 << 61)


class SharedFrames:
    """A file in memory, no longer written to, that machines map."""

    def __init__(self, size):
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("foliosim", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, size)

    def __del__(self):
        os.close(self.fd)

    @property
    def nbytes(self):
        """Host memory that it takes."""
        return os.fstat(self.fd).st_blocks * 512


# ---- where the memory is ----

cdef uint64_t up(uint64_t size) noexcept:
    return (size + HOST_PAGE - 1) & ~(HOST_PAGE - 1)


cdef list areas(machine_t *m):
    """(address, bytes) of the memory of tables, and of both arrays of records; in a file they follow one another."""
    cdef uint64_t blocks = m.nr_pages >> FS_HPAGE_PMD_ORDER
    return [(<uint64_t>m.phys, up(m.nr_pages << FS_PAGE_SHIFT)), (<uint64_t>m.pages, up(m.nr_pages * sizeof(page_t))),
            (<uint64_t>m.heads, up(blocks * 4 * sizeof(page_t)))]


cdef list used_ranges(machine_t *m):
    """(address, bytes, offset in a file) of what may hold anything but zeros."""
    cdef uint64_t block, first = 0, blocks = up(m.fresh_pfn) >> FS_HPAGE_PMD_ORDER
    cdef bint inside = False, table
    (phys, phys_size), (pages, pages_size), (heads, _) = areas(m)
    out = []
    for block in range(m.fresh_pfn >> FS_HPAGE_PMD_ORDER):
        table = page_kind(m.heads + 4 * block) == PG_KIND_TABLE
        if table and not inside:
            first = block
        elif inside and not table:
            out.append((first, block))
        inside = table
    if inside:
        out.append((first, m.fresh_pfn >> FS_HPAGE_PMD_ORDER))
    size = FS_PAGE_SIZE << FS_HPAGE_PMD_ORDER
    out = [(phys + first * size, (end - first) * size, first * size) for first, end in out]
    out.append((pages, up(m.fresh_pfn * sizeof(page_t)), phys_size))
    out.append((heads, up((m.fresh_pfn >> FS_HPAGE_PMD_ORDER) * 4 * sizeof(page_t)), phys_size + pages_size))
    return out


cdef object own_pages(uint64_t address, uint64_t size):
    """Which host pages are this mapping's own, not those of a file that it maps; all, if the host does not tell."""
    n = size // HOST_PAGE
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return np.ones(n, bool)
    try:
        words = np.frombuffer(os.pread(fd, 8 * n, address // HOST_PAGE * 8), np.uint64)
    finally:
        os.close(fd)
    if len(words) != n:
        return np.ones(n, bool)
    return (words & _SWAPPED_OR_PRESENT != 0) & (words & _OF_A_FILE == 0)


cdef void mark_file_pages(base, uint64_t offset, uint64_t size, marks) except *:
    """Mark the pages of a range of the file that are not holes."""
    cdef uint64_t at = offset, end
    while at < offset + size:
        try:
            at = os.lseek(base.fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no more
            return
        end = os.lseek(base.fd, at, os.SEEK_HOLE)
        if at < offset + size:
            marks[(at - offset) // HOST_PAGE:(end - offset + HOST_PAGE - 1) // HOST_PAGE] = True
        at = end


def runs(CoreMachine machine, *, bint own=False):
    """(address, bytes, offset in a file) of all host memory in use; own: without what the file it maps holds."""
    out = []
    for address, size, offset in used_ranges(&machine.m):
        marks = own_pages(address, size)
        if machine.base is not None and not own:
            mark_file_pages(machine.base, offset, size, marks)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8))) * int(HOST_PAGE)
        out.extend((address + start, end - start, offset + start) for start, end in
                   zip(edges[::2].tolist(), edges[1::2].tolist()))
    return out


cdef object memory(uint64_t address, uint64_t size):
    return <uint8_t[:size]><uint8_t *>address


# ---- sharing ----

cdef void map_all(machine_t *m, base) except *:
    """Put private views of the file, or fresh zeros, where the machine's memory is."""
    cdef uint64_t address, size, offset = 0
    cdef int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (MAP_ANONYMOUS if base is None else 0)
    for address, size in areas(m):
        if mmap(<void *>address, size, PROT_READ | PROT_WRITE, flags, -1 if base is None else base.fd,
                0 if base is None else offset) == MAP_FAILED:
            raise MemoryError("the host cannot map the memory of a machine once more")
        offset += size


def file_size(CoreMachine machine):
    return sum(size for _, size in areas(&machine.m))


def share(CoreMachine parent):
    """Let the machine map a file, if it does not or has changed half of it; (bytes copied, bytes of its own)."""
    own = runs(parent, own=True)
    changed = sum(size for _, size, _ in own)
    if parent.base is not None and 2 * changed <= parent.base.nbytes:
        return 0, changed
    base = SharedFrames(file_size(parent))
    copied = 0
    for address, size, offset in runs(parent):
        at = 0
        while at < size:
            at += os.pwrite(base.fd, memory(address + at, size - at), offset + at)
        copied += size
    map_all(&parent.m, base)
    parent.base = base
    return copied, 0


def map_shared(CoreMachine child, CoreMachine parent):
    """Give a machine of the same size the memory of another that `share` was called for; bytes copied."""
    cdef uint64_t from_at, to_at, at, size, offset
    cdef uint64_t copied = 0
    map_all(&child.m, parent.base)
    child.base = parent.base
    for address, run, start in runs(parent, own=True):
        from_at, size, offset = address, run, start
        to_at = host_address(&child.m, offset)
        for at in range(0, size, HOST_PAGE):
            if memcmp(<void *>(to_at + at), <void *>(from_at + at), HOST_PAGE):
                memcpy(<void *>(to_at + at), <void *>(from_at + at), HOST_PAGE)
                copied += HOST_PAGE
    return copied


cdef uint64_t host_address(machine_t *m, uint64_t offset) except 0:
    for address, size in areas(m):
        if offset < size:
            return address + offset
        offset -= size
    raise ValueError(f"offset {offset:#x}: beyond the memory of the machine")


# ---- in a file ----

def pieces(CoreMachine machine):
    """(offset, contents) of all host memory that is not zero."""
    out = []
    for address, size, offset in runs(machine):
        view = np.asarray(memory(address, size)).reshape(-1, HOST_PAGE)
        marks = np.concatenate([[False], view.any(axis=1), [False]])
        edges = np.flatnonzero(np.diff(marks.astype(np.int8)))
        out.extend((offset + start * int(HOST_PAGE), view[start:end].tobytes()) for start, end in
                   zip(edges[::2].tolist(), edges[1::2].tolist()))
    return out


def put_pieces(CoreMachine machine, parts):
    """The memory of a machine: these pieces, and zeros."""
    cdef uint64_t end = file_size(machine)
    cdef const uint8_t[::1] view
    map_all(&machine.m, None)
    for offset, content in parts:
        if offset < 0 or offset + len(content) > end:
            raise ValueError(f"memory at {offset:#x}: beyond that of the machine")
        view = content
        while len(view):
            size = min(len(view), area_left(&machine.m, offset))
            memcpy(<void *>host_address(&machine.m, offset), &view[0], size)
            view = view[size:]
            offset += size


cdef uint64_t area_left(machine_t *m, uint64_t offset) except 0:
    for _, size in areas(m):
        if offset < size:
            return size - offset
        offset -= size
    raise ValueError(f"offset {offset:#x}: beyond the memory of the machine")
