# cython: language_level=3
"""mlock and munlock of memory that is already mapped (mm/mlock.c mlock_vma_pages_range)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Set the VMA's flags to newflags and lock or unlock the folios mapped in [start, end).
cdef void mlock_vma_pages_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end,
                                uint64_t newflags) noexcept nogil
