# cython: language_level=3
"""The swap cache: folios that have slots on the swap device (mm/swap_state.c)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Page of the swap cache that belongs to a slot; 0: it is not in memory.
cdef inline uint32_t swap_cache_get(const machine_t *m, uint32_t slot) noexcept nogil:
    return m.swap.slots[slot].cache

# Put a folio in, with the slots from `slot` on: one reference for each page.
cdef void add_to_swap_cache(machine_t *m, uint32_t head, uint32_t slot) noexcept nogil
# Slots for a folio, which goes into the swap cache and is dirty.  False: there are none.
cdef bint folio_alloc_swap(machine_t *m, uint32_t head) noexcept nogil
# Take a folio out: its slots go on without it, free if nothing holds them.  save: what the pages hold goes to the
# device, where it is needed.
cdef void delete_from_swap_cache(machine_t *m, uint32_t head, bint save) noexcept nogil
# Take a folio out whose slots no entry holds; it is dirty from then on.  False: it cannot be.
cdef bint folio_free_swap(machine_t *m, uint32_t head) noexcept nogil
# The same for a folio that has lost its last mapping; nothing if it is still mapped.
cdef void free_swap_cache(machine_t *m, uint32_t head) noexcept nogil
# Let go of a slot that an entry held; a page in the swap cache that nobody else needs goes with it.
cdef void free_swap_and_cache(machine_t *m, uint32_t slot) noexcept nogil
# Some page-table entry holds a slot of the folio (folio_swapped).
cdef bint folio_swapped(const machine_t *m, uint32_t head) noexcept nogil
