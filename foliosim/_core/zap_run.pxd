# cython: language_level=3
"""Runs of mappings that are taken away in one go."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# The mappings of order-0 anonymous folios from pte on, of max_nr entries; how many, 0: go one by one.
cdef uint32_t zap_small_run(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t max_nr) noexcept nogil
# The same for leaves of one PMD table, max_nr of which may go whole.
cdef uint32_t zap_huge_run(machine_t *m, vma_t *vma, uint64_t *pmd, uint32_t max_nr) noexcept nogil
