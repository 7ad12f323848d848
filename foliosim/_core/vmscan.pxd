# cython: language_level=3
"""Reclaim of chosen folios (mm/vmscan.c), as far as MADV_PAGEOUT needs it.  There is no swap."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

cdef struct folio_list_t:    # isolated folios, linked by page.next; each holds the reference of its isolation
    uint32_t first, last

cdef void folio_list_init(folio_list_t *folios) noexcept nogil
cdef void folio_list_append(machine_t *m, folio_list_t *folios, uint32_t head) noexcept nogil
# Take a folio off its LRU list, with a reference.  False: it is on none.
cdef bint folio_isolate_lru(machine_t *m, uint32_t head) noexcept nogil
# Give an isolated folio back; it waits in the batch of additions.
cdef void folio_putback_lru(machine_t *m, uint32_t head) noexcept nogil
# Reclaim what can be, put the others back.  The list is used up.
cdef void reclaim_pages(machine_t *m, folio_list_t *folios) noexcept nogil
