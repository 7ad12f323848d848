# cython: language_level=3
"""P21: folios that an operation left partly mapped and that are not to wait for memory pressure."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.split_folio cimport split_folio, split_folio_to_order
from foliosim._core.swap cimport folio_put


cdef bint partly_mapped(page_t *folio, int order) noexcept nogil:
    """Is this (still) a folio of this order of which some pages are mapped, and some not?"""
    if page_kind(folio) != PG_KIND_HEAD or folio_order(folio) != order or not folio.flags & PG_anon or order < 2:
        return False
    return 0 < folio_tail2(folio).nr_pages_mapped < <int32_t>folio_nr_pages(folio)


cdef void free_unmapped(machine_t *m, uint32_t head) noexcept nogil:
    """Halve the folio, and again what is mapped in part; halves that nothing maps are freed on the way."""
    cdef page_t *folio = page_of(m, head)
    cdef int order = folio_order(folio) - 1
    cdef uint32_t half = head + (1U << order)
    folio.refcount += 1
    if split_folio_to_order(m, head, order if order != 1 else 0, head, SPLIT_UNMAP) < 0:
        folio_put(m, head)
        return
    folio_put(m, head)
    if partly_mapped(folio, order):
        free_unmapped(m, head)
    if partly_mapped(page_of(m, half), order):
        free_unmapped(m, half)


cdef void split_marked(machine_t *m) noexcept nogil:
    cdef uint32_t head
    cdef page_t *folio
    cdef int64_t i = 0
    cdef uint32_t marks
    lru_add_drain(m)
    while i < m.nr_split_now:
        head = m.split_now[i]
        i += 1
        folio = page_of(m, head)
        if not partly_mapped(folio, folio_order(folio)):
            continue
        marks = folio_tail3(folio).marks
        folio_tail3(folio).marks = marks & ~<uint32_t>(TAIL3_SPLIT_NOW | TAIL3_FREE_PART)
        if marks & TAIL3_FREE_PART:
            free_unmapped(m, head)
        elif marks & TAIL3_SPLIT_NOW:
            split_folio(m, head, SPLIT_UNMAP)
    m.nr_split_now = 0
