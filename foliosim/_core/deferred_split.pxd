# cython: language_level=3
"""The deferred split queue (mm/huge_memory.c)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Queue a large folio; partially: some page of it was just found unmapped.
cdef void deferred_split_folio(machine_t *m, uint32_t head, bint partially) noexcept nogil
# P22: the folio may become a member of the queue (deferred_event_e).
cdef void deferred_split_offer(machine_t *m, uint32_t head, int event) noexcept nogil
# Take a folio off the queue and forget that it was partially mapped.
cdef void folio_unqueue_deferred_split(machine_t *m, uint32_t head) noexcept nogil
# The same for n folios that follow each other on the queue, are not partially mapped and will be free.
cdef void deferred_split_del_chain(machine_t *m, uint32_t first, uint32_t last, uint32_t n) noexcept nogil
# Put a queued folio at the queue's end.
cdef void deferred_split_requeue(machine_t *m, uint32_t head) noexcept nogil
