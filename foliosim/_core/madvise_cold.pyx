# cython: language_level=3
"""MADV_COLD and MADV_PAGEOUT.  Follows madvise_cold_or_pageout_pte_range in mm/madvise.c."""
from libc.errno cimport EINTR
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.split_folio cimport folio_batch_or_split, split_folio
from foliosim._core.swap cimport folio_deactivate
from foliosim._core.vmscan cimport *


cdef void pass_on(machine_t *m, uint32_t head, page_t *folio, folio_list_t *pageout) noexcept nogil:
    """Forget that the folio was used; then deactivate it, or put it on the list."""
    folio.flags &= ~PG_referenced
    if pageout == NULL:
        folio_deactivate(m, head)
    elif folio_isolate_lru(m, head):
        if folio.flags & PG_unevictable:
            folio_putback_lru(m, head)
        else:
            folio_list_append(m, pageout, head)


cdef bint cold_pmd(machine_t *m, uint64_t *pmd, bint whole, folio_list_t *pageout) noexcept nogil:
    """False: the folio was split, go on with the PTEs."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    if head == m.huge_zero_pfn or folio_maybe_mapped_shared(folio):
        return True
    if not whole:
        return split_folio(m, head, SPLIT_MADVISE) < 0
    if pageout == NULL:
        store_entry(m, pmd, pte_mkold(m, pmd[0]))
    pass_on(m, head, folio, pageout)
    return True


cdef uint32_t cold_batch(machine_t *m, uint64_t *pte, uint32_t max_nr, folio_list_t *pageout) noexcept nogil:
    """The folio that the entry maps; how many entries were dealt with, 0: look again."""
    cdef bint whole = False
    cdef uint32_t nr = folio_batch_or_split(m, pte, max_nr, &whole), head
    cdef page_t *folio
    if not whole:
        return nr
    head = head_of(m, pte_pfn(m, pte[0]))
    folio = page_of(m, head)
    if not folio.flags & PG_lru or folio_mapcount(folio) != <int32_t>folio_nr_pages(folio):
        return nr
    if pageout == NULL:
        clear_young_dirty_ptes(m, pte, nr, False)
    pass_on(m, head, folio, pageout)
    return nr


cdef void cold_pte_range(machine_t *m, uint64_t *pmd, uint64_t addr, uint64_t end,
                         folio_list_t *pageout) noexcept nogil:
    cdef uint64_t *pte
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0
    if pmd_leaf(m, pmd[0]) and cold_pmd(m, pmd, left == FS_PTRS_PER_PTE, pageout):
        return
    if not pmd[0]:
        return
    pte = pte_offset(m, pmd[0], addr)
    while i < left:
        if pte_present(m, pte[i]) and not pte_special(m, pte[i]):
            i += cold_batch(m, pte + i, left - i, pageout)
        else:
            i += 1


cdef int walk(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end, bint pageout) noexcept nogil:
    """Table by table; what one table's entries gave is reclaimed before the next is looked at."""
    cdef folio_list_t folios
    cdef uint64_t next
    cdef uint64_t *pmd
    lru_add_drain(m)
    while addr < end:
        if fatal_signal_pending(m):
            return -EINTR
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        folio_list_init(&folios)
        if pmd[0]:
            cold_pte_range(m, pmd, addr, next, &folios if pageout else NULL)
        reclaim_pages(m, &folios)
        addr = next
    return 0


cdef int madvise_cold(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    return walk(m, vma, start, end, False)


cdef int madvise_pageout(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    return walk(m, vma, start, end, True)
