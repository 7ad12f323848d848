# cython: language_level=3
"""Taking mappings away (mm/memory.c: unmap_page_range, free_pgd_range; mm/madvise.c: MADV_DONTNEED)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Unmap [start, end) of the VMA, guard regions too; the page tables stay.
cdef bint unmap_vma_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, bint killable) noexcept nogil
# The program freed pages of the range: khugepaged may want to know (P19).
cdef void note_freed(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end) noexcept nogil
# MADV_DONTNEED: guard regions stay; emptied PTE tables of whole 2 MiB spans go.  Always 0.
cdef int madvise_dontneed(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# The same, but all page tables stay.
cdef void zap_page_range_single(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# Unmap pages first..end-1 of the file wherever they are mapped; private copies too with even_cows.  Guard regions stay.
cdef void unmap_mapping_pages(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end,
                              bint even_cows) noexcept nogil
# Unmap a folio that leaves the page cache, and guard regions in its place.
cdef void unmap_mapping_folio(machine_t *m, mapping_t *mapping, const page_t *folio) noexcept nogil
# free_pgd_range: free the tables that only serve [addr, end), given the neighbours' edges floor and ceiling.
cdef void free_pgtables(machine_t *m, mm_t *mm, uint64_t addr, uint64_t end, uint64_t floor,
                        uint64_t ceiling) noexcept nogil
# How many entries from pte on map consecutive pages of one folio with like protection (folio_pte_batch).
cdef uint32_t folio_pte_batch(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr) noexcept nogil
# The same for batches that end where write permission or soft-dirty change.
cdef uint32_t folio_pte_batch_write(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr) noexcept nogil
