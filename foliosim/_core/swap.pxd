# cython: language_level=3
"""LRU lists, the per-CPU batches in front of them, and the end of a folio (mm/swap.c)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *
from foliosim._core.debug cimport BUG_ON
from foliosim._core.page cimport *

ctypedef void (*move_fn_t)(machine_t *m, uint32_t head, page_t *folio) noexcept nogil

cdef void lruvec_add_folio(machine_t *m, uint32_t head, page_t *folio) noexcept nogil
cdef void lruvec_del_folio(machine_t *m, uint32_t head, page_t *folio) noexcept nogil
cdef void folio_add_lru(machine_t *m, uint32_t head) noexcept nogil
# Folios in a row of like flags (PG_lru set), linked with each other already: put them on their list, nr_pages in all.
cdef void lru_add_chain(machine_t *m, uint32_t oldest, uint32_t newest, int64_t nr_pages) noexcept nogil
# Take folios in a row with such flags from their list; older and newer are the neighbours that stay.
cdef void lru_del_chain(machine_t *m, uint32_t flags, uint32_t older, uint32_t newer, int64_t nr_pages) noexcept nogil
cdef void folio_mark_accessed(machine_t *m, uint32_t head) noexcept nogil
cdef void folio_deactivate(machine_t *m, uint32_t head) noexcept nogil
cdef void folio_mark_lazyfree(machine_t *m, uint32_t head) noexcept nogil
# lru_add_drain_cpu: every batch of mm/swap.c; lru_add_drain in mlock.pxd drains the mlock batch too.
cdef void lru_add_drain_cpu(machine_t *m) noexcept nogil
# Last reference gone: off the lists, records and frames freed.
cdef void folio_free(machine_t *m, uint32_t head, page_t *folio) noexcept nogil

cdef inline bint folio_evictable(const page_t *folio) noexcept nogil:
    return not folio.flags & PG_mlocked

cdef inline void folio_get(page_t *folio, int32_t n) noexcept nogil:
    folio.refcount += n

cdef inline void folio_put_refs(machine_t *m, uint32_t head, int32_t n) noexcept nogil:
    """Drop n references of a folio; frees it with the last one."""
    cdef page_t *folio = page_of(m, head)
    BUG_ON(folio.refcount < n)
    folio.refcount -= n
    if folio.refcount == 0:
        folio_free(m, head, folio)

cdef inline void folio_put(machine_t *m, uint32_t head) noexcept nogil:
    folio_put_refs(m, head, 1)
