# cython: language_level=3
"""Faults in memory that has a page cache (mm/memory.c do_fault, mm/filemap.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# A fault on an empty PTE (or PMD) of a VMA with a file.  0 or VM_FAULT_*.
cdef int do_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil
# Map a huge cached folio by a PMD leaf; False: folio or VMA do not allow it.
cdef bint do_set_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t head, bint write) noexcept nogil
# A write fault on a read-only PTE of a shared mapping.
cdef int do_wp_shared(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr) noexcept nogil
