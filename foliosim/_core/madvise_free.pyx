# cython: language_level=3
"""MADV_FREE.  Follows madvise_free_pte_range in mm/madvise.c and madvise_free_huge_pmd in mm/huge_memory.c."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.split_folio cimport folio_batch_or_split, split_folio
from foliosim._core.swap cimport folio_mark_lazyfree


cdef bint free_pmd(machine_t *m, uint64_t *pmd, bint whole) noexcept nogil:
    """False: the folio was split, go on with the PTEs."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    if head == m.huge_zero_pfn or folio_maybe_mapped_shared(folio):
        return True
    if not whole:
        return split_folio(m, head) < 0
    folio.flags &= ~PG_dirty
    pmd[0] = pte_mkclean(m, pte_mkold(m, pmd[0]))
    folio_mark_lazyfree(m, head)
    return True


cdef uint32_t free_batch(machine_t *m, uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """The folio that the entry maps; how many entries were dealt with, 0: look again."""
    cdef bint whole = False
    cdef uint32_t nr = folio_batch_or_split(m, pte, max_nr, &whole), head, i
    cdef page_t *folio
    if not whole:
        return nr
    head = head_of(m, pte_pfn(m, pte[0]))
    folio = page_of(m, head)
    if folio.flags & PG_dirty:
        if folio_mapcount(folio) != <int32_t>folio_nr_pages(folio):
            return nr
        folio.flags &= ~PG_dirty
    for i in range(nr):
        pte[i] = pte_mkclean(m, pte_mkold(m, pte[i]))
    folio_mark_lazyfree(m, head)
    return nr


cdef void free_pte_range(machine_t *m, uint64_t *pmd, uint64_t addr, uint64_t end) noexcept nogil:
    cdef uint64_t *pte
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0
    if pmd_leaf(m, pmd[0]) and free_pmd(m, pmd, left == FS_PTRS_PER_PTE):
        return
    pte = pte_offset(m, pmd[0], addr)
    while i < left:
        if pte_present(m, pte[i]) and not pte_special(m, pte[i]):
            i += free_batch(m, pte + i, left - i)
        else:
            i += 1


cdef int madvise_free(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t addr = start, next
    cdef uint64_t *pmd
    lru_add_drain(m)
    while addr < end:
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd[0]:
            free_pte_range(m, pmd, addr, next)
        addr = next
    return 0
