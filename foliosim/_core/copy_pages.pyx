# cython: language_level=3
"""Copies that take the place of mapped anonymous pages, for policies that copy more than the page that is written."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.content cimport content_copy
from foliosim._core.folio cimport folio_alloc, folio_materialize
from foliosim._core.held cimport page_maybe_dma_pinned
from foliosim._core.huge_memory cimport split_huge_pmd
from foliosim._core.ledger cimport count_copy
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.rmap cimport *
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.swap_state cimport free_swap_cache
from foliosim._core.zap cimport folio_pte_batch


cdef inline uint64_t entry_of_copy(machine_t *m, const vma_t *vma, uint64_t old, uint32_t pfn) noexcept nogil:
    cdef uint64_t entry = mk_pte(m, pfn, vma.page_prot)
    entry = pte_mkyoung(m, entry) if pte_young(m, old) else pte_mkold(m, entry)
    if pte_dirty(m, old):
        entry = pte_mkdirty(m, entry)
    if pte_write(m, old):
        entry = pte_mkwrite(m, entry)
    return pte_copy_soft_dirty(m, entry, old)


cdef bint copy_window(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order,
                      uint32_t flags) noexcept nogil:
    cdef uint32_t nr = 1U << order, i, j, n, pfn, old, head = folio_alloc(m, order)
    if head == FS_NO_PFN:
        return False
    folio_materialize(m, head)
    for i in range(nr):
        if content_copy(m, head + i, pte_pfn(m, pte[i])) < 0:
            folio_put(m, head)
            return False
    count_op(m, OP_PTE_SET, nr)
    count_op(m, OP_TLB_FLUSH, 1)
    page_of(m, head).refcount += nr - 1
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    i = 0
    while i < nr:
        pfn = pte_pfn(m, pte[i])
        n = folio_pte_batch(m, pte + i, pfn, nr - i)
        for j in range(i, i + n):
            set_pte(m, pte + j, entry_of_copy(m, vma, get_and_clear_ptes(m, pte + j, 1), head + j))
        old = head_of(m, pfn)
        count_copy(m, vma, pfn, n, flags)
        count_op(m, OP_REF, 1)
        folio_remove_rmap_ptes(m, pfn, n, vma)
        free_swap_cache(m, old)
        folio_put_refs(m, old, n)
        i += n
    return True


cdef bint may_copy(machine_t *m, uint64_t entry) noexcept nogil:
    cdef uint32_t pfn = pte_pfn(m, entry)
    cdef page_t *folio
    if not entry or not pte_present(m, entry) or pte_special(m, entry):
        return False
    folio = folio_of(m, pfn)
    if not folio.flags & PG_anon:
        return False
    return not (page_record(m, folio, pfn).flags & PG_anon_exclusive and page_maybe_dma_pinned(m, folio, pfn))


cdef inline bint maps_folio(machine_t *m, uint64_t entry, uint32_t head) noexcept nogil:
    return entry != 0 and pte_present(m, entry) and not pte_special(m, entry) and head_of(m, pte_pfn(m, entry)) == head


cdef int block_order(machine_t *m, const uint64_t *pte, uint32_t head, uint64_t addr, uint64_t end) noexcept nogil:
    """The largest folio that may start at addr and holds copies only; anonymous folios of order 1 do not exist."""
    cdef int order = 0, most = FS_HPAGE_PMD_ORDER - 1
    cdef uint32_t n = 1, nr = <uint32_t>((end - addr) >> FS_PAGE_SHIFT)
    while order < most and not (addr >> FS_PAGE_SHIFT) & (1ULL << order) and 2U << order <= nr:
        order += 1
    nr = 1U << order
    while n < nr and maps_folio(m, pte[n], head) and may_copy(m, pte[n]):
        n += 1
    while 1U << order > n:
        order -= 1
    return 0 if order == 1 else order


cdef bint copy_out(machine_t *m, vma_t *vma, uint32_t head, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, start)
    cdef uint64_t *pte
    cdef uint64_t addr = start
    cdef bint whole = True
    cdef int order
    if pmd == NULL or not pmd[0] or anon_vma_prepare(m, vma) < 0:
        return False
    if pmd_leaf(m, pmd[0]):
        split_huge_pmd(m, vma, pmd, addr)
    end = pmd_addr_end(start, end)
    while addr < end:
        pte = pte_offset(m, pmd[0], addr)
        order = 0
        if maps_folio(m, pte[0], head):
            if may_copy(m, pte[0]):
                order = block_order(m, pte, head, addr, end)
                while not copy_window(m, vma, pte, addr, order, 0):
                    if order == 0:
                        return False
                    order = 0
            else:
                whole = False
        addr += FS_PAGE_SIZE << order
    return whole
