# cython: language_level=3
"""The deferred-split shrinker.  Follows deferred_split_scan in mm/huge_memory.c and do_shrink_slab in mm/shrinker.c."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.content cimport content_is_zero
from foliosim._core.deferred_split cimport deferred_split_requeue, folio_unqueue_deferred_split
from foliosim._core.folio_referenced cimport accessed_half, folio_referenced, referenced_t
from foliosim._core.policy cimport *
from foliosim._core.split_folio cimport split_folio
from foliosim._core.vma_split cimport vma_split_recheck

cdef enum:
    SHRINK_BATCH = 128
    DEFAULT_SEEKS = 2


cdef int64_t zero_filled_pages(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows thp_underused, which stops counting where the answer is known."""
    cdef int64_t nr = folio_nr_pages(folio), zero = 0
    cdef uint32_t i
    if folio.flags & PG_tails_implicit and not folio.flags & PG_bytes:
        return nr if content_is_zero(m, head) else 0
    for i in range(<uint32_t>nr):
        zero += content_is_zero(m, head + i)
    return zero


cdef int underused(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """P23, with what it wants to know."""
    cdef referenced_t found
    cdef int64_t zero
    cdef bint half = False
    if policy_is_linux(m, POINT_UNDERUSED) and m.khugepaged.max_ptes_none == FS_HPAGE_PMD_NR - 1:
        return UNDERUSED_NO
    zero = zero_filled_pages(m, head, folio)
    found.young = found.mapped = 0
    if not policy_is_linux(m, POINT_UNDERUSED):
        half = accessed_half(m, head, &found)
    return ask_underused(m, zero, m.khugepaged.max_ptes_none, found.young, half)


cdef bint scan_folio(machine_t *m, uint32_t head, bint *requeue) noexcept nogil:
    """A folio that was taken off the queue, with a reference.  True: it was split."""
    cdef page_t *folio = page_of(m, head)
    cdef bint partially = requeue[0], unused = False
    cdef int answer
    if vma_split_recheck(m, head):
        requeue[0] = False
        return False
    if not partially:
        answer = UNDERUSED_NO if folio.flags & PG_mlocked else underused(m, head, folio)
        requeue[0] = answer == UNDERUSED_KEEP
        if answer != UNDERUSED_SPLIT:
            return False
        unused = True
    if split_folio(m, head, SPLIT_UNDERUSED if unused else SPLIT_RECLAIM) < 0:
        return False
    if unused:
        count_vm_events(m, THP_UNDERUSED_SPLIT_PAGE, 1)
    return True


cdef int64_t deferred_split_scan(machine_t *m, int64_t nr_to_scan) noexcept nogil:
    """One look at each folio: those that could not be split and are partly mapped go back to the queue's end."""
    cdef uint32_t head = m.deferred_first
    cdef int64_t left = m.deferred_len if m.deferred_len < nr_to_scan else nr_to_scan, split = 0
    cdef uint32_t next
    cdef bint requeue
    while left > 0 and head != FS_NO_PFN:
        next = folio_tail2(page_of(m, head)).deferred_next
        requeue = (page_of(m, head).flags & PG_partially_mapped) != 0
        if scan_folio(m, head, &requeue):
            split += 1
        elif requeue:
            deferred_split_requeue(m, head)
        else:
            folio_unqueue_deferred_split(m, head)
        head = next
        left -= 1
    return split


cdef void shrink_deferred(machine_t *m, int priority) noexcept nogil:
    """The part that a priority asks for; what is too little to start with is kept for the next time."""
    cdef int64_t freeable = m.deferred_len, total, batch
    cdef int64_t delta = (freeable >> priority) * 4 / DEFAULT_SEEKS
    if freeable == 0:
        return
    total = m.memcg.deferred_scan + delta
    if total > 2 * freeable:
        total = 2 * freeable
    while total >= SHRINK_BATCH or total >= freeable:
        batch = SHRINK_BATCH if total > SHRINK_BATCH else total
        deferred_split_scan(m, batch)
        total -= batch
        if m.deferred_len == 0:
            break
    m.memcg.deferred_scan = total
