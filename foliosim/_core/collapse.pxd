# cython: language_level=3
"""What all kinds of collapse share: results, the look at the PMD, the new folio (mm/khugepaged.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.folio cimport folio_alloc
from foliosim._core.pgtable cimport pmd_leaf, pmd_offset
from foliosim._core.stat cimport count_vm_events

cdef enum scan_result_e:     # what became of a block; a negative result is -FS_EHOSTMEM
    SCAN_SUCCEED
    SCAN_FAIL
    SCAN_PMD_NULL            # an upper table is missing
    SCAN_PMD_NONE
    SCAN_PMD_MAPPED
    SCAN_PTE_NON_PRESENT
    SCAN_PTE_MAPPED_HUGEPAGE # the page cache has a huge folio, the tables may not
    SCAN_PAGE_NULL
    SCAN_PAGE_COMPOUND
    SCAN_PAGE_COUNT          # a reference that neither mappings nor the cache account for
    SCAN_PAGE_LRU
    SCAN_PAGE_LOCK
    SCAN_VMA_CHECK
    SCAN_TRUNCATED           # nothing is cached
    SCAN_ALLOC_HUGE_PAGE_FAIL
    SCAN_EXCEED_NONE_PTE     # khugepaged only: a limit
    SCAN_EXCEED_SWAP_PTE
    SCAN_EXCEED_SHARED_PTE
    SCAN_LACK_REFERENCED_PAGE
    SCAN_PAGE_ANON           # a page of a file
    SCAN_FREED               # P19
    SCAN_QUADRUPLE           # P18: look at its folios by fours
    SCAN_BEST_FIT            # P18: look at every size

cdef inline int find_pmd_or_thp_or_none(machine_t *m, const mm_t *mm, uint64_t addr, uint64_t **pmd) noexcept nogil:
    """SCAN_SUCCEED if the PMD entry has a table, else SCAN_PMD_*; `*pmd` is the entry, or NULL."""
    pmd[0] = pmd_offset(m, mm, addr)
    if pmd[0] == NULL:
        return SCAN_PMD_NULL
    if not pmd[0][0]:
        return SCAN_PMD_NONE
    return SCAN_PMD_MAPPED if pmd_leaf(m, pmd[0][0]) else SCAN_SUCCEED

cdef inline int alloc_charge_folio(machine_t *m, uint32_t *head) noexcept nogil:
    """A huge folio to move pages to: SCAN_SUCCEED, or SCAN_ALLOC_HUGE_PAGE_FAIL."""
    head[0] = folio_alloc(m, FS_HPAGE_PMD_ORDER)
    if head[0] == FS_NO_PFN:
        count_vm_events(m, THP_COLLAPSE_ALLOC_FAILED, 1)
        return SCAN_ALLOC_HUGE_PAGE_FAIL
    count_vm_events(m, THP_COLLAPSE_ALLOC, 1)
    return SCAN_SUCCEED
