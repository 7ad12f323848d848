# cython: language_level=3
"""System calls on open files (fs/open.c, mm/msync.c): made, truncated, punched, written back."""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from foliosim._core.types cimport *

# A new file of a kind with one reference; with `filled`, page i was written with byte fill + i, else it is all hole.
# NULL: no frame or no host memory.
cdef int file_create(machine_t *m, mapping_t **out, uint32_t kind, uint64_t length, bint filled,
                     uint8_t fill) noexcept nogil
# ftruncate(2).  0, -EINVAL, -ENOMEM or -FS_EHOSTMEM.
cdef int do_truncate(machine_t *m, mapping_t *mapping, int64_t length) noexcept nogil
# fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.  0, -EINVAL, -EFBIG, -ENOMEM or -FS_EHOSTMEM.
cdef int do_punch_hole(machine_t *m, mapping_t *mapping, int64_t offset, int64_t length) noexcept nogil
# msync(2).  0, -EINVAL, -ENOMEM (a hole) or -EBUSY.
cdef int do_msync(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil
# madvise(MADV_REMOVE) and (MADV_WILLNEED) of part of a VMA with a file.  Errors as for punching a hole.
cdef int madvise_remove(machine_t *m, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
cdef int madvise_willneed(machine_t *m, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
