# cython: language_level=3
"""Which folios are mlocked, and how they become unevictable (mm/mlock.c, the rules of a folio)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *
from foliosim._core.page cimport *

cdef void mlock_folio(machine_t *m, uint32_t head) noexcept nogil
cdef void mlock_new_folio(machine_t *m, uint32_t head) noexcept nogil
cdef void munlock_folio(machine_t *m, uint32_t head) noexcept nogil
# The same for n order-0 folios in consecutive frames, linked in a row on one list (lru_link_run), and
# for unevictable ones that are locked once; drained batches before and after are part of it.
cdef void mlock_run(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil
cdef void munlock_run(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil
# The same for n folios of one order anywhere.
cdef void mlock_heads(machine_t *m, const uint32_t *heads, uint32_t n) noexcept nogil
cdef void munlock_heads(machine_t *m, const uint32_t *heads, uint32_t n) noexcept nogil
# Drain every batch of this CPU, mlock's too.
cdef void lru_add_drain(machine_t *m) noexcept nogil
# A new anonymous folio is mapped in the VMA: to the LRU, or mlocked (mm/swap.c folio_add_lru_vma).
cdef void folio_add_lru_vma(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil
cdef void mlock_drain_local(machine_t *m) noexcept nogil
