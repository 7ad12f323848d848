# cython: language_level=3
"""System calls on open files.  Follows do_truncate and vfs_fallocate (fs/open.c), shmem_setattr and shmem_fallocate
(mm/shmem.c), ext4_setattr and ext4_punch_hole (fs/ext4/inode.c), mm/msync.c, and mm/madvise.c for two advices."""
from libc.errno cimport EBUSY, EFBIG, EINTR, EINVAL, ENODEV, ENOMEM
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.content cimport content_fill
from foliosim._core.ext4 cimport *
from foliosim._core.folio cimport folio_materialize
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.mapping cimport *
from foliosim._core.page_writeback cimport filemap_write_and_wait_range
from foliosim._core.readahead cimport do_page_cache_ra
from foliosim._core.shmem cimport shmem_write_begin
from foliosim._core.truncate cimport *
from foliosim._core.vma cimport fs_page_align
from foliosim._core.vmscan cimport mem_cgroup_charge

cdef extern from *:
    """
    #define FS_MS_ASYNC 1
    #define FS_MS_INVALIDATE 2
    #define FS_MS_SYNC 4
    #define FS_SHMEM_MAX_BYTES 0x7fffffffffffffffLL   /* MAX_LFS_FILESIZE of tmpfs */
    #define FS_EXT4_MAX_BYTES 0xffffffff000LL         /* 2^32 - 1 blocks */
    """
    enum:
        FS_MS_ASYNC, FS_MS_INVALIDATE, FS_MS_SYNC
    const int64_t FS_SHMEM_MAX_BYTES, FS_EXT4_MAX_BYTES


# ---- making and writing ----

cdef int write_page(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t nbytes, uint8_t value) noexcept nogil:
    """write(2) of the first bytes of a page behind the end of the file."""
    cdef uint32_t pfn = FS_NO_PFN
    cdef uint64_t end = (index << FS_PAGE_SHIFT) + nbytes
    cdef int result
    if shmem_mapping(mapping):
        result = shmem_write_begin(m, mapping, index, end, &pfn)
    else:
        result = ext4_write_page(m, mapping, index, &pfn)
    if result < 0:
        return result
    folio_materialize(m, head_of(m, pfn))
    if shmem_mapping(mapping):
        folio_of(m, pfn).flags |= PG_dirty
    mapping.size = end
    return content_fill(m, pfn, 0, nbytes, value)


cdef inline int64_t max_bytes(uint32_t kind) noexcept nogil:
    return FS_SHMEM_MAX_BYTES if kind < MAPPING_DISK else FS_EXT4_MAX_BYTES


cdef int fill_pages(machine_t *m, mapping_t *mapping, uint64_t length, uint8_t fill) noexcept nogil:
    """Write an empty file, page by page."""
    cdef uint64_t index = 0, left = length
    cdef uint32_t n
    cdef int result = 0
    while left and result == 0:
        if fatal_signal_pending(m):
            return -EINTR
        n = <uint32_t>(left if left < FS_PAGE_SIZE else FS_PAGE_SIZE)
        result = write_page(m, mapping, index, n, <uint8_t>(fill + index)) if mem_cgroup_charge(m, 1) else -ENOMEM
        left -= n
        index += 1
    return result


cdef int file_create(machine_t *m, mapping_t **out, uint32_t kind, uint64_t length, bint filled,
                     uint8_t fill) noexcept nogil:
    """A new file: 0, or a negative errno."""
    cdef mapping_t *mapping
    cdef int result = 0
    if length > <uint64_t>max_bytes(kind):
        return -EFBIG
    mapping = mapping_alloc(m, kind, 0)
    if mapping == NULL:
        return -FS_EHOSTMEM
    if filled:
        result = fill_pages(m, mapping, length, fill)
    if result < 0:
        mapping_put(m, mapping)
        return result
    mapping.size = length
    out[0] = mapping
    return 0


# ---- truncating and punching ----

cdef int shmem_setattr_size(machine_t *m, mapping_t *mapping, uint64_t length) noexcept nogil:
    cdef uint64_t old = mapping.size
    mapping.size = length
    if length > old:
        return 0
    if old > fs_page_align(length):
        return truncate_pagecache(m, mapping)
    return truncate_inode_pages_range(m, mapping, length, FS_END_OF_FILE)


cdef int ext4_setattr_size(machine_t *m, mapping_t *mapping, uint64_t length) noexcept nogil:
    """The block that the old end lies in is zeroed behind it before the file grows, that of the new end afterwards."""
    cdef uint64_t old = mapping.size
    cdef int result
    if length > old:
        mapping.size = length
        if old & (FS_PAGE_SIZE - 1):
            return ext4_zero_partial_blocks(m, mapping, old, fs_page_align(old))
        return 0
    mapping.size = length
    result = truncate_pagecache(m, mapping)
    if result == 0 and length & (FS_PAGE_SIZE - 1):
        result = ext4_zero_partial_blocks(m, mapping, length, fs_page_align(length))
    ext4_remove_blocks(mapping, mapping_pages(mapping), mapping.cap)
    return result


cdef int do_truncate(machine_t *m, mapping_t *mapping, int64_t length) noexcept nogil:
    if length < 0 or mapping.kind == MAPPING_DEVICE:
        return -EINVAL
    if length > max_bytes(mapping.kind):
        return -EFBIG
    if shmem_mapping(mapping):
        return shmem_setattr_size(m, mapping, <uint64_t>length)
    return ext4_setattr_size(m, mapping, <uint64_t>length)


cdef int ext4_punch_hole(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil:
    cdef int result
    if start >= mapping.size:
        return 0
    if end > mapping.size:
        end = fs_page_align(mapping.size)
    result = truncate_pagecache_range(m, mapping, start, end)
    if result == 0:
        result = ext4_zero_partial_blocks(m, mapping, start, end)
    ext4_remove_blocks(mapping, fs_page_align(start) >> FS_PAGE_SHIFT, end >> FS_PAGE_SHIFT)
    return result


cdef int do_punch_hole(machine_t *m, mapping_t *mapping, int64_t offset, int64_t length) noexcept nogil:
    if offset < 0 or length <= 0:
        return -EINVAL
    if mapping.kind == MAPPING_DEVICE:
        return -ENODEV
    if offset > max_bytes(mapping.kind) or length > max_bytes(mapping.kind) - offset:
        return -EFBIG
    if shmem_mapping(mapping):
        return truncate_pagecache_range(m, mapping, <uint64_t>offset, <uint64_t>offset + <uint64_t>length)
    return ext4_punch_hole(m, mapping, <uint64_t>offset, <uint64_t>offset + <uint64_t>length)


# ---- msync ----

cdef void sync_vma(machine_t *m, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t first = vma.pgoff + ((start - vma.start) >> FS_PAGE_SHIFT)
    if vma.file != NULL and vma.flags & VM_SHARED and not shmem_mapping(vma.file):
        filemap_write_and_wait_range(m, vma.file, first, first + ((end - start) >> FS_PAGE_SHIFT))


cdef int do_msync(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil:
    """Follows the system call msync (mm/msync.c)."""
    cdef uint64_t end = start + fs_page_align(len)
    cdef int unmapped_error = 0
    cdef vma_t *vma
    if flags & ~<uint64_t>(FS_MS_ASYNC | FS_MS_INVALIDATE | FS_MS_SYNC) or start & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if flags & FS_MS_ASYNC and flags & FS_MS_SYNC:
        return -EINVAL
    if end < start:
        return -ENOMEM
    while start < end:
        vma = find_vma(mm, start)
        if vma == NULL:
            return -ENOMEM
        if start < vma.start:
            if flags == FS_MS_ASYNC:
                return -ENOMEM
            start = vma.start
            if start >= end:
                return -ENOMEM
            unmapped_error = -ENOMEM
        if flags & FS_MS_INVALIDATE and vma.flags & VM_LOCKED:
            return -EBUSY
        if flags & FS_MS_SYNC and vma_is_device(vma):
            return -EINVAL      # it has no fsync
        if flags & FS_MS_SYNC:
            sync_vma(m, vma, start, vma.end if vma.end < end else end)
        start = vma.end
    return unmapped_error


# ---- madvise ----

cdef int madvise_remove(machine_t *m, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t offset = start - vma.start + (vma.pgoff << FS_PAGE_SHIFT)
    return do_punch_hole(m, vma.file, <int64_t>offset, <int64_t>(end - start))


cdef int madvise_willneed(machine_t *m, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """tmpfs would only read from swap, and there is none; nothing is read from a device."""
    if shmem_mapping(vma.file) or vma_is_device(vma):
        return 0
    return do_page_cache_ra(m, vma.file, vma.pgoff + ((start - vma.start) >> FS_PAGE_SHIFT),
                            (end - start) >> FS_PAGE_SHIFT)
