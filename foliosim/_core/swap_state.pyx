# cython: language_level=3
"""The swap cache.  Follows mm/swap_state.c, and folio_free_swap in mm/swapfile.c.

While a page is in the swap cache it holds the data and its slot holds none: writing out and reading back are moves.
"""
from libc.stdint cimport int32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.content cimport content_save
from foliosim._core.folio cimport folio_materialize
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.swapfile cimport swap_alloc, swap_put, swap_slot_free, vm_swap_full


cdef void add_to_swap_cache(machine_t *m, uint32_t head, uint32_t slot) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t nr = folio_nr_pages(folio), i
    folio.refcount += nr
    folio.flags |= PG_swapcache
    for i in range(nr):
        m.swap.of_page[head + i] = slot + i
        m.swap.slots[slot + i].cache = head + i


cdef bint folio_alloc_swap(machine_t *m, uint32_t head) noexcept nogil:
    cdef uint32_t slot = swap_alloc(m, folio_order(page_of(m, head))) if m.swap.nr else 0
    if not slot:
        return False
    add_to_swap_cache(m, head, slot)
    page_of(m, head).flags |= PG_dirty
    return True


cdef void delete_from_swap_cache(machine_t *m, uint32_t head, bint save) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t nr = folio_nr_pages(folio), i, slot
    if save:
        folio_materialize(m, head)
    for i in range(nr):
        slot = m.swap.of_page[head + i]
        m.swap.of_page[head + i] = 0
        m.swap.slots[slot].cache = 0
        if m.swap.slots[slot].count == 0:
            swap_slot_free(m, slot)
        elif save:
            content_save(m, head + i, &m.swap.slots[slot].content)
            m.swap.slots[slot].shadow = m.memcg.nonresident_age + 1
    folio.flags &= ~PG_swapcache
    folio_put_refs(m, head, <int32_t>nr)


cdef bint folio_swapped(const machine_t *m, uint32_t head) noexcept nogil:
    cdef uint32_t nr = folio_nr_pages(page_of(<machine_t *>m, head)), i
    for i in range(nr):
        if m.swap.slots[m.swap.of_page[head + i]].count:
            return True
    return False


cdef bint folio_free_swap(machine_t *m, uint32_t head) noexcept nogil:
    if not folio_test_swapcache(page_of(m, head)) or folio_swapped(m, head):
        return False
    page_of(m, head).refcount += 1
    delete_from_swap_cache(m, head, False)
    page_of(m, head).flags |= PG_dirty
    folio_put(m, head)
    return True


cdef void free_swap_cache(machine_t *m, uint32_t head) noexcept nogil:
    if folio_test_swapcache(page_of(m, head)) and not folio_mapped(page_of(m, head)):
        folio_free_swap(m, head)


cdef void free_swap_and_cache(machine_t *m, uint32_t slot) noexcept nogil:
    """Follows free_swap_and_cache_nr and __try_to_reclaim_swap."""
    cdef uint32_t pfn = m.swap.slots[slot].cache, head
    swap_put(m, slot)
    if pfn and m.swap.slots[slot].count == 0:
        head = head_of(m, pfn)
        if not folio_mapped(page_of(m, head)) or vm_swap_full(m):
            folio_free_swap(m, head)
