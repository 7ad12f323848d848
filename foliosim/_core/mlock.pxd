# cython: language_level=3
"""Which folios are mlocked, and how they become unevictable (mm/mlock.c, the rules of a folio)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *
from foliosim._core.flags cimport *
from foliosim._core.page cimport *

cdef void mlock_folio(machine_t *m, uint32_t head) noexcept nogil
cdef void mlock_new_folio(machine_t *m, uint32_t head) noexcept nogil
cdef void munlock_folio(machine_t *m, uint32_t head) noexcept nogil
# Drain every batch of this CPU, mlock's too.
cdef void lru_add_drain(machine_t *m) noexcept nogil
# A new anonymous folio is mapped in the VMA: to the LRU, or mlocked (mm/swap.c folio_add_lru_vma).
cdef void folio_add_lru_vma(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil
cdef void mlock_drain_local(machine_t *m) noexcept nogil

# ---- many at once ----

cdef struct mlock_chain_t:   # anonymous folios that all change in the same way; batches drained before and after
    bint lock
    uint32_t flags           # what theirs have in common
    int64_t nr
    uint32_t oldest, newest
    uint32_t older, newer    # to lock: they are in a row on one list, between these
    page_t *last             # record of the newest
    page_t none

cdef inline uint32_t mlock_chain_flags(const page_t *folio) noexcept nogil:
    return folio.flags & (PG_KIND_MASK | PG_ORDER_MASK | PG_anon | PG_lru | PG_active | PG_swapbacked | PG_unevictable
                          | PG_mlocked)

cdef inline bint mlock_chain_begin(mlock_chain_t *chain, uint32_t head, page_t *folio, bint lock) noexcept nogil:
    """May a chain begin with this folio?  One to be locked is evictable, one to be unlocked is locked once."""
    cdef uint32_t state = folio.flags & (PG_KIND_MASK | PG_anon | PG_lru | PG_unevictable | PG_mlocked)
    chain.lock = lock
    chain.flags = mlock_chain_flags(folio)
    chain.nr = 0
    chain.oldest = head
    chain.older = chain.newest = folio.next
    chain.newer = FS_NO_PFN
    chain.last = &chain.none
    return state == PG_KIND_HEAD | PG_anon | PG_lru | (0 if lock else PG_unevictable | PG_mlocked)

cdef inline bint chain_lock(mlock_chain_t *chain, uint32_t head, page_t *folio) noexcept nogil:
    """Lock the folio; False: it does not go on with the chain."""
    if mlock_chain_flags(folio) != chain.flags or folio.next != chain.newest:
        return False
    chain.newer = folio.prev
    folio.flags = (folio.flags & ~PG_active) | PG_unevictable | PG_mlocked
    folio.prev = 1
    chain.newest = head
    chain.nr += 1
    return True

cdef inline bint chain_unlock(mlock_chain_t *chain, uint32_t head, page_t *folio) noexcept nogil:
    if mlock_chain_flags(folio) != chain.flags or folio.prev != 1:
        return False
    folio.flags &= ~(PG_unevictable | PG_mlocked)
    folio.next = chain.newest
    chain.last.prev = head
    chain.last = folio
    chain.newest = head
    chain.nr += 1
    return True

cdef void mlock_chain_end(machine_t *m, mlock_chain_t chain) noexcept nogil
