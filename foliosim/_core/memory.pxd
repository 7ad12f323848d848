# cython: language_level=3
"""Page faults (mm/memory.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# Resolve a fault in the VMA: 0 or VM_FAULT_*; VM_FAULT_RETRY: something was read from the disk, fault again.
# The caller has checked the VMA's rights.
cdef int handle_mm_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil
# Write faults on n empty PTEs of private anonymous memory that may only use single pages; how many were mapped.
cdef uint32_t do_anonymous_run(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t n) noexcept nogil
# Orders below the PMD's that a write fault in the VMA may use.
cdef uint32_t anon_fault_orders(machine_t *m, const vma_t *vma) noexcept nogil
