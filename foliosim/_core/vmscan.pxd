# cython: language_level=3
"""Reclaim (mm/vmscan.c): of chosen folios, for MADV_PAGEOUT, and of the oldest ones under memory pressure."""
from libc.stdint cimport int64_t, uint32_t
from foliosim._core.types cimport *
from foliosim._core.memcontrol cimport mem_cgroup_margin

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
# Reclaim at least nr pages of the oldest folios, with the shrinkers; how many came free, perhaps more or none.
cdef int64_t try_to_free_mem_cgroup_pages(machine_t *m, int64_t nr) noexcept nogil
# Make room for nr pages; only where no page table's entry or folio is held on to: any of them may change.
# False: there is none; if it is not for a large folio, that is an out-of-memory.
cdef bint try_charge(machine_t *m, int64_t nr) noexcept nogil

cdef inline bint mem_cgroup_charge(machine_t *m, int64_t nr) noexcept nogil:
    """Is there room for nr pages, if need be by reclaim?  Without a limit or swap nobody asks."""
    if not m.pressure or mem_cgroup_margin(m) >= nr:
        return True
    return try_charge(m, nr)
