# cython: language_level=3
"""Shared anonymous memory: objects and their page cache (mm/shmem.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport FS_NO_PFN
from foliosim._core.types cimport *

cdef enum:
    MAPPING_SHMEM = 1        # anonymous shared memory

# A new object of size bytes with one reference; NULL if the host has no memory.
cdef mapping_t *shmem_file_setup(machine_t *m, uint64_t size) noexcept nogil
# Drop a reference; the last one frees the object and its cached folios.
cdef void mapping_put(machine_t *m, mapping_t *mapping) noexcept nogil
# The pfn that caches page `index`, or FS_NO_PFN.
cdef inline uint32_t mapping_lookup(const mapping_t *mapping, uint64_t index) noexcept nogil:
    return mapping.pfns[index] if index < mapping.cap else FS_NO_PFN
# The same, allocating the folio if need be; result VM_FAULT_*.
cdef int shmem_get_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index,
                         uint32_t *pfn) noexcept nogil
# Orders (a mask) that the object may use at page `index`.
cdef uint32_t shmem_allowable_huge_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma,
                                          uint64_t index) noexcept nogil
