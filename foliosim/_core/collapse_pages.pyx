# cython: language_level=3
"""What a collapse of anonymous memory does with the pages that there are: look, copy, let go.  Follows
mm/khugepaged.c."""
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.content cimport content_copy, content_is_zero, content_page
from foliosim._core.folio cimport folio_materialize
from foliosim._core.policy cimport POINT_COLLAPSE_RULE, policy_is_linux
from foliosim._core.rmap cimport folio_remove_rmap_ptes
from foliosim._core.split_folio cimport folio_expected_ref_count
from foliosim._core.stat cimport count_op
from foliosim._core.swap cimport folio_put_refs
from foliosim._core.swap_state cimport free_swap_cache
from foliosim._core.vmscan cimport folio_isolate_lru, folio_putback_lru
from foliosim._core.zap cimport folio_pte_batch

cdef struct compound_list_t:     # large folios that were isolated
    int nr
    uint32_t head[FS_HPAGE_PMD_NR]


cdef bint page_wanted(machine_t *m, uint64_t pte, page_t *folio) noexcept nogil:
    """Was the page used since the last look?"""
    return pte_young(m, pte) or (folio.flags & PG_referenced) != 0


cdef int scan_ptes(machine_t *m, const uint64_t *pte, uint32_t nr, scan_t *scan) noexcept nogil:
    """Follows hpage_collapse_scan_pmd."""
    cdef page_t *folio
    cdef bint zeros = scan.khugepaged and not policy_is_linux(m, POINT_COLLAPSE_RULE)
    cdef uint32_t pfn, i
    scan.none = scan.zero_filled = scan.unmapped = scan.shared = scan.referenced = 0
    for i in range(nr):
        if pte_none_or_zero(m, pte[i]):
            scan.none += 1
            continue
        if not pte_present(m, pte[i]):
            scan.unmapped += 1
            continue
        pfn = pte_pfn(m, pte[i])
        folio = folio_of(m, pfn)
        if not folio.flags & PG_anon:
            return SCAN_PAGE_ANON
        scan.shared += folio_maybe_mapped_shared(folio)
        if not folio.flags & PG_lru:
            return SCAN_PAGE_LRU
        if folio.flags & PG_locked:
            return SCAN_PAGE_LOCK
        if folio_expected_ref_count(folio) != folio.refcount:
            return SCAN_PAGE_COUNT
        scan.referenced += page_wanted(m, pte[i], folio)
        scan.zero_filled += zeros and content_is_zero(m, pfn)
    return SCAN_SUCCEED


cdef int copy_contents(machine_t *m, uint32_t head, const uint64_t *pte, uint32_t nr) noexcept nogil:
    cdef uint32_t i, pfn
    for i in range(nr):
        if pte_none_or_zero(m, pte[i]):
            continue
        pfn = pte_pfn(m, pte[i])
        if content_page(m, pfn).flags & PG_CONTENT_MASK:
            folio_materialize(m, head)
            if content_copy(m, head + i, pfn) < 0:
                return -FS_EHOSTMEM
    return 0


cdef void add_compound(machine_t *m, compound_list_t *compound, uint32_t head) noexcept nogil:
    cdef int i
    for i in range(compound.nr):
        if compound.head[i] == head:
            return
    folio_isolate_lru(m, head)
    compound.head[compound.nr] = head
    compound.nr += 1


cdef void isolate_sources(machine_t *m, const uint64_t *pte, uint32_t nr, compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_isolate: every folio leaves the LRU once."""
    cdef uint32_t head, i
    compound.nr = 0
    for i in range(nr):
        if pte_none_or_zero(m, pte[i]):
            continue
        head = head_of(m, pte_pfn(m, pte[i]))
        if folio_test_large(page_of(m, head)):
            add_compound(m, compound, head)
        else:
            folio_isolate_lru(m, head)


cdef void release_sources(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t nr,
                          const compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_copy_succeeded: small folios go back to the LRU before they are unmapped, large
    ones when all are."""
    cdef uint32_t i = 0, n, pfn, head, k
    while i < nr:
        n = 1
        if pte_none_or_zero(m, pte[i]):
            vma.mm.rss_anon += 1
            clear_ptes(m, pte + i, 1)
            m.ledger.zero_bytes += FS_PAGE_SIZE
        else:
            pfn = pte_pfn(m, pte[i])
            head = head_of(m, pfn)
            if folio_test_large(page_of(m, head)):
                n = folio_pte_batch(m, pte + i, pfn, nr - i)
            else:
                folio_putback_lru(m, head)
            clear_ptes(m, pte + i, n)
            count_op(m, OP_PTE_SET, n)
            count_op(m, OP_REF, 1)
            folio_remove_rmap_ptes(m, pfn, n, vma)
            free_swap_cache(m, head)
            folio_put_refs(m, head, n)
        i += n
    for k in range(<uint32_t>compound.nr):
        folio_putback_lru(m, compound.head[k])


cdef void take_sources(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t nr) noexcept nogil:
    cdef compound_list_t compound
    isolate_sources(m, pte, nr, &compound)
    release_sources(m, vma, pte, nr, &compound)
