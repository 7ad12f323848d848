# cython: language_level=3
"""Areas that grow downwards when they are touched below their start (mm/vma.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# The VMA that holds addr, perhaps grown to it; NULL: nothing is mapped there, and nothing may grow.
cdef vma_t *vma_lookup_or_grow(machine_t *m, mm_t *mm, uint64_t addr) noexcept nogil
