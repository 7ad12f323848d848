# cython: language_level=3
"""MADV_COLLAPSE, and the collapse of anonymous memory.  Follows mm/khugepaged.c; the page cache is in collapse_file.

Nobody else runs between the scan of a block and its collapse, so what the kernel checks twice is checked once.
"""
from libc.errno cimport EAGAIN, EINVAL, ENOMEM
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.collapse_file cimport collapse_pte_mapped_thp, hpage_collapse_scan_file
from foliosim._core.content cimport content_copy, content_page
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.policy cimport DEFERRED_NEW
from foliosim._core.folio cimport folio_materialize
from foliosim._core.huge_memory cimport *
from foliosim._core.mlock cimport folio_add_lru_vma, lru_add_drain
from foliosim._core.rmap cimport folio_add_new_anon_rmap, folio_remove_rmap_ptes
from foliosim._core.split_folio cimport folio_expected_ref_count
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.vmscan cimport folio_isolate_lru, folio_putback_lru
from foliosim._core.zap cimport folio_pte_batch

cdef struct compound_list_t:     # large folios that were isolated
    int nr
    uint32_t head[FS_HPAGE_PMD_NR]


# ---- anonymous memory ----

cdef inline bint pte_none_or_zero(const machine_t *m, uint64_t pte) noexcept nogil:
    return pte_none(m, pte) or (pte_present(m, pte) and pte_special(m, pte))


cdef int scan_ptes(machine_t *m, const uint64_t *pte, bint *unmapped) noexcept nogil:
    """Follows hpage_collapse_scan_pmd: may all pages of the table be moved?  unmapped: some must be swapped in."""
    cdef page_t *folio
    cdef int i
    unmapped[0] = False
    for i in range(FS_PTRS_PER_PTE):
        if pte_none_or_zero(m, pte[i]):
            continue
        if not pte_present(m, pte[i]):
            unmapped[0] = True
            continue
        folio = folio_of(m, pte_pfn(m, pte[i]))
        if not folio.flags & PG_lru:
            return SCAN_PAGE_LRU
        if folio_expected_ref_count(folio) != folio.refcount:
            return SCAN_PAGE_COUNT
    return SCAN_SUCCEED


cdef int copy_contents(machine_t *m, uint32_t head, const uint64_t *pte) noexcept nogil:
    cdef uint32_t i, pfn
    for i in range(FS_HPAGE_PMD_NR):
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


cdef void isolate_sources(machine_t *m, const uint64_t *pte, compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_isolate: every folio leaves the LRU once."""
    cdef uint32_t head
    cdef int i
    compound.nr = 0
    for i in range(FS_PTRS_PER_PTE):
        if pte_none_or_zero(m, pte[i]):
            continue
        head = head_of(m, pte_pfn(m, pte[i]))
        if folio_test_large(page_of(m, head)):
            add_compound(m, compound, head)
        else:
            folio_isolate_lru(m, head)


cdef void release_sources(machine_t *m, vma_t *vma, uint64_t *pte, const compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_copy_succeeded: small folios go back to the LRU before they are unmapped, large
    ones when all are."""
    cdef uint32_t i = 0, n, pfn, head, k
    while i < FS_PTRS_PER_PTE:
        n = 1
        if pte_none_or_zero(m, pte[i]):
            vma.mm.rss_anon += 1
            clear_ptes(m, pte + i, 1)
        else:
            pfn = pte_pfn(m, pte[i])
            head = head_of(m, pfn)
            if folio_test_large(page_of(m, head)):
                n = folio_pte_batch(m, pte + i, pfn, FS_PTRS_PER_PTE - i)
            else:
                folio_putback_lru(m, head)
            clear_ptes(m, pte + i, n)
            folio_remove_rmap_ptes(m, pfn, n, vma)
            folio_put_refs(m, head, n)
        i += n
    for k in range(<uint32_t>compound.nr):
        folio_putback_lru(m, compound.head[k])


cdef int collapse_huge_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, bint unmapped) noexcept nogil:
    """Follows collapse_huge_page: the old table becomes the one that is deposited.  Without swap, what is to be
    swapped in (unmapped) is a guard region, and fails."""
    cdef uint32_t head = FS_NO_PFN, table = table_pfn(m, pmd[0])
    cdef uint64_t *pte = table_of(m, table)
    cdef compound_list_t compound
    cdef int result = alloc_charge_folio(m, &head)
    if result != SCAN_SUCCEED:
        return result
    if unmapped:
        folio_put(m, head)
        return SCAN_FAIL
    if copy_contents(m, head, pte) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    pmd_clear_flush(m, pmd)
    isolate_sources(m, pte, &compound)
    release_sources(m, vma, pte, &compound)
    folio_add_new_anon_rmap(m, head, vma, haddr)
    folio_add_lru_vma(m, head, vma)
    pgtable_deposit(m, pmd, table)
    store_entry(m, pmd, maybe_mkwrite(m, vma, pte_mkdirty(m, mk_pmd_leaf(m, head, vma.page_prot))))
    deferred_split_offer(m, head, DEFERRED_NEW)
    return SCAN_SUCCEED


cdef int hpage_collapse_scan_pmd(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil:
    cdef uint64_t *pmd = NULL
    cdef bint unmapped = False
    cdef int result = find_pmd_or_thp_or_none(m, vma.mm, haddr, &pmd)
    if result == SCAN_SUCCEED:
        result = scan_ptes(m, pte_offset(m, pmd[0], haddr), &unmapped)
    if result == SCAN_SUCCEED:
        result = collapse_huge_page(m, vma, pmd, haddr, unmapped)
    return result


# ---- MADV_COLLAPSE ----

cdef int madvise_collapse_errno(int result) noexcept nogil:
    if result == SCAN_ALLOC_HUGE_PAGE_FAIL:
        return -ENOMEM
    if result == SCAN_PAGE_COUNT or result == SCAN_PAGE_LRU:
        return -EAGAIN
    return -EINVAL


cdef bint may_continue(int result) noexcept nogil:
    """After these failures the next block is tried."""
    return (result == SCAN_PMD_NULL or result == SCAN_PTE_NON_PRESENT or result == SCAN_PAGE_NULL
            or result == SCAN_PAGE_COUNT or result == SCAN_PAGE_COMPOUND or result == SCAN_PAGE_LRU)


cdef int collapse_block(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil:
    cdef int result
    if vma.file == NULL:
        return hpage_collapse_scan_pmd(m, vma, haddr)
    result = hpage_collapse_scan_file(m, vma, haddr)
    return collapse_pte_mapped_thp(m, vma, haddr) if result == SCAN_PTE_MAPPED_HUGEPAGE else result


cdef int madvise_collapse(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Follows madvise_collapse.  A range inside one block fails, an empty one at its edge does not."""
    cdef uint64_t first = (start + FS_PMD_SIZE - 1) & ~(FS_PMD_SIZE - 1), last = end & ~(FS_PMD_SIZE - 1)
    cdef uint64_t haddr = first
    cdef int result, last_fail = SCAN_SUCCEED if first <= last else SCAN_FAIL
    if not thp_vma_allowable_orders(m, vma, TVA_FORCED_COLLAPSE, 1U << FS_HPAGE_PMD_ORDER):
        return -EINVAL
    lru_add_drain(m)
    while haddr < last:
        result = collapse_block(m, vma, haddr)
        if result < 0:
            return result
        if result != SCAN_SUCCEED and result != SCAN_PMD_MAPPED:
            last_fail = result
            if not may_continue(result):
                break
        haddr += FS_PMD_SIZE
    return 0 if last_fail == SCAN_SUCCEED else madvise_collapse_errno(last_fail)
