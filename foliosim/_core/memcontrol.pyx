# cython: language_level=3
"""What an out-of-memory reports.  Follows dump_header in mm/oom_kill.c, which shows the counts of the cgroup."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.page cimport *


cdef dict oom_report(machine_t *m):
    """Folios are looked at one by one: a report is rare."""
    cdef int64_t anon = 0, shmem = 0, cached = 0, mlocked = 0, unevictable = 0, pinned = 0, swapcached = 0, nr
    cdef uint64_t pfn = 0
    cdef page_t *folio
    while pfn < m.fresh_pfn:
        folio = page_of(m, <uint32_t>pfn)
        nr = 1LL << page_order(folio) if page_kind(folio) in (PG_KIND_HEAD, PG_KIND_BUDDY) else 1
        pfn += <uint64_t>nr
        if page_kind(folio) != PG_KIND_HEAD or folio.refcount <= 0:
            continue
        if folio.flags & PG_anon:
            anon += nr
        elif folio.flags & PG_swapbacked:
            shmem += nr
        else:
            cached += nr
        mlocked += nr if folio.flags & PG_mlocked else 0
        unevictable += nr if folio.flags & PG_unevictable else 0
        pinned += nr if folio_maybe_dma_pinned(folio) else 0
        swapcached += nr if folio_test_swapcache(folio) else 0
    return {
        "limit": m.memcg.limit or None, "usage": mem_cgroup_usage(m), "free": m.free_pages, "anon": anon,
        "shmem": shmem, "file": cached, "page_tables": m.nr_tables, "mlocked": mlocked, "unevictable": unevictable,
        "pinned": pinned, "swapcached": swapcached, "swap_total": m.swap.nr - 1 if m.swap.nr else 0,
        "swap_free": m.swap.nr - m.swap.used if m.swap.nr else 0}
