# cython: language_level=3
"""MADV_COLLAPSE (mm/khugepaged.c): the pages of aligned 2 MiB blocks move into huge folios."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# madvise(MADV_COLLAPSE) of a part of one VMA.  0, -errno of the last block that failed, or -FS_EHOSTMEM.  Blocks
# before the one that failed stay collapsed.
cdef int madvise_collapse(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
