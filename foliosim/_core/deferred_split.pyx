# cython: language_level=3
"""The deferred split queue: large folios that may be split under memory pressure.  Follows mm/huge_memory.c."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.policy cimport DEFERRED_NEW, ask_deferred_members
from foliosim._core.stat cimport *


cdef void queue_add_tail(machine_t *m, uint32_t head, tail2_t *tail) noexcept nogil:
    tail.deferred_next = FS_NO_PFN
    tail.deferred_prev = m.deferred_last
    if m.deferred_last != FS_NO_PFN:
        folio_tail2(page_of(m, m.deferred_last)).deferred_next = head
    else:
        m.deferred_first = head
    m.deferred_last = head
    m.deferred_len += 1


cdef void deferred_split_folio(machine_t *m, uint32_t head, bint partially) noexcept nogil:
    """Follows deferred_split_folio.  The flag partially mapped is set, and counted, once in a folio's life."""
    cdef page_t *folio = page_of(m, head)
    cdef int order = folio_order(folio)
    if order <= 1 or folio_test_swapcache(folio):
        return
    if partially and not folio.flags & PG_partially_mapped:
        folio.flags |= PG_partially_mapped
        if order == FS_HPAGE_PMD_ORDER:
            count_vm_events(m, THP_DEFERRED_SPLIT_PAGE, 1)
        mod_mthp_stat(m, order, MTHP_SPLIT_DEFERRED, 1)
        mod_mthp_stat(m, order, MTHP_NR_ANON_PARTIALLY_MAPPED, 1)
    if not folio.flags & PG_deferred:
        folio.flags |= PG_deferred
        queue_add_tail(m, head, folio_tail2(folio))
        m.ledger.deferred_added += 1


cdef void deferred_split_offer(machine_t *m, uint32_t head, int event) noexcept nogil:
    cdef int order = folio_order(page_of(m, head))
    if order > 1 and ask_deferred_members(m, event, order):
        deferred_split_folio(m, head, event != DEFERRED_NEW)


cdef void queue_del(machine_t *m, const tail2_t *first, const tail2_t *last, int64_t n) noexcept nogil:
    """Take n neighbours out."""
    if first.deferred_prev != FS_NO_PFN:
        folio_tail2(page_of(m, first.deferred_prev)).deferred_next = last.deferred_next
    else:
        m.deferred_first = last.deferred_next
    if last.deferred_next != FS_NO_PFN:
        folio_tail2(page_of(m, last.deferred_next)).deferred_prev = first.deferred_prev
    else:
        m.deferred_last = first.deferred_prev
    m.deferred_len -= n


cdef void deferred_split_del_chain(machine_t *m, uint32_t first, uint32_t last, uint32_t n) noexcept nogil:
    queue_del(m, folio_tail2(page_of(m, first)), folio_tail2(page_of(m, last)), n)
    m.ledger.deferred_removed += n


cdef void folio_unqueue_deferred_split(machine_t *m, uint32_t head) noexcept nogil:
    """Follows __folio_unqueue_deferred_split."""
    cdef page_t *folio = page_of(m, head)
    cdef tail2_t *tail
    if not folio.flags & PG_deferred:
        return
    tail = folio_tail2(folio)
    if folio.flags & PG_partially_mapped:
        mod_mthp_stat(m, folio_order(folio), MTHP_NR_ANON_PARTIALLY_MAPPED, -1)
    queue_del(m, tail, tail, 1)
    folio.flags &= ~(PG_deferred | PG_partially_mapped)
    m.ledger.deferred_removed += 1


cdef void deferred_split_requeue(machine_t *m, uint32_t head) noexcept nogil:
    cdef tail2_t *tail = folio_tail2(page_of(m, head))
    queue_del(m, tail, tail, 1)
    queue_add_tail(m, head, tail)
