# cython: language_level=3
"""References that callers hold, page by page.

The kernel counts pins in folios.  Policies that ask which page is pinned look through what the callers hold.
"""
from libc.stdint cimport int64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *


cdef void held_add(machine_t *m, held_t *held) noexcept nogil:
    held.prev = NULL
    held.next = m.held
    if m.held != NULL:
        m.held.prev = held
    m.held = held


cdef void held_del(machine_t *m, held_t *held) noexcept nogil:
    if held.prev != NULL:
        held.prev.next = held.next
    else:
        m.held = held.next
    if held.next != NULL:
        held.next.prev = held.prev


cdef bint page_pinned(machine_t *m, uint32_t pfn) noexcept nogil:
    cdef const held_t *held = m.held
    cdef int64_t i
    while held != NULL:
        if held.flags & FOLL_PIN:
            for i in range(held.nr):
                if held.pfns[i] == pfn:
                    return True
        held = held.next
    return False


cdef bint pins_per_page(page_t *folio) noexcept nogil:
    return folio_order(folio) >= 2 and folio_tail3(folio).marks & TAIL3_PIN_PER_PAGE


cdef bint page_maybe_dma_pinned(machine_t *m, page_t *folio, uint32_t pfn) noexcept nogil:
    return folio_maybe_dma_pinned(folio) and (not pins_per_page(folio) or page_pinned(m, pfn))
