# cython: language_level=3
"""The swap device: its slots, and how many page-table entries hold each (mm/swapfile.c)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# A device with this many pages to swap to; 0: none.  0, or -FS_EHOSTMEM.
cdef int swap_init(machine_t *m, uint64_t nr_pages) noexcept nogil
cdef void swap_deinit(machine_t *m) noexcept nogil
# 2^order free slots in a row, aligned; 0: there are none.
cdef uint32_t swap_alloc(machine_t *m, int order) noexcept nogil
# One more entry holds this slot, which may be free.  False: the device has no such slot.
cdef bint swap_take(machine_t *m, uint32_t slot) noexcept nogil
# One more entry holds the slot.
cdef void swap_duplicate(machine_t *m, uint32_t slot) noexcept nogil
# One entry less: without any, and without a page in the swap cache, the slot is free.
cdef void swap_put(machine_t *m, uint32_t slot) noexcept nogil
# A slot whose last entry is gone and whose page has left the swap cache.
cdef void swap_slot_free(machine_t *m, uint32_t slot) noexcept nogil

cdef inline int64_t swap_free_slots(const machine_t *m) noexcept nogil:
    """get_nr_swap_pages."""
    return <int64_t>m.swap.nr - m.swap.used

cdef inline bint vm_swap_full(const machine_t *m) noexcept nogil:
    """More than half is used: slots of pages that are in memory are given back."""
    return swap_free_slots(m) * 2 < m.swap.nr
