# cython: language_level=3
"""Faults on swap entries (mm/memory.c: do_swap_page)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# Bring the page in and map it.  0 or VM_FAULT_*, with VM_FAULT_MAJOR if the device was read.  Afterwards the entry is
# writable if it may be; a write fault has gone through if it is.
cdef int do_swap_page(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t flags) noexcept nogil
