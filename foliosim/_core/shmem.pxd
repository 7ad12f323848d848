# cython: language_level=3
"""tmpfs and shared anonymous memory: which folios its page cache gets (mm/shmem.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# A new object of shared anonymous memory of size bytes with one reference; NULL if the host has no memory.
cdef mapping_t *shmem_file_setup(machine_t *m, uint64_t size) noexcept nogil
# The frame of page `index` for a fault in the VMA, allocated if need be; result VM_FAULT_*.
cdef int shmem_get_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index,
                         uint32_t *pfn) noexcept nogil
# The same for write(2) up to byte write_end; 0, -ENOMEM or -FS_EHOSTMEM.
cdef int shmem_write_begin(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t write_end,
                           uint32_t *pfn) noexcept nogil
# Orders (a mask) that the object may use at page `index`; force: as MADV_COLLAPSE asks.
cdef uint32_t shmem_allowable_huge_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma, uint64_t index,
                                          uint64_t write_end, bint force) noexcept nogil
