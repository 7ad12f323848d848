# cython: language_level=3
"""References that callers hold (get_user_pages, pin_user_pages), page by page: what folio-wide counts do not tell."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

cdef void held_add(machine_t *m, held_t *held) noexcept nogil
cdef void held_del(machine_t *m, held_t *held) noexcept nogil
# Is this page itself pinned?  Looks at all references: for policies only.
cdef bint page_pinned(machine_t *m, uint32_t pfn) noexcept nogil
# folio_maybe_dma_pinned, but of the page if the folio's pins are counted by page (P10 per_page_count).
cdef bint page_maybe_dma_pinned(machine_t *m, page_t *folio, uint32_t pfn) noexcept nogil
# The pins of a folio are counted by page?
cdef bint pins_per_page(page_t *folio) noexcept nogil
