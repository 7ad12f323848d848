# cython: language_level=3
"""MADV_FREE (mm/madvise.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# The pages of [start, end), which is anonymous, may be dropped until they are written to again.  Always 0.
cdef int madvise_free(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
