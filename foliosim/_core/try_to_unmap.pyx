# cython: language_level=3
"""Unmapping a folio wherever it is mapped.  Follows try_to_unmap_one in mm/rmap.c.

Folios in the swap cache leave swap entries behind.  Lazily freed anonymous folios are lost unless somebody wrote to
them or holds them; those of the page cache leave nothing.
"""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.folio cimport folio_materialize
from foliosim._core.huge_memory cimport split_huge_pmd
from foliosim._core.mlock cimport mlock_drain_local, mlock_folio
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport folio_remove_rmap_ptes, rmap_next, vma_address, vma_clip, vma_reaches
from foliosim._core.swap cimport folio_put_refs
from foliosim._core.swapfile cimport swap_duplicate
from foliosim._core.zap cimport folio_pte_batch_write

cdef struct unmap_t:
    uint32_t head
    page_t *folio
    uint64_t index       # of the folio in its mapping
    uint32_t nr          # pages
    bint ignore_mlock
    uint32_t found       # mappings met in the present VMA, if that is locked


cdef bint keep_lazyfree(page_t *folio) noexcept nogil:
    """Must the mapping stay?  Written to: the folio is no longer lazily freed.  Held by somebody: try later."""
    if folio.flags & PG_dirty:
        folio.flags |= PG_swapbacked
        return True
    return folio.refcount != 1 + folio_mapcount(folio)


cdef bint swap_out_pte(machine_t *m, vma_t *vma, uint64_t *pte, const unmap_t *u) noexcept nogil:
    """Put the swap entry in the place of one entry; False: the page may be pinned and stays."""
    cdef uint64_t old = ptep_get(m, pte), entry
    cdef uint32_t pfn = pte_pfn(m, old), slot = m.swap.of_page[pfn]
    cdef page_t *page = page_of(m, pfn)
    if pte_dirty(m, old):
        u.folio.flags |= PG_dirty
    if page.flags & PG_anon_exclusive and folio_maybe_dma_pinned(u.folio):
        return False
    entry = mk_swap(m, slot)
    if page.flags & PG_anon_exclusive:
        page.flags &= ~PG_anon_exclusive
        entry = pte_swp_mkexclusive(m, entry)
    if pte_soft_dirty(m, old):
        entry = pte_swp_mksoft_dirty(m, entry)
    swap_duplicate(m, slot)
    get_and_clear_ptes(m, pte, 1)
    set_pte(m, pte, entry)
    update_hiwater_rss(vma.mm)
    vma.mm.rss_anon -= 1
    vma.mm.swapents += 1
    folio_remove_rmap_ptes(m, pfn, 1, vma)
    if vma.flags & VM_LOCKED:
        mlock_drain_local(m)
    folio_put_refs(m, u.head, 1)
    return True


cdef uint32_t unmap_batch(machine_t *m, vma_t *vma, uint64_t *pte, const unmap_t *u, uint32_t max_nr) noexcept nogil:
    """The entries from pte on that map the folio with like protection; how many went, 0: they stay.

    Entries that were taken out together come back alike: all accessed, or dirty, if one was.
    """
    cdef uint32_t pfn = pte_pfn(m, pte[0]), n = folio_pte_batch_write(m, pte, pfn, max_nr)
    cdef uint64_t entry
    if folio_test_swapcache(u.folio):
        folio_materialize(m, u.head)
        return 1 if swap_out_pte(m, vma, pte, u) else 0
    entry = get_and_clear_ptes(m, pte, n)
    if pte_dirty(m, entry):
        u.folio.flags |= PG_dirty
    if u.folio.flags & PG_anon and keep_lazyfree(u.folio):
        set_ptes(m, pte, entry, n)
        return 0
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    update_hiwater_rss(vma.mm)
    add_mm_counter(vma.mm, u.folio, -<int64_t>n)
    folio_remove_rmap_ptes(m, pfn, n, vma)
    if vma.flags & VM_LOCKED:
        mlock_drain_local(m)
    folio_put_refs(m, u.head, n)
    return n


cdef inline void restore_mlock(machine_t *m, const unmap_t *u, bint pmd) noexcept nogil:
    """A folio that a locked VMA maps is not reclaimed; if it was not mlocked so far, it is now."""
    if ask_mlock_rule(m, MLOCK_AT_RMAP_ADD, u.folio, u.nr, pmd, True) == MLOCK_YES:
        mlock_folio(m, u.head)


cdef bint unmap_in_table(machine_t *m, vma_t *vma, uint64_t *pte, unmap_t *u, uint64_t pgoff,
                         uint32_t left) noexcept nogil:
    """The entries of one table; pgoff: of the first one.  False: stop."""
    cdef uint32_t i = 0, n
    while i < left:
        n = 1
        if pte_present(m, pte[i]) and pte_pfn(m, pte[i]) == u.head + <uint32_t>(pgoff + i - u.index):
            if vma.flags & VM_LOCKED and not u.ignore_mlock:
                u.found += 1
                if u.found == u.nr and left >= u.nr:
                    restore_mlock(m, u, False)
            else:
                n = unmap_batch(m, vma, pte + i, u, left - i)
                if n == 0:
                    return False
        i += n
    return True


cdef bint unmap_in_vma(machine_t *m, vma_t *vma, unmap_t *u) noexcept nogil:
    """False: stop, some mapping stays.  A leaf is always split first, also that of a lazily freed folio."""
    cdef uint64_t pgoff, last, addr, left
    cdef uint64_t *pmd
    cdef bint locked = (vma.flags & VM_LOCKED) != 0 and not u.ignore_mlock
    vma_clip(vma, u.index, u.nr, &pgoff, &last)
    u.found = 0
    while pgoff < last:
        addr = vma_address(vma, pgoff)
        left = (pmd_addr_end(addr, vma.end) - addr) >> FS_PAGE_SHIFT
        if left > last - pgoff:
            left = last - pgoff
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd != NULL and pmd_leaf(m, pmd[0]) and pte_pfn(m, pmd[0]) == u.head:
            if locked:
                restore_mlock(m, u, True)
                return False
            split_huge_pmd(m, vma, pmd, addr)
        if pmd != NULL and pmd_table(m, pmd[0]):
            if not unmap_in_table(m, vma, pte_offset(m, pmd[0], addr), u, pgoff, <uint32_t>left):
                return False
        pgoff += left
    return u.found == 0


cdef bint try_to_unmap(machine_t *m, uint32_t head, bint ignore_mlock) noexcept nogil:
    cdef unmap_t u
    cdef avc_t *avc
    cdef vma_t *vma
    u.head = head
    u.folio = page_of(m, head)
    u.index = folio_index(u.folio)
    u.nr = folio_nr_pages(u.folio)
    u.ignore_mlock = ignore_mlock
    u.found = 0
    if u.folio.flags & PG_anon:
        avc = rmap_next(m, u.folio, NULL)
        while avc != NULL and folio_mapped(u.folio):
            if not unmap_in_vma(m, avc.vma, &u):
                break
            avc = rmap_next(m, u.folio, avc)
    else:
        vma = (<mapping_t *>m.mappings[folio_mapping_id(u.folio)]).i_mmap
        while vma != NULL and folio_mapped(u.folio):
            if vma_reaches(vma, u.index, u.nr) and not unmap_in_vma(m, vma, &u):
                break
            vma = vma.i_mmap_next
    return not folio_mapped(u.folio)
