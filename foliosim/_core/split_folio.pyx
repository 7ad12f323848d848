# cython: language_level=3
"""Splitting a folio.  Follows __folio_split in mm/huge_memory.c, with try_to_migrate and remove_migration_ptes.

While the folio is taken apart its PTEs stay in place (nobody can look); their reference and mapcount are dropped
before and taken again after, as the kernel does with migration entries: it goes page by page, here runs of pages are
dealt with together, and counted as what they are.
"""
from libc.errno cimport EAGAIN, EBUSY, EINVAL, ENOMEM
from libc.stdint cimport int32_t, int64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.content cimport content_is_zero
from foliosim._core.fault_inject cimport failslab
from foliosim._core.deferred_split cimport folio_unqueue_deferred_split
from foliosim._core.folio cimport folio_materialize, init_overlays
from foliosim._core.held cimport pins_per_page
from foliosim._core.huge_memory cimport split_huge_pmd_frozen
from foliosim._core.ledger cimport count_split_attempt
from foliosim._core.mapping cimport filemap_remove_folio, mapping_pages
from foliosim._core.mlock cimport mlock_drain_local
from foliosim._core.rmap cimport *
from foliosim._core.swap cimport folio_put
from foliosim._core.swap_state cimport free_swap_cache
from foliosim._core.try_to_unmap cimport try_to_unmap
from foliosim._core.policy cimport *
from foliosim._core.zap cimport folio_pte_batch

# n entries that map the frames from pfn on, one after the other.
ctypedef void (*walk_fn_t)(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t n) noexcept nogil


cdef int32_t folio_expected_ref_count(page_t *folio) noexcept nogil:
    cdef int32_t n = folio_mapcount(folio)
    if folio_test_swapcache(folio) or (not folio.flags & PG_anon and folio_mapping_id(folio)):
        n += folio_nr_pages(folio)
    return n


# ---- walking the mappings of a folio ----

cdef uint32_t frames_in_a_row(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr) noexcept nogil:
    """How many entries from here on map the frames from pfn on and are alike as those of a batch are."""
    if not pte_present(m, pte[0]) or pte_pfn(m, pte[0]) != pfn:
        return 0
    return pte_run(m, pte, max_nr, PTES_BATCH)


cdef void walk_table(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t left, walk_fn_t fn) noexcept nogil:
    """Call fn for each run; page by page where each page's mapping may mlock or munlock its folio."""
    cdef uint32_t i = 0, n
    while i < left:
        n = frames_in_a_row(m, pte + i, pfn + i, 1 if vma.flags & VM_LOCKED else left - i)
        if n:
            fn(m, vma, pte + i, pfn + i, n)
        i += n if n else 1


cdef void walk_vma(machine_t *m, vma_t *vma, uint32_t head, uint32_t nr, uint64_t index, walk_fn_t fn) noexcept nogil:
    """Call fn for the PTEs of the VMA that map pages of the folio; a PMD leaf of it is frozen instead."""
    cdef uint64_t addr, pgoff, last, left
    cdef uint64_t *pmd
    vma_clip(vma, index, nr, &pgoff, &last)
    while pgoff < last:
        addr = vma_address(vma, pgoff)
        left = (pmd_addr_end(addr, vma.end) - addr) >> FS_PAGE_SHIFT
        if left > last - pgoff:
            left = last - pgoff
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd != NULL and pmd_leaf(m, pmd[0]):
            if pte_pfn(m, pmd[0]) == head:
                split_huge_pmd_frozen(m, vma, pmd)
        elif pmd != NULL and pmd[0]:
            walk_table(m, vma, pte_offset(m, pmd[0], addr), head + <uint32_t>(pgoff - index), <uint32_t>left, fn)
        pgoff += left


cdef void rmap_walk_anon(machine_t *m, uint32_t head, uint64_t index, uint32_t id, uint32_t nr,
                         walk_fn_t fn) noexcept nogil:
    cdef anon_vma_t *anon_vma = <anon_vma_t *>m.mappings[id]
    cdef avc_t *avc = anon_vma.first
    cdef avc_t *following
    cdef vma_t *vma
    while avc != NULL:
        following = avc.av_next
        vma = avc.vma
        if vma_reaches(vma, index, nr):
            walk_vma(m, vma, head, nr, index, fn)
        avc = following


# ---- unmapping ----

cdef void unmap_run(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t n) noexcept nogil:
    """Follows try_to_migrate_one: a dirty entry makes the folio dirty; page_anon_exclusive stays in the record."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef uint32_t dirty = 0
    cdef int64_t i
    for i in range(n):
        unfold_ptes(m, pte + i, 1)
        dirty |= pte_dirty(m, pte[i])
    if dirty:
        folio.flags |= PG_dirty
    folio_remove_rmap_each(m, pfn, n, vma)
    folio.refcount -= <int32_t>n
    count_op(m, OP_REF, n)
    count_op(m, OP_PTE_SET, n)


cdef bint try_to_map_unused_to_zeropage(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn) noexcept nogil:
    """A zero-filled single page gives way to the zero page."""
    cdef page_t *page = page_of(m, pfn)
    cdef uint64_t old = pte[0]
    if folio_test_large(page) or page.flags & PG_mlocked or vma.flags & VM_LOCKED or not content_is_zero(m, pfn):
        return False
    if folio_maybe_dma_pinned(page) or not ask_drop_zero_pages(m):
        return False
    clear_ptes(m, pte, 1)
    set_pte(m, pte, pte_copy_soft_dirty(m, pte_mkspecial(m, mk_pte(m, m.zero_pfn, vma.page_prot)), old))
    update_hiwater_rss(vma.mm)
    vma.mm.rss_anon -= 1
    return True


cdef void remap_entries(machine_t *m, const vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t n) noexcept nogil:
    """Entries made anew, with what the old ones said; worked out once for all that differ in their address only."""
    cdef uint32_t i = 0, k, dirty = folio_of(m, pfn).flags & PG_dirty
    cdef uint64_t old, entry
    while i < n:
        old = pte[i]
        entry = mk_pte(m, pfn + i, vma.page_prot)
        entry = pte_mkyoung(m, entry) if pte_young(m, old) else pte_mkold(m, entry)
        if pte_dirty(m, old) and dirty:
            entry = pte_mkdirty(m, entry)
        entry = pte_copy_soft_dirty(m, entry, old)
        if pte_write(m, old):
            entry = pte_mkwrite(m, entry)
        k = same_bits(m, pte + i, n - i)
        if FS_CONT_PTES > 1:
            replace_each(m, pte + i, entry, k)
        elif entry != old:
            clear_ptes(m, pte + i, k)
            set_ptes(m, pte + i, entry, k)
        i += k


cdef void replace_each(machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil:
    """One by one: a contiguous block is folded by the entry that completes it."""
    cdef uint32_t i
    for i in range(n):
        clear_ptes(m, pte + i, 1)
        set_pte(m, pte + i, entry + i * pte_step(m, entry))


cdef uint32_t map_small(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    """Single pages in a row that are surely not full of zeros: map them; how many."""
    cdef uint32_t k = page_contiguous(pfn, n), left = k
    cdef page_t *page = page_of(m, pfn)
    while left and page.flags >> PG_FILL_SHIFT and not page.flags & (PG_bytes | PG_ORDER_MASK):
        page.mapcount += 1
        page.refcount += 1
        page += 1
        left -= 1
    return k - left


cdef uint32_t remap_pages(machine_t *m, const vma_t *vma, uint32_t pfn, uint32_t n) noexcept nogil:
    """Map small pages in a row, or the pages of one piece: how many of n."""
    cdef uint32_t head, k = 0
    cdef page_t *folio
    if not vma.flags & VM_LOCKED:
        k = map_small(m, pfn, n)
    if k:
        count_rmap_each(m, page_of(m, pfn), k)
        return k
    head = head_of(m, pfn)
    folio = page_of(m, head)
    k = min(head + folio_nr_pages(folio) - pfn, n)
    folio.refcount += <int32_t>k
    folio_add_rmap_each(m, pfn, k, vma)
    if vma.flags & VM_LOCKED:
        mlock_drain_local(m)
    return k


cdef void remap_run(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t n) noexcept nogil:
    """Follows remove_migration_pte for n entries."""
    cdef uint32_t first = 0, i = 0
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, n)
    while i < n:
        if try_to_map_unused_to_zeropage(m, vma, pte + i, pfn + i):
            remap_entries(m, vma, pte + first, pfn + first, i - first)
            count_op(m, OP_REF, -1)
            i += 1
            first = i
        else:
            i += remap_pages(m, vma, pfn + i, n - i)
    remap_entries(m, vma, pte + first, pfn + first, n - first)


# ---- the pieces ----

cdef lru_list_t *lru_list_of(machine_t *m, const page_t *folio) noexcept nogil:
    cdef int lru = LRU_INACTIVE_ANON if folio.flags & PG_swapbacked else LRU_INACTIVE_FILE
    return m.lru + lru + (1 if folio.flags & PG_active else 0)


cdef void link_pieces(machine_t *m, uint32_t head, uint32_t step, uint32_t nr) noexcept nogil:
    """Follows lru_add_split_folio: the pieces, linked in a row, go next to the old folio, on the same list."""
    cdef page_t *folio = page_of(m, head)
    page_of(m, head + step).prev = folio.prev
    if folio.prev != FS_NO_PFN:
        page_of(m, folio.prev).next = head + step
    else:
        lru_list_of(m, folio).first = head + step
    page_of(m, head + nr - step).next = head
    folio.prev = head + nr - step


cdef inline void write_tails(page_t *head, uint32_t nr, int order, uint32_t keep) noexcept nogil:
    """Tails 1..nr-1 of a piece, whose records follow each other: kind and order, and of what was there what is kept."""
    cdef uint32_t flags = PG_KIND_TAIL | <uint32_t>order
    cdef int64_t i
    for i in range(1, nr):
        head[i].flags = head[i].flags & keep | flags


cdef void split_records(machine_t *m, uint32_t head, int old_order, int new_order) noexcept nogil:
    """Follows __split_folio_to_order: the records of pieces of one size, in place of one folio's that nothing maps.

    Where all pages of the folio are alike, those of a piece are too.
    """
    cdef page_t *folio = page_of(m, head)
    cdef page_t *page
    cdef page_t piece
    cdef uint32_t keep = PG_referenced | PG_uptodate | PG_dirty | PG_active | PG_swapbacked | PG_unevictable
    cdef bint alike = folio.flags & PG_tails_implicit and new_order != 1
    cdef bint cached = folio_test_swapcache(folio) or (not folio.flags & PG_anon and folio_mapping_id(folio))
    cdef bint linked = folio.flags & PG_lru and not folio.flags & PG_unevictable
    cdef uint64_t index = folio_index(folio)
    cdef uint32_t step = 1U << new_order, nr = 1U << old_order, at = step, per_page = 0 if alike else PG_PER_PAGE, flags
    count_op(m, OP_RECORD, nr)
    if not alike:
        folio_materialize(m, head)
    flags = folio.flags & (keep | PG_mlocked | PG_anon | PG_lru) | PG_KIND_HEAD | <uint32_t>new_order
    flags |= (folio.flags & PG_PER_PAGE) | (PG_tails_implicit if new_order >= 2 else 0) if alike else 0
    flags |= PG_swapcache if folio_test_swapcache(folio) else 0
    piece.mapcount = 0
    piece.refcount = 1 + <int32_t>(step if cached else 0)
    piece.next = piece.prev = 0
    while at < nr:
        page = page_of(m, head + at)
        piece.flags = page.flags & per_page | flags
        if linked:
            piece.next = head + at + step
            piece.prev = head + at - step
        folio_set_mapping(&piece, folio_mapping_id(folio), index + at)
        page[0] = piece
        if new_order:
            write_tails(page, step, new_order, per_page)
            init_overlays(page, new_order)
        at += step
    pages_change_flags(m, head + 1, step - 1, ~per_page, PG_KIND_TAIL | <uint32_t>new_order)
    folio.flags = folio.flags & ~(PG_ORDER_MASK | PG_tails_implicit) | <uint32_t>new_order | flags & PG_tails_implicit
    if linked:
        link_pieces(m, head, step, nr)
    folio.refcount = piece.refcount
    if flags & PG_unevictable:
        folio.prev = 0
    init_overlays(folio, new_order)


cdef void count_split(machine_t *m, int order, int result) noexcept nogil:
    if order == FS_HPAGE_PMD_ORDER:
        count_vm_events(m, THP_SPLIT_PAGE if result == 0 else THP_SPLIT_PAGE_FAILED, 1)
    mod_mthp_stat(m, order, MTHP_SPLIT if result == 0 else MTHP_SPLIT_FAILED, 1)


cdef inline int32_t movable_pins(page_t *folio) noexcept nogil:
    """Pins that need not keep the folio whole."""
    return folio_tail2(folio).pincount if pins_per_page(folio) else 0


cdef int check_split(machine_t *m, uint32_t head, page_t *folio, int new_order, bint uniform) noexcept nogil:
    cdef bint anon = (folio.flags & PG_anon) != 0
    if page_kind(folio) != PG_KIND_HEAD or new_order < 0 or new_order >= folio_order(folio):
        return -EINVAL
    if anon and new_order == 1:
        return -EINVAL
    if not anon and not folio_mapping_id(folio):
        return -EBUSY
    if folio_test_swapcache(folio) and (new_order or not uniform):
        return -EINVAL
    if folio.flags & PG_locked:
        return -EBUSY     # callers only try to lock it
    if folio.flags & PG_dirty and not folio.flags & (PG_anon | PG_swapbacked):
        return -EBUSY     # the file system does not let its buffers go
    if not anon and failslab(m, FAIL_XA_NODE):
        return -ENOMEM
    if anon and not folio_mapped(folio):
        return -EBUSY
    if folio_expected_ref_count(folio) + movable_pins(folio) != folio.refcount - 1:
        return -EAGAIN
    return 0


cdef void hand_out_pins(machine_t *m, uint32_t head, uint32_t nr) noexcept nogil:
    """P10 per_page_count: each pin of the folio that was goes to the piece that has its page."""
    cdef const held_t *held = m.held
    cdef int64_t i
    cdef page_t *piece
    while held != NULL:
        for i in range(held.nr if held.flags & FOLL_PIN else 0):
            if not head <= held.pfns[i] < head + nr:
                continue
            piece = folio_of(m, held.pfns[i])
            if folio_order(piece) >= 2:
                piece.refcount += 1
                folio_tail2(piece).pincount += 1
                folio_tail3(piece).marks |= TAIL3_PIN_PER_PAGE
            else:
                piece.refcount += FS_GUP_PIN_COUNTING_BIAS
        held = held.next


cdef void shatter(machine_t *m, uint32_t head, int new_order, uint32_t at, bint uniform) noexcept nogil:
    """Follows __split_unmapped_folio; non-uniform anonymous splits go from order 2 to order 0."""
    cdef int order = folio_order(page_of(m, head)), next_order
    cdef bint anon = (page_of(m, head).flags & PG_anon) != 0
    cdef int old = order
    while order > new_order:
        next_order = new_order if uniform else order - 1
        if anon and next_order == 1:
            next_order = 0
        split_records(m, head_of(m, at), order, next_order)
        if anon:
            mod_mthp_stat(m, order, MTHP_NR_ANON, -1)
            mod_mthp_stat(m, next_order, MTHP_NR_ANON, 1LL << (order - next_order))
        order = next_order
    count_split(m, old, 0)


cdef void drop_beyond_eof(machine_t *m, mapping_t *mapping, uint32_t head, uint32_t nr) noexcept nogil:
    """Pieces of a file's folio that lie beyond its end leave the page cache; the first one stays in any case."""
    cdef uint64_t end = mapping_pages(mapping)
    cdef uint32_t pfn = head + folio_nr_pages(page_of(m, head)), piece
    while pfn < head + nr:
        piece = folio_nr_pages(page_of(m, pfn))
        if folio_index(page_of(m, pfn)) >= end:
            page_of(m, pfn).flags &= ~PG_dirty
            filemap_remove_folio(m, mapping, pfn)
        pfn += piece


cdef uint32_t put_small(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    """Single pages in a row that somebody else refers to as well; how many of n."""
    cdef uint32_t k = page_contiguous(pfn, n), left = k
    cdef page_t *page = page_of(m, pfn)
    while left and not folio_test_large(page) and page.refcount > 1 and not folio_test_swapcache(page):
        page.refcount -= 1
        page += 1
        left -= 1
    return k - left


cdef void put_pieces(machine_t *m, uint32_t pfn, uint32_t end) noexcept nogil:
    """A reference on each piece."""
    cdef uint32_t n
    while pfn < end:
        n = put_small(m, pfn, end - pfn)
        if n == 0:
            n = folio_nr_pages(page_of(m, pfn))
            if folio_test_swapcache(page_of(m, pfn)):
                free_swap_cache(m, pfn)
            folio_put(m, pfn)
        pfn += n


cdef int do_split(machine_t *m, uint32_t head, int new_order, uint32_t at, uint32_t keep, bint uniform,
                  int reason) noexcept nogil:
    """The walk before and the walk after must see the same VMAs, so what finds them is kept from the old head."""
    cdef page_t *folio = page_of(m, head)
    cdef int old_order = folio_order(folio)
    cdef uint32_t nr = 1U << old_order, id, kept
    cdef uint64_t index
    cdef bint anon = (folio.flags & PG_anon) != 0, isolated = not folio.flags & PG_lru, pins
    cdef int result = check_split(m, head, folio, new_order, uniform)
    count_split_attempt(m, folio, reason, result)
    if result < 0:
        if page_kind(folio) == PG_KIND_HEAD and not folio.flags & PG_locked:
            count_split(m, old_order, result)
        return result
    count_op(m, OP_TLB_FLUSH, 1)
    id = folio_mapping_id(folio)
    index = folio_index(folio)
    if anon:
        rmap_walk_anon(m, head, index, id, nr, unmap_run)
    else:
        try_to_unmap(m, head, True)
    folio_unqueue_deferred_split(m, head)
    pins = pins_per_page(folio)
    shatter(m, head, new_order, at, uniform)
    if pins:
        hand_out_pins(m, head, nr)
    if anon:
        rmap_walk_anon(m, head, index, id, nr, remap_run)
    else:
        drop_beyond_eof(m, <mapping_t *>m.mappings[id], head, nr)
    if not isolated:
        kept = head_of(m, keep)
        put_pieces(m, head, kept)
        put_pieces(m, kept + folio_nr_pages(page_of(m, kept)), head + nr)
    return 0


cdef int split_folio_to_order(machine_t *m, uint32_t head, int new_order, uint32_t keep,
                              int reason) noexcept nogil:
    return do_split(m, head, new_order, keep, keep, True, reason)


cdef int split_folio(machine_t *m, uint32_t pfn, int reason) noexcept nogil:
    cdef uint32_t head = head_of(m, pfn)
    cdef int result
    page_of(m, head).refcount += 1
    result = split_folio_held(m, head, pfn, reason)
    folio_put(m, head_of(m, pfn))
    return result


cdef int split_folio_held(machine_t *m, uint32_t head, uint32_t keep, int reason) noexcept nogil:
    cdef int order = folio_order(page_of(m, head)), answer = ask_split_target(m, order)
    if answer == SPLIT_NONUNIFORM:
        return do_split(m, head, 0, keep, keep, False, reason)
    if answer & 0xff == SPLIT_LOWER and 2 <= answer_number(answer) < order:
        return do_split(m, head, answer_number(answer), keep, keep, True, reason)
    return do_split(m, head, 0, keep, keep, True, reason)


cdef int folio_split(machine_t *m, uint32_t head, int new_order, uint32_t at, int reason) noexcept nogil:
    return do_split(m, head, new_order, at, at, False, reason)


cdef int try_folio_split(machine_t *m, uint32_t head, uint32_t at, int reason) noexcept nogil:
    return do_split(m, head, 0, at, head, False, reason)


cdef uint32_t folio_batch_or_split(machine_t *m, const uint64_t *pte, uint32_t max_nr, bint *whole) noexcept nogil:
    """Follows the part on large folios that madvise_free_pte_range and madvise_cold_or_pageout_pte_range share."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), nr = folio_pte_batch(m, pte, pfn, max_nr)
    cdef page_t *folio = folio_of(m, pfn)
    whole[0] = nr == folio_nr_pages(folio)
    if whole[0] or folio_maybe_mapped_shared(folio) or split_folio(m, pfn, SPLIT_MADVISE) < 0:
        return nr
    return 0
