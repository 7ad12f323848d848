# cython: language_level=3
"""What zap.pyx does, for mappings in a row that all end in the same way: in one go, and counted as what they are."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.stat cimport *
from foliosim._core.deferred_split cimport deferred_split_del_chain
from foliosim._core.huge_memory cimport pgtables_free
from foliosim._core.mapcount cimport mapcount_updates_pmd
from foliosim._core.page_alloc cimport free_run
from foliosim._core.page_run cimport *
from foliosim._core.swap cimport lru_del_chain

cdef enum:
    MAX_RUN = 64             # huge folios: their records stay in the host's first-level cache


cdef uint32_t zap_shared_run(machine_t *m, page_t *page, uint32_t n) noexcept nogil:
    """Order-0 anonymous folios that others map too and nobody else refers to: each loses a mapping; how many."""
    cdef uint32_t left = n
    while left and is_small(page) and page.flags & PG_anon and page.mapcount > 1:
        page.mapcount -= 1
        page.refcount -= 1
        page += 1
        left -= 1
    return n - left


cdef uint32_t zap_dying_run(machine_t *m, page_t *page, uint32_t pfn, uint32_t n) noexcept nogil:
    """Order-0 anonymous folios, linked in a row on one LRU list, that end here; how many."""
    cdef uint32_t same = PG_KIND_MASK | PG_ORDER_MASK | PG_anon | PG_lru | PG_active | PG_swapbacked | PG_swapcache
    cdef uint32_t never = PG_unevictable | PG_mlocked | PG_bytes, flags = page.flags & same
    cdef uint32_t left = n, older = page.next, next = page.next, newer = FS_NO_PFN, at = pfn
    if flags & (PG_KIND_MASK | PG_ORDER_MASK | PG_anon | PG_lru | PG_swapcache) != PG_KIND_HEAD | PG_anon | PG_lru:
        return 0
    while left and page.flags & (same | never) == flags and page.next == next:
        if page.refcount != 1 or page.mapcount != 1:
            break
        page.flags = PG_KIND_NONE
        newer = page.prev
        next = at
        at += 1
        page += 1
        left -= 1
    if left != n:
        lru_del_chain(m, flags, older, newer, n - left)
        free_run(m, pfn, n - left, 0)
    return n - left


cdef uint32_t zap_small_run(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """What zap_present does for single pages, run by run; 0: not that case."""
    cdef uint32_t n, done = 0, k = 1
    cdef int64_t i
    cdef page_t *page
    if vma.flags & VM_LOCKED or vma.file != NULL:
        return 0
    page = small_run(m, pte, max_nr, &n)
    if page == NULL:
        return 0
    while done < n and k:
        k = zap_shared_run(m, page + done, n - done)
        if k == 0:
            k = zap_dying_run(m, page + done, pte_pfn(m, pte[0]) + done, n - done)
        done += k
    for i in range(done):
        store_entry(m, pte + i, 0)
    vma.mm.rss_anon -= done
    count_op(m, OP_PTE_SET, done)
    count_op(m, OP_REF, done)
    count_op(m, OP_RMAP_CALL, done)
    count_op(m, OP_MAPCOUNT, done)
    return done


cdef inline bint ends_here(const machine_t *m, page_t *folio) noexcept nogil:
    """One PMD maps the folio, nobody else refers to it, and its tails hold nothing of their own."""
    if folio.refcount != 1 or folio_large_mapcount(folio) != 1 or folio_tail2(folio).entire_mapcount != 1:
        return False
    return folio.flags & PG_tails_implicit or m.content == NULL


cdef uint32_t dying_leaves(machine_t *m, uint64_t *pmd, uint32_t max_nr, uint32_t *heads) noexcept nogil:
    """Clear leaves in a row of anonymous folios, linked in a row on an LRU list and, if at all, on the deferred split
    queue, that end here; how many."""
    cdef uint32_t same = PG_KIND_MASK | PG_ORDER_MASK | PG_anon | PG_lru | PG_active | PG_swapbacked | PG_swapcache
    cdef uint32_t never = PG_unevictable | PG_mlocked | PG_bytes | PG_partially_mapped
    cdef uint32_t i = 0, flags, wanted = PG_KIND_HEAD | FS_HPAGE_PMD_ORDER | PG_anon | PG_lru
    cdef page_t *folio = page_of(m, pte_pfn(m, pmd[0]))
    same |= PG_deferred
    flags = folio.flags & same
    if flags & ~(PG_active | PG_swapbacked | PG_deferred) != wanted:
        return 0
    while i < max_nr and pmd_leaf(m, pmd[i]) and not pte_protnone(m, pmd[i]):
        heads[i] = pte_pfn(m, pmd[i])
        folio = page_of(m, heads[i])
        if folio.flags & (same | never) != flags or not ends_here(m, folio):
            break
        if i and folio.next != heads[i - 1]:
            break
        if i and flags & PG_deferred and folio_tail2(folio).deferred_prev != heads[i - 1]:
            break
        store_entry(m, pmd + i, 0)
        i += 1
    return i


cdef void free_heads(machine_t *m, const uint32_t *heads, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0, first
    while i < n:
        first = i
        while i < n and heads[i] == heads[first] + ((i - first) << FS_HPAGE_PMD_ORDER):
            page_of(m, heads[i]).flags = PG_KIND_NONE
            i += 1
        free_run(m, heads[first], i - first, FS_HPAGE_PMD_ORDER)


cdef uint32_t zap_huge_run(machine_t *m, vma_t *vma, uint64_t *pmd, uint32_t max_nr) noexcept nogil:
    cdef uint32_t heads[MAX_RUN]
    cdef uint32_t n
    if vma.flags & VM_LOCKED or vma.file != NULL or pte_special(m, pmd[0]):
        return 0
    n = dying_leaves(m, pmd, max_nr if max_nr < MAX_RUN else MAX_RUN, heads)
    if n == 0:
        return 0
    lru_del_chain(m, page_of(m, heads[0]).flags, page_of(m, heads[0]).next, page_of(m, heads[n - 1]).prev,
                  <int64_t>n << FS_HPAGE_PMD_ORDER)
    if page_of(m, heads[0]).flags & PG_deferred:
        deferred_split_del_chain(m, heads[0], heads[n - 1], n)
    free_heads(m, heads, n)
    pgtables_free(m, pmd, n)
    vma.mm.nr_ptes -= n
    vma.mm.rss_anon -= <int64_t>n << FS_HPAGE_PMD_ORDER
    mod_mthp_stat(m, FS_HPAGE_PMD_ORDER, MTHP_NR_ANON, -<int64_t>n)
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, n)
    count_op(m, OP_RMAP_CALL, n)
    count_op(m, OP_MAPCOUNT, n * mapcount_updates_pmd(m))
    return n
