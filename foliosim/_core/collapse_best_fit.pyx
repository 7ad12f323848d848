# cython: language_level=3
"""Collapse to any size, as N. Pache proposed ("khugepaged: mTHP support", 2025 and 2026).

Follows collapse_scan_bitmap of v12: aligned parts of a block, the largest first; one that is too empty is looked at in
halves.  What the series keeps in a bitmap is counted where it is wanted.  Its versions differ in how many entries may
be empty; a rule that allows more than half *creeps*: what it fills makes the next larger size fit in the next scan.
"""
from libc.stdint cimport uint32_t
from foliosim._core.collapse cimport *
from foliosim._core.collapse_pages cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.huge_memory cimport maybe_mkwrite
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport folio_add_new_anon_rmap
from foliosim._core.stat cimport count_op
from foliosim._core.swap cimport folio_put

cdef enum:
    MIN_MTHP_ORDER = 2


cdef int max_none(const machine_t *m, int rule, int order) noexcept nogil:
    """Follows collapse_max_ptes_none of v9 (scaled), v12 (capped) and v17."""
    cdef int limit = <int>m.khugepaged.max_ptes_none, most = FS_HPAGE_PMD_NR - 1
    if rule == COLLAPSE_BEST_FIT:
        limit = most if limit == most else 0
    elif rule == COLLAPSE_BEST_FIT_CAPPED:
        limit = min(limit, FS_HPAGE_PMD_NR / 2 - 1)
    return limit >> (FS_HPAGE_PMD_ORDER - order)


cdef int check_part(machine_t *m, const uint64_t *pte, int order, int limit) noexcept nogil:
    """SCAN_SUCCEED; SCAN_PTE_MAPPED_HUGEPAGE: it is as large already; else smaller parts may do."""
    cdef scan_t part
    cdef page_t *folio
    cdef uint32_t i
    cdef int result
    part.khugepaged = False
    result = scan_ptes(m, pte, 1U << order, &part)
    if result != SCAN_SUCCEED:
        return result
    if part.none > limit:
        return SCAN_EXCEED_NONE_PTE
    if part.unmapped:
        return SCAN_EXCEED_SWAP_PTE
    for i in range(1U << order):
        if pte_none_or_zero(m, pte[i]):
            continue
        folio = folio_of(m, pte_pfn(m, pte[i]))
        if folio_maybe_mapped_shared(folio):
            return SCAN_EXCEED_SHARED_PTE
        if folio_order(folio) >= order:
            return SCAN_PTE_MAPPED_HUGEPAGE
    return SCAN_SUCCEED


cdef int collapse_part(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order) noexcept nogil:
    """Follows collapse_huge_page for sizes below the huge one: the table stays."""
    cdef uint32_t nr = 1U << order, head = folio_alloc(m, order)
    if head == FS_NO_PFN:
        return SCAN_ALLOC_HUGE_PAGE_FAIL
    if copy_contents(m, head, pte, nr) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    take_sources(m, vma, pte, nr)
    page_of(m, head).refcount += nr - 1
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    set_ptes(m, pte, maybe_mkwrite(m, vma, pte_mkdirty(m, mk_pte(m, head, vma.page_prot))), nr)
    count_op(m, OP_PTE_SET, nr)
    count_op(m, OP_TLB_FLUSH, 1)
    deferred_split_offer(m, head, DEFERRED_NEW)
    return SCAN_SUCCEED


cdef int collapse_best_fit(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, const scan_t *scan) noexcept nogil:
    cdef uint64_t *pte = table_of(m, table_pfn(m, pmd[0]))
    cdef uint32_t at = 0
    cdef int order = FS_HPAGE_PMD_ORDER - 1, result, last = SCAN_FAIL
    while at < FS_PTRS_PER_PTE:
        result = SCAN_FAIL
        if scan.orders & 1U << order:
            result = check_part(m, pte + at, order, max_none(m, scan.rule, order))
        if result == SCAN_SUCCEED:
            result = collapse_part(m, vma, pte + at, haddr + (<uint64_t>at << FS_PAGE_SHIFT), order)
        if result < 0:
            return result
        if result == SCAN_SUCCEED:
            last = SCAN_SUCCEED
        elif result != SCAN_PTE_MAPPED_HUGEPAGE and order > MIN_MTHP_ORDER:
            order -= 1
            continue
        at += 1U << order
        order = FS_HPAGE_PMD_ORDER - 1
        while at & ((1U << order) - 1):
            order -= 1
    return last
