# cython: language_level=3
"""MADV_FREE.  Follows madvise_free_pte_range in mm/madvise.c and madvise_free_huge_pmd in mm/huge_memory.c."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.errno cimport EINTR
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.huge_memory cimport split_huge_pmd
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.policy cimport *
from foliosim._core.split_folio cimport folio_batch_or_split, split_folio
from foliosim._core.swap cimport folio_mark_lazyfree
from foliosim._core.swap_state cimport folio_free_swap, free_swap_and_cache
from foliosim._core.zap cimport folio_pte_batch, note_freed


cdef bint free_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t nr) noexcept nogil:
    """nr pages of a leaf; False: it was split, or its folio, go on with the PTEs."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    if head == m.huge_zero_pfn or folio_maybe_mapped_shared(folio) or folio.flags & PG_locked:
        return True
    if nr < FS_HPAGE_PMD_NR:
        if ask_madv_free_partial(m, FS_HPAGE_PMD_ORDER, nr) == MADV_FREE_MARK_WHOLE:
            split_huge_pmd(m, vma, pmd, addr)
            return False
        return split_folio(m, head, SPLIT_MADVISE) < 0
    folio.flags &= ~PG_dirty
    store_entry(m, pmd, pte_mkclean(m, pte_mkold(m, pmd[0])))
    folio_mark_lazyfree(m, head)
    return True


cdef bint keep_others(machine_t *m, uint64_t *pte, uint32_t nr) noexcept nogil:
    """P25 mark_whole: what the folio's other pages hold is kept by making their entries dirty; False: this table does
    not have all of them, or they are not this process's alone."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), head = head_of(m, pfn), before = pfn - head, i
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t at = (<uint64_t>pte & (FS_PAGE_SIZE - 1)) / sizeof(uint64_t), all = folio_nr_pages(folio)
    cdef uint64_t *first = pte - before
    cdef int32_t mapped = 0
    if before > at or at - before + all > FS_PTRS_PER_PTE or folio_maybe_mapped_shared(folio):
        return False
    for i in range(all):
        mapped += first[i] != 0 and pte_present(m, first[i]) and pte_pfn(m, first[i]) == head + i
    if mapped != folio_mapcount(folio):
        return False
    for i in range(all):
        if not before <= i < before + nr and first[i] and pte_present(m, first[i]) and pte_pfn(m, first[i]) == head + i:
            ptep_set_access_flags(m, first + i, pte_mkdirty(m, ptep_get(m, first + i)))
    return True


cdef int32_t free_policy(machine_t *m, uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """P25: the other answers; entries dealt with, 0: look again, -1: as Linux."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), nr = folio_pte_batch(m, pte, pfn, max_nr)
    cdef page_t *folio = folio_of(m, pfn)
    cdef int answer
    if not folio_test_large(folio):
        return -1
    answer = ask_madv_free_partial(m, folio_order(folio), nr)
    if answer == MADV_FREE_GIVE_UP:
        if page_precise_mapcount(m, head_of(m, pfn)) != 1:       # folio_estimated_sharers: the first page's
            return max_nr
        return max_nr if split_folio(m, pfn, SPLIT_MADVISE) < 0 else 0
    if answer != MADV_FREE_MARK_WHOLE or nr == folio_nr_pages(folio):
        return -1
    if keep_others(m, pte, nr):
        folio.flags &= ~PG_dirty
        unfold_ptes(m, pte, nr)
        clear_young_dirty_ptes(m, pte, nr, True)
        folio_mark_lazyfree(m, head_of(m, pfn))
    return nr


cdef uint32_t free_batch(machine_t *m, uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """The folio that the entry maps; how many entries were dealt with, 0: look again."""
    cdef bint whole = False
    cdef uint32_t nr, head
    cdef int32_t done = -1 if policy_is_linux(m, POINT_MADV_FREE_PARTIAL) else free_policy(m, pte, max_nr)
    cdef page_t *folio
    if done >= 0:
        return done
    nr = folio_batch_or_split(m, pte, max_nr, &whole)
    if not whole:
        return nr
    head = head_of(m, pte_pfn(m, pte[0]))
    folio = page_of(m, head)
    if folio.flags & PG_dirty or folio_test_swapcache(folio):
        if folio.flags & PG_locked or folio_mapcount(folio) != <int32_t>folio_nr_pages(folio):
            return nr
        if folio_test_swapcache(folio) and not folio_free_swap(m, head):
            return nr
        folio.flags &= ~PG_dirty
    clear_young_dirty_ptes(m, pte, nr, True)
    folio_mark_lazyfree(m, head)
    return nr


cdef void free_swapped(machine_t *m, mm_t *mm, uint64_t *pte) noexcept nogil:
    """What is in swap is gone at once."""
    cdef uint32_t slot = swp_slot(m, pte[0])
    clear_ptes(m, pte, 1)
    mm.swapents -= 1
    free_swap_and_cache(m, slot)


cdef void free_pte_range(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t end) noexcept nogil:
    cdef uint64_t *pte
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0
    if pmd_leaf(m, pmd[0]) and free_pmd(m, vma, pmd, addr, left):
        return
    pte = pte_offset(m, pmd[0], addr)
    while i < left:
        if pte_present(m, pte[i]) and not pte_special(m, pte[i]):
            i += free_batch(m, pte + i, left - i)
            continue
        if pte_swap(m, pte[i]):
            free_swapped(m, vma.mm, pte + i)
        i += 1


cdef int madvise_free(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t addr = start, next
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
        if pmd[0]:
            free_pte_range(m, vma, pmd, addr, next)
        addr = next
    note_freed(m, vma.mm, start, end)
    return 0
