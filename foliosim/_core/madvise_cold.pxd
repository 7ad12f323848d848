# cython: language_level=3
"""MADV_COLD and MADV_PAGEOUT (mm/madvise.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Deactivate the pages of [start, end) that only this mapping uses.  Always 0.
cdef int madvise_cold(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# Try to reclaim them.  Always 0.
cdef int madvise_pageout(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
