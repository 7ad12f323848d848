# cython: language_level=3
"""LRU lists, per-CPU batches and the end of a folio.  Follows mm/swap.c with two-list LRU, one CPU, one node."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.content cimport content_drop
from foliosim._core.deferred_split cimport folio_unqueue_deferred_split
from foliosim._core.page_alloc cimport free_pages


# ---- lists (include/linux/mm_inline.h) ----

cdef int folio_lru_list(uint32_t flags) noexcept nogil:
    cdef int lru
    if flags & PG_unevictable:
        return LRU_UNEVICTABLE
    lru = LRU_INACTIVE_ANON if flags & PG_swapbacked else LRU_INACTIVE_FILE
    return lru + 1 if flags & PG_active else lru


cdef void list_link(machine_t *m, lru_list_t *at, uint32_t oldest, uint32_t newest) noexcept nogil:
    """Put a chain in front of a list; only the links at its two ends are missing."""
    page_of(m, newest).prev = FS_NO_PFN
    page_of(m, oldest).next = at.first
    if at.first != FS_NO_PFN:
        page_of(m, at.first).prev = oldest
    else:
        at.last = oldest
    at.first = newest


cdef void list_unlink(machine_t *m, lru_list_t *at, uint32_t older, uint32_t newer) noexcept nogil:
    """Take what is between two neighbours out of a list."""
    if newer != FS_NO_PFN:
        page_of(m, newer).next = older
    else:
        at.first = older
    if older != FS_NO_PFN:
        page_of(m, older).prev = newer
    else:
        at.last = newer


cdef void lruvec_add_folio(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Unevictable folios are counted but on no list; their prev word is the mlock count."""
    cdef int lru = folio_lru_list(folio.flags)
    m.lru[lru].nr_pages += folio_nr_pages(folio)
    if lru != LRU_UNEVICTABLE:
        list_link(m, m.lru + lru, head, head)


cdef void lruvec_del_folio(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    cdef int lru = folio_lru_list(folio.flags)
    m.lru[lru].nr_pages -= folio_nr_pages(folio)
    if lru != LRU_UNEVICTABLE:
        list_unlink(m, m.lru + lru, folio.next, folio.prev)


cdef void lru_add_chain(machine_t *m, uint32_t oldest, uint32_t newest, int64_t nr_pages) noexcept nogil:
    cdef lru_list_t *at = m.lru + folio_lru_list(page_of(m, oldest).flags)
    list_link(m, at, oldest, newest)
    at.nr_pages += nr_pages


cdef void lru_del_chain(machine_t *m, uint32_t flags, uint32_t older, uint32_t newer, int64_t nr_pages) noexcept nogil:
    cdef lru_list_t *at = m.lru + folio_lru_list(flags)
    list_unlink(m, at, older, newer)
    at.nr_pages -= nr_pages


# ---- batches ----

cdef void batch_move(machine_t *m, fbatch_t *batch, move_fn_t move_fn, bint adding) noexcept nogil:
    """Follows folio_batch_move_lru: a folio that left the LRU meanwhile is passed over."""
    cdef int i, nr = batch.nr
    cdef page_t *folio
    for i in range(nr):
        folio = page_of(m, batch.pfn[i])
        if adding or folio.flags & PG_lru:
            move_fn(m, batch.pfn[i], folio)
            folio.flags |= PG_lru
    batch.nr = 0
    for i in range(nr):
        folio_put(m, batch.pfn[i])


cdef void batch_add(machine_t *m, fbatch_t *batch, uint32_t head, move_fn_t move_fn, bint adding) noexcept nogil:
    """Follows __folio_batch_add_and_move: a full batch, or a large folio, empties it at once."""
    cdef page_t *folio = page_of(m, head)
    folio.refcount += 1
    batch.pfn[batch.nr] = head
    batch.nr += 1
    if batch.nr == FS_LRU_BATCH or folio_test_large(folio):
        batch_move(m, batch, move_fn, adding)


cdef void lru_add(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    cdef bint was_unevictable = (folio.flags & PG_unevictable) != 0
    folio.flags &= ~PG_unevictable
    if folio_evictable(folio):
        if was_unevictable:
            count_vm_events(m, UNEVICTABLE_PGS_RESCUED, folio_nr_pages(folio))
    else:
        folio.flags = (folio.flags & ~PG_active) | PG_unevictable
        folio.prev = 0
        if not was_unevictable:
            count_vm_events(m, UNEVICTABLE_PGS_CULLED, folio_nr_pages(folio))
    lruvec_add_folio(m, head, folio)


cdef void folio_add_lru(machine_t *m, uint32_t head) noexcept nogil:
    batch_add(m, &m.batch_lru_add, head, lru_add, True)


cdef void lru_activate(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    if folio.flags & (PG_active | PG_unevictable):
        return
    lruvec_del_folio(m, head, folio)
    folio.flags |= PG_active
    lruvec_add_folio(m, head, folio)
    count_vm_events(m, PGACTIVATE, folio_nr_pages(folio))


cdef void lru_deactivate(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    if folio.flags & PG_unevictable or not folio.flags & PG_active:
        return
    lruvec_del_folio(m, head, folio)
    folio.flags &= ~(PG_active | PG_referenced)
    lruvec_add_folio(m, head, folio)
    count_vm_events(m, PGDEACTIVATE, folio_nr_pages(folio))


cdef void lru_lazyfree(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    if not folio.flags & PG_anon or not folio.flags & PG_swapbacked or folio.flags & PG_unevictable:
        return
    lruvec_del_folio(m, head, folio)
    folio.flags &= ~(PG_active | PG_referenced | PG_swapbacked)
    lruvec_add_folio(m, head, folio)
    count_vm_events(m, PGLAZYFREE, folio_nr_pages(folio))


cdef void folio_activate(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    if not folio.flags & (PG_active | PG_unevictable):
        batch_add(m, &m.batch_activate, head, lru_activate, False)


cdef void activate_in_batch(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __lru_cache_activate_folio: a folio still waiting to be added is marked active there."""
    cdef int i = m.batch_lru_add.nr - 1
    while i >= 0:
        if m.batch_lru_add.pfn[i] == head:
            folio.flags |= PG_active
            return
        i -= 1


cdef void folio_mark_accessed(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_referenced:
        folio.flags |= PG_referenced
    elif folio.flags & PG_unevictable:
        pass
    elif not folio.flags & PG_active:
        if folio.flags & PG_lru:
            folio_activate(m, head, folio)
        else:
            activate_in_batch(m, head, folio)
        folio.flags &= ~PG_referenced


cdef void folio_deactivate(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_unevictable and folio.flags & PG_active:
        batch_add(m, &m.batch_deactivate, head, lru_deactivate, False)


cdef void folio_mark_lazyfree(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t need = PG_anon | PG_swapbacked | PG_lru
    if (folio.flags & need) == need and not folio.flags & PG_unevictable:
        batch_add(m, &m.batch_lazyfree, head, lru_lazyfree, False)


cdef void lru_add_drain_cpu(machine_t *m) noexcept nogil:
    batch_move(m, &m.batch_lru_add, lru_add, True)
    batch_move(m, &m.batch_deactivate, lru_deactivate, False)
    batch_move(m, &m.batch_lazyfree, lru_lazyfree, False)
    batch_move(m, &m.batch_activate, lru_activate, False)


# ---- the end of a folio ----

cdef void drop_contents(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    cdef uint32_t i
    if folio.flags & PG_bytes:
        content_drop(m, head)
    if not folio_test_large(folio) or folio.flags & PG_tails_implicit or m.content == NULL:
        return
    for i in range(1, folio_nr_pages(folio)):
        if page_of(m, head + i).flags & PG_bytes:
            content_drop(m, head + i)


cdef void folio_free(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __folio_put and free_pages_prepare."""
    cdef int order = folio_order(folio)
    if folio.flags & PG_lru:
        lruvec_del_folio(m, head, folio)
    if order > 1:
        folio_unqueue_deferred_split(m, head)
    if folio.flags & PG_mlocked:
        count_vm_events(m, UNEVICTABLE_PGS_CLEARED, folio_nr_pages(folio))
    if folio.flags & PG_anon:
        mod_mthp_stat(m, order, MTHP_NR_ANON, -1)
    drop_contents(m, head, folio)
    free_pages(m, head, order)
