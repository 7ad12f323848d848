# cython: language_level=3
"""The state machine of mlocked folios.  Follows mm/mlock.c."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.swap cimport *

cdef enum:
    MUNLOCK, MLOCK_LRU, MLOCK_NEW


cdef void rescue(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    lruvec_del_folio(m, head, folio)
    folio.flags &= ~PG_unevictable
    lruvec_add_folio(m, head, folio)
    count_vm_events(m, UNEVICTABLE_PGS_RESCUED, folio_nr_pages(folio))


cdef void cull(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    folio.flags = (folio.flags & ~PG_active) | PG_unevictable
    folio.prev = 1
    lruvec_add_folio(m, head, folio)
    count_vm_events(m, UNEVICTABLE_PGS_CULLED, folio_nr_pages(folio))


cdef void do_mlock(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __mlock_folio: nothing to do while the folio is off the LRU."""
    if not folio.flags & PG_lru:
        return
    if folio_evictable(folio):
        if folio.flags & PG_unevictable:
            rescue(m, head, folio)
    elif folio.flags & PG_unevictable:
        folio.prev += 1
    else:
        lruvec_del_folio(m, head, folio)
        cull(m, head, folio)


cdef void do_mlock_new(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __mlock_new_folio."""
    if folio.flags & PG_lru:
        return
    if folio_evictable(folio):
        lruvec_add_folio(m, head, folio)
    else:
        folio.flags |= PG_unevictable
        folio.prev = 1
        lruvec_add_folio(m, head, folio)
        count_vm_events(m, UNEVICTABLE_PGS_CULLED, folio_nr_pages(folio))
    folio.flags |= PG_lru


cdef void do_munlock(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __munlock_folio: a folio that is off the LRU but unevictable is stranded."""
    cdef bint isolated = (folio.flags & PG_lru) != 0
    cdef int64_t nr_pages = folio_nr_pages(folio)
    if isolated and folio.flags & PG_unevictable:
        if folio.prev:
            folio.prev -= 1
        if folio.prev:
            return
    if folio.flags & PG_mlocked:
        folio.flags &= ~PG_mlocked
        if isolated or not folio.flags & PG_unevictable:
            count_vm_events(m, UNEVICTABLE_PGS_MUNLOCKED, nr_pages)
        else:
            count_vm_events(m, UNEVICTABLE_PGS_STRANDED, nr_pages)
    if isolated and folio.flags & PG_unevictable and folio_evictable(folio):
        rescue(m, head, folio)


cdef void mlock_folio_batch(machine_t *m) noexcept nogil:
    cdef fbatch_t *batch = &m.batch_mlock
    cdef int i, nr = batch.nr
    cdef page_t *folio
    for i in range(nr):
        folio = page_of(m, batch.pfn[i])
        if batch.tag[i] == MLOCK_LRU:
            do_mlock(m, batch.pfn[i], folio)
        elif batch.tag[i] == MLOCK_NEW:
            do_mlock_new(m, batch.pfn[i], folio)
        else:
            do_munlock(m, batch.pfn[i], folio)
    batch.nr = 0
    for i in range(nr):
        folio_put(m, batch.pfn[i])


cdef void batch_add(machine_t *m, uint32_t head, page_t *folio, uint8_t tag) noexcept nogil:
    cdef fbatch_t *batch = &m.batch_mlock
    folio.refcount += 1
    count_op(m, OP_MLOCK, 1)
    batch.pfn[batch.nr] = head
    batch.tag[batch.nr] = tag
    batch.nr += 1
    if batch.nr == FS_LRU_BATCH or folio_test_large(folio):
        mlock_folio_batch(m)


cdef void mlock_folio(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_mlocked:
        folio.flags |= PG_mlocked
        count_vm_events(m, UNEVICTABLE_PGS_MLOCKED, folio_nr_pages(folio))
    batch_add(m, head, folio, MLOCK_LRU)


cdef void mlock_chain_end(machine_t *m, mlock_chain_t chain) noexcept nogil:
    cdef int64_t pages = chain.nr << (chain.flags & PG_ORDER_MASK)
    if chain.nr == 0:
        return
    count_op(m, OP_MLOCK, chain.nr)
    if chain.lock:
        lru_del_chain(m, chain.flags, chain.older, chain.newer, pages)
        m.lru[<int>LRU_UNEVICTABLE].nr_pages += pages
        count_vm_events(m, UNEVICTABLE_PGS_MLOCKED, pages)
        count_vm_events(m, UNEVICTABLE_PGS_CULLED, pages)
    else:
        m.lru[<int>LRU_UNEVICTABLE].nr_pages -= pages
        lru_add_chain(m, chain.oldest, chain.newest, pages)
        count_vm_events(m, UNEVICTABLE_PGS_MUNLOCKED, pages)
        count_vm_events(m, UNEVICTABLE_PGS_RESCUED, pages)


cdef void mlock_new_folio(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    folio.flags |= PG_mlocked
    count_vm_events(m, UNEVICTABLE_PGS_MLOCKED, folio_nr_pages(folio))
    batch_add(m, head, folio, MLOCK_NEW)


cdef void munlock_folio(machine_t *m, uint32_t head) noexcept nogil:
    batch_add(m, head, page_of(m, head), MUNLOCK)


cdef void mlock_drain_local(machine_t *m) noexcept nogil:
    mlock_folio_batch(m)


cdef void lru_add_drain(machine_t *m) noexcept nogil:
    lru_add_drain_cpu(m)
    mlock_folio_batch(m)


cdef void folio_add_lru_vma(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil:
    if (vma.flags & (VM_LOCKED | VM_SPECIAL)) == VM_LOCKED:
        mlock_new_folio(m, head)
    else:
        folio_add_lru(m, head)
