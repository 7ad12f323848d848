# cython: language_level=3
"""Protection bits of existing entries (mm/mprotect.c change_protection)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Give the entries of [start, end) the VMA's protection; try_change_writable: entries that may be writable become so.
cdef void change_protection(machine_t *m, vma_t *vma, uint64_t start, uint64_t end,
                            bint try_change_writable) noexcept nogil
