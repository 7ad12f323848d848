"""Folio shapes: the ways in which a range of memory can be backed, each built by the smallest sequence of calls.

A `Shape` knows what its bytes must be, in every process, and `Shape.audit` compares everything that can be counted
from outside: bytes, page-table mappings against kpagecount, reference counts, Rss, AnonHugePages.
"""
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

import foliosim as fs
from foliosim.cores import find
from foliosim.testing.available import missing

ADDR = 0x200000000000
ARENA_LEAVES = 8         # PMD leaves that a process's memory of a shape lies in
RW = fs.PROT_READ | fs.PROT_WRITE
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
FILE_BYTES = list(range(1, 17))
_PRESENT, _FRAME = np.uint64(fs.PM_PRESENT), np.uint64(fs.PM_PFRAME_MASK)


@dataclass
class Shape:
    """Memory of one shape.

    Attributes
    ----------
    name : str
    machine : Machine
    process : Process
        Whose memory it is; `others` may map parts of it.
    addr, nr : int
        The range: address and pages; all of it is mapped.
    kind : str
        ``"anon"``, ``"zero"`` (zero pages), ``"shmem"`` or ``"file"`` (private file).
    order : int
        Of the folio that backs the range (huge zero page: `huge_order`).
    outside : int
        Pages of the folio that the process maps outside the range.
    bytes : dict
        Process to the list of bytes at its pages from `addr` on; None where it has nothing mapped.
    references : list
        `PageReference` objects that are held.
    """

    name: str
    machine: fs.Machine
    process: fs.Process
    nr: int
    kind: str = "anon"
    order: int = 0
    addr: int = ADDR
    outside: int = 0
    bytes: dict = field(default_factory=dict)
    references: list = field(default_factory=list)

    @property
    def page(self):
        """Bytes of a page."""
        return self.machine.page_size

    @property
    def page_kb(self):
        """A page in kB."""
        return self.page >> 10

    @property
    def huge_order(self):
        """Order of a folio that a PMD maps."""
        return self.machine.core.pmd_order

    @property
    def huge(self):
        """Bytes of such a folio."""
        return self.machine.core.pmd_size

    @property
    def arena(self):
        """Bytes from `ADDR` on that hold all that a process maps."""
        return ARENA_LEAVES * self.huge

    @property
    def elsewhere(self):
        """An aligned place in the arena that is free."""
        return ADDR + self.arena // 2

    @property
    def length(self):
        """Bytes of the range."""
        return self.nr * self.page

    @property
    def half(self):
        """Pages of the part that "part" behaviours use: half of the range, but at least one page."""
        return max(1, self.nr // 2)

    @property
    def others(self):
        """Its processes but the first."""
        return [process for process in self.bytes if process is not self.process]

    @property
    def pmd_mapped(self):
        """Whether the process maps the range by a PMD."""
        return int(self.process.walk([self.addr])["level"][0]) == 1

    # ---- steps that keep the books ----

    def fill(self, value=1):
        """Store value, value + 1, ... in the pages."""
        self.write(self.process, 0, self.nr, value, delta=1)

    def write(self, process, first, count, value, *, delta=0):
        """Store, and remember what was stored; a shared page is remembered for all."""
        process.write(self.addr + first * self.page, count * self.page, value=value, delta=delta)
        for owner in self.bytes if self.kind == "shmem" else (process,):
            for page in (page for page in range(first, first + count) if self.bytes[owner][page] is not None):
                self.bytes[owner][page] = (value + (page - first) * delta) % 256

    def fork(self):
        """A child, with all that the first process has."""
        child = self.process.fork()
        self.bytes[child] = list(self.bytes[self.process])
        return child

    def exit(self, process):
        """End a process."""
        process.exit()
        del self.bytes[process]

    def munmap(self, process, first, count):
        """Unmap pages of the range in a process."""
        process.munmap(self.addr + first * self.page, count * self.page)
        self.bytes[process][first:first + count] = [None] * count

    def munmap_all(self, process):
        """Unmap the range and what lies outside it."""
        process.munmap(ADDR, self.arena)
        self.bytes[process] = [None] * self.nr

    def dropped(self, first, count):
        """Pages of the process that lost their contents: they read zeros, or the file again."""
        if self.kind != "shmem":
            fresh = FILE_BYTES if self.kind == "file" else [0] * self.nr
            self.bytes[self.process][first:first + count] = fresh[first:first + count]

    def hold(self, reference):
        """Keep a reference until the test ends."""
        self.references.append(reference)
        return reference

    # ---- views ----

    def frames(self, process=None, first=0, count=None):
        """Frame numbers of the pages from `addr` on; None where nothing is present."""
        process = process or self.process
        return frames_of(process, self.addr + first * self.page, self.nr - first if count is None else count)

    def settled(self, before):
        """Frames that stay when a PMD is split: all but the huge zero page's."""
        return [None if frame is None or self.is_zero_page(frame) else frame for frame in before]

    def is_zero_page(self, frame):
        """Is a frame a zero page's?"""
        return bool(int(self.machine.kpageflags([frame])[0]) & fs.KPF_ZERO_PAGE)

    def flags(self, frame):
        """The frame's word of /proc/kpageflags."""
        return int(self.machine.kpageflags([frame])[0])

    def smaps(self, process=None, name="AnonHugePages"):
        """Sum of a field of smaps over the arena, in kB."""
        return sum(int(area[name]) for area in (process or self.process).smaps())

    def folios(self, process=None, *, everywhere=False):
        """The folios mapped in the range (or everywhere), by the number of their first frame."""
        found = {}
        frames = self.frames(process)
        if everywhere:
            frames = frames_of(process or self.process, ADDR, self.arena // self.page)
        for frame in frames:
            folio = self.machine.folio(frame) if frame is not None else None
            if folio is not None:
                found[folio.pfn] = folio
        return found

    # ---- what must always hold ----

    def audit(self):
        """Compare bytes and counts with what is expected; AssertionError names what differs."""
        self.machine.validate()
        mappings = Counter()
        for process in self.bytes:
            self._audit_bytes(process)
            mappings.update(self._audit_process(process))
        counted = self.machine.kpagecount(sorted(mappings)).tolist()
        for pfn, count in zip(sorted(mappings), counted, strict=True):
            assert count == mappings[pfn], f"kpagecount of frame {pfn:#x}: {mappings[pfn]} in the processes it knows"
        self._audit_folios(mappings)

    def _audit_bytes(self, process):
        """By the frames, so that the audit does not touch the memory that it looks at."""
        for page, (want, frame) in enumerate(zip(self.bytes[process], self.frames(process), strict=True)):
            if frame is not None:
                assert self.machine.peek_frame(frame) == want, f"{process}: byte of page {page}"
            elif self.kind in ("anon", "zero"):
                assert not want, f"{process}: page {page} is lost"

    def _audit_process(self, process):
        frames = [frame for frame in frames_of(process, ADDR, self.arena // self.page) if frame is not None]
        frames = [frame for frame in frames if not self.is_zero_page(frame)]
        assert self.smaps(process, "Rss") == self.page_kb * len(frames), f"{process}: Rss"
        anon = self.machine.kpageflags(frames) & np.uint64(fs.KPF_ANON) != 0
        assert self.smaps(process, "Anonymous") == self.page_kb * int(anon.sum()), f"{process}: Anonymous"
        starts = ADDR + np.arange(ARENA_LEAVES, dtype=np.uint64) * np.uint64(self.huge)
        huge = [at for at, level in zip(starts, process.walk(starts)["level"], strict=True) if level == 1]
        huge = [frame for frame in (frames_of(process, int(at), 1)[0] for at in huge) if frame is not None]
        anon = [frame for frame in huge if self.flags(frame) & fs.KPF_ANON]
        assert self.smaps(process) == (self.huge >> 10) * len(anon), f"{process}: AnonHugePages"
        return frames

    def _audit_folios(self, mappings):
        held = Counter()
        for reference in self.references:
            for frame in reference.page_frames:
                folio = self.machine.folio(frame)
                if folio is not None:
                    held[folio.pfn] += 1024 if reference.pinned and folio.order < 2 else 1
        for pfn in {folio.pfn for folio in map(self.machine.folio, mappings) if folio is not None}:
            folio = self.machine.folio(pfn)
            cache = 0 if folio.flags & fs.KPF_ANON else folio.nr_pages
            assert folio.refcount == folio.mapcount + cache + held[pfn], f"{folio}: references"
            if folio.order >= 2 and not folio.entire_mapcount:
                mapped = [mappings[pfn + page] for page in range(folio.nr_pages)]
                assert folio.mapcount == sum(mapped), f"{folio}: mapcount"
                assert folio.nr_pages_mapped == sum(map(bool, mapped)), f"{folio}: nr_pages_mapped"


def frames_of(process, addr, count):
    """Frame number of each page, None where nothing is present."""
    words = process.pagemap(addr, count * process.machine.page_size)
    frames = (words & _FRAME).tolist()
    return [frame if there else None for frame, there in zip(frames, (words & _PRESENT).tolist(), strict=True)]


# ---- builders ----

@dataclass(frozen=True)
class _Site:
    """Where a shape is built: the machine's settings."""

    arch: str
    page_size: int

    @property
    def core(self):
        return find(self.arch, self.page_size)

    @property
    def page(self):
        return self.core.page_size

    @property
    def ptes(self):
        return 1 << self.core.pmd_order

    def machine(self, **settings):
        memory = max(256 << 20, 2 * ARENA_LEAVES * self.core.pmd_size)
        return fs.Machine(arch=self.arch, page_size=self.page_size, memory=memory, **settings)


def _start(name, site, nr, *, advice=None, flags=FIXED, settings=None, **more):
    machine = site.machine(**(settings or {}))
    shape = Shape(name, machine, machine.spawn(), nr, **more)
    shape.process.mmap(shape.length, prot=RW, flags=flags, addr=shape.addr)
    if advice is not None:
        shape.process.madvise(shape.addr, shape.length, advice)
    shape.bytes[shape.process] = [0] * nr
    return shape


def _base_page(name, site):
    shape = _start(name, site, 16)
    shape.fill()
    return shape


def _thp(name, site):
    shape = _start(name, site, site.ptes, advice=fs.MADV_HUGEPAGE, order=site.core.pmd_order)
    shape.fill()
    assert shape.pmd_mapped
    return shape


def _thp_pte(name, site):
    shape = _thp(name, site)
    shape.process.mprotect(shape.addr, shape.length // 2, fs.PROT_READ)
    shape.process.mprotect(shape.addr, shape.length // 2, RW)
    assert not shape.pmd_mapped
    return shape


def _narrow(shape, first, count):
    """Let the range be a part of what it was."""
    shape.addr += first * shape.page
    shape.nr = count
    shape.bytes = {process: values[first:first + count] for process, values in shape.bytes.items()}
    return shape


def _thp_one_page(name, site):
    shape = _thp(name, site)
    shape.process.munmap(shape.addr, 3 * site.page)
    shape.process.munmap(shape.addr + 4 * site.page, (site.ptes - 4) * site.page)
    return _narrow(shape, 3, 1)


def _thp_partly_unmapped(name, site):
    shape = _thp(name, site)
    shape.process.munmap(shape.addr + shape.length // 2, shape.length // 2)
    return _narrow(shape, 0, site.ptes // 2)


def _thp_partly_moved(name, site):
    shape = _thp(name, site)
    half = shape.length // 2
    shape.process.mremap(shape.addr + half, half, half, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED,
                         new_addr=ADDR + 2 * shape.huge)
    shape.outside = site.ptes // 2
    return _narrow(shape, 0, site.ptes // 2)


def _thp_partly_shared(name, site):
    shape = _thp(name, site)
    child = shape.fork()
    shape.munmap(child, site.ptes // 2, site.ptes // 2)
    return shape


def _mthp(name, site):
    order, kb = int(name.removeprefix("mthp_order")), site.page >> 10
    settings = {"mthp": {f"{kb << order}kB": "madvise", f"{kb * site.ptes}kB": "never"}}
    shape = _start(name, site, 1 << order, advice=fs.MADV_HUGEPAGE, order=order, settings=settings)
    shape.fill()
    assert [folio.order for folio in shape.folios().values()] == [order]
    return shape


def _zero_page(name, site):
    shape = _start(name, site, 16, kind="zero")
    shape.process.read(shape.addr, shape.length)
    return shape


def _huge_zero_page(name, site):
    shape = _start(name, site, site.ptes, advice=fs.MADV_HUGEPAGE, kind="zero", order=site.core.pmd_order)
    shape.process.read(shape.addr, shape.length)
    assert shape.pmd_mapped
    return shape


def _shmem(name, site):
    shape = _start(name, site, 16, kind="shmem", flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    shape.fill()
    return shape


def _private_file(name, site):
    machine = site.machine()
    shape = Shape(name, machine, machine.spawn(), len(FILE_BYTES), kind="file")
    file = machine.create_file("disk", shape.length, fill=FILE_BYTES[0])
    shape.process.mmap(shape.length, prot=RW, flags=fs.MAP_PRIVATE | fs.MAP_FIXED, addr=shape.addr, file=file)
    shape.bytes[shape.process] = list(FILE_BYTES)
    shape.process.read(shape.addr, shape.length)
    return shape


_MTHP = {f"mthp_order{order}": _mthp for order in range(2, 13)}
_BUILDERS = {
    "base_page": _base_page, "thp_pmd": _thp, "thp_pte": _thp_pte, "thp_one_page": _thp_one_page,
    "thp_partly_unmapped": _thp_partly_unmapped, "thp_partly_moved": _thp_partly_moved,
    "thp_partly_shared": _thp_partly_shared, **_MTHP, "zero_page": _zero_page, "huge_zero_page": _huge_zero_page,
    "shmem": _shmem, "private_file": _private_file,
}
NEEDS = {"thp_partly_moved": "mremap", "private_file": "files"}


def shapes_of(arch="x86_64", page_size="4K"):
    """Names of the shapes that an architecture and page size have: folios up to half a PMD leaf, and those of one.

    Returns
    -------
    tuple of str
    """
    mthp = list(_MTHP)[:find(arch, page_size).pmd_order - 2]
    return tuple(name for name in _BUILDERS if name not in _MTHP or name in mthp)


SHAPES = shapes_of()


def build(name, arch="x86_64", page_size="4K"):
    """A shape, on a machine of its own.

    Parameters
    ----------
    name : str
        One of `shapes_of` this architecture and page size.
    arch : str
    page_size : int or str

    Returns
    -------
    Shape

    Raises
    ------
    UnsupportedError
        This version has not what the shape needs; see `foliosim.testing.available.missing`.
    """
    reason = missing(NEEDS[name]) if name in NEEDS else None
    if reason:
        raise fs.UnsupportedError(f"shape {name}: {reason}")
    shape = _BUILDERS[name](name, _Site(arch, page_size))
    shape.audit()
    return shape
