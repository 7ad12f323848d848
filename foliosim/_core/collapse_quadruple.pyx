# cython: language_level=3
"""Collapse by fours, as M. Wilcox proposed ("What size anonymous folios should we allocate?", 21 Feb 2023).

Each step makes a folio at most four times as large, of memory that was in use: sizes grow with the activity.  Orders
go 0, 2, 4, 6, 8; a huge folio is not among them.
"""
from libc.stdint cimport int32_t, uint32_t
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.collapse_pages cimport copy_contents
from foliosim._core.huge_memory cimport maybe_mkwrite, thp_vma_suitable_order
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.rmap cimport folio_add_new_anon_rmap, folio_remove_rmap_ptes
from foliosim._core.split_folio cimport folio_expected_ref_count
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.swap_state cimport free_swap_cache


cdef bint four_fit(machine_t *m, const uint64_t *pte, int order) noexcept nogil:
    """Four whole folios of the order behind 4 << order entries, nobody else's, three of them active."""
    cdef uint32_t size = 1U << order, i, j, pfn
    cdef int active = 0
    cdef page_t *folio
    for i in range(4):
        if not pte_present(m, pte[i * size]) or pte_special(m, pte[i * size]):
            return False
        pfn = pte_pfn(m, pte[i * size])
        folio = folio_of(m, pfn)
        if head_of(m, pfn) != pfn or folio_order(folio) != order or not folio.flags & PG_anon:
            return False
        if not folio.flags & PG_lru or folio.flags & PG_unevictable or folio_maybe_mapped_shared(folio):
            return False
        if folio_mapcount(folio) != <int32_t>size or folio_expected_ref_count(folio) != folio.refcount:
            return False
        for j in range(size):
            if not pte_present(m, pte[i * size + j]) or pte_pfn(m, pte[i * size + j]) != pfn + j:
                return False
        active += (folio.flags & PG_active) != 0
    return active >= 3


cdef int replace_four(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order) noexcept nogil:
    cdef uint32_t size = 1U << order, nr = 4 * size, head = folio_alloc(m, order + 2), i, pfn
    cdef uint64_t entry
    if head == FS_NO_PFN:
        return SCAN_ALLOC_HUGE_PAGE_FAIL
    if copy_contents(m, head, pte, nr) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    for i in range(4):
        pfn = pte_pfn(m, pte[i * size])
        folio_remove_rmap_ptes(m, pfn, size, vma)
        free_swap_cache(m, pfn)
        folio_put_refs(m, pfn, <int32_t>size)
    page_of(m, head).refcount += nr - 1
    page_of(m, head).flags |= PG_active
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    entry = maybe_mkwrite(m, vma, pte_mkdirty(m, pte_mkyoung(m, mk_pte(m, head, vma.page_prot))))
    set_ptes(m, pte, entry, nr)
    return SCAN_SUCCEED


cdef int quadruple_active(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr) noexcept nogil:
    """A folio that was just made is not looked at again in the same scan: larger orders first."""
    cdef uint64_t *pte = table_of(m, table_pfn(m, pmd[0]))
    cdef int order = FS_HPAGE_PMD_ORDER - 3, result, last = SCAN_FAIL
    cdef uint64_t addr
    cdef uint32_t i, nr
    order -= order & 1
    while order >= 0:
        nr = 4U << order
        i = 0
        while i < FS_PTRS_PER_PTE:
            addr = haddr + (<uint64_t>i << FS_PAGE_SHIFT)
            if thp_vma_suitable_order(vma, addr, order + 2) and four_fit(m, pte + i, order):
                result = replace_four(m, vma, pte + i, addr, order)
                if result < 0:
                    return result
                last = SCAN_SUCCEED if result == SCAN_SUCCEED else last
            i += nr
        order -= 2
    return last
