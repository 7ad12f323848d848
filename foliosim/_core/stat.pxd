# cython: language_level=3
"""Event counters (/proc/vmstat, hugepages-*/stats) and the high-water marks of an address space."""
from libc.stdint cimport int64_t
from foliosim._core.flags cimport PG_anon, PG_swapbacked
from foliosim._core.types cimport *

cdef inline void count_vm_events(machine_t *m, int item, int64_t n) noexcept nogil:
    m.vmstat[item] += n

cdef inline void mod_mthp_stat(machine_t *m, int order, int item, int64_t n) noexcept nogil:
    """Order 0 has no statistics."""
    if order > 0:
        m.mthp[order][item] += n

cdef inline void count_op(machine_t *m, int item, int64_t n) noexcept nogil:
    m.ledger.ops[item] += n

cdef inline void count_fault(machine_t *m, int kind) noexcept nogil:
    m.ledger.faults[kind] += 1

cdef inline void add_mm_counter(mm_t *mm, const page_t *folio, int64_t n) noexcept nogil:
    """RSS: n more pages of the folio are mapped (mm_counter)."""
    if folio.flags & PG_anon:
        mm.rss_anon += n
    elif folio.flags & PG_swapbacked:
        mm.rss_shmem += n
    else:
        mm.rss_file += n

cdef inline int64_t get_mm_rss(const mm_t *mm) noexcept nogil:
    return mm.rss_anon + mm.rss_file + mm.rss_shmem

cdef inline void update_hiwater_rss(mm_t *mm) noexcept nogil:
    """Before pages are taken away."""
    if mm.hiwater_rss < get_mm_rss(mm):
        mm.hiwater_rss = get_mm_rss(mm)

cdef inline void update_hiwater_vm(mm_t *mm) noexcept nogil:
    """Before the address space shrinks."""
    if mm.hiwater_vm < mm.total_vm:
        mm.hiwater_vm = mm.total_vm
