# cython: language_level=3
"""Changes of event counters under the names of /proc/vmstat and hugepages-*/stats: those that recordings keep."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from foliosim._core.flags cimport *

VMSTAT_RECORDED = (
    (PGDEACTIVATE, "pgdeactivate"), (PGLAZYFREE, "pglazyfree"), (PGLAZYFREED, "pglazyfreed"),
    (UNEVICTABLE_PGS_CULLED, "unevictable_pgs_culled"), (UNEVICTABLE_PGS_RESCUED, "unevictable_pgs_rescued"),
    (UNEVICTABLE_PGS_MLOCKED, "unevictable_pgs_mlocked"), (UNEVICTABLE_PGS_MUNLOCKED, "unevictable_pgs_munlocked"),
    (UNEVICTABLE_PGS_CLEARED, "unevictable_pgs_cleared"), (UNEVICTABLE_PGS_STRANDED, "unevictable_pgs_stranded"),
    (THP_FAULT_ALLOC, "thp_fault_alloc"), (THP_FAULT_FALLBACK, "thp_fault_fallback"),
    (THP_COLLAPSE_ALLOC, "thp_collapse_alloc"), (THP_COLLAPSE_ALLOC_FAILED, "thp_collapse_alloc_failed"),
    (THP_FILE_ALLOC, "thp_file_alloc"), (THP_FILE_FALLBACK, "thp_file_fallback"),
    (THP_FILE_MAPPED, "thp_file_mapped"), (THP_SPLIT_PAGE, "thp_split_page"),
    (THP_SPLIT_PAGE_FAILED, "thp_split_page_failed"), (THP_DEFERRED_SPLIT_PAGE, "thp_deferred_split_page"),
    (THP_SPLIT_PMD, "thp_split_pmd"), (THP_SPLIT_PUD, "thp_split_pud"),
)
MTHP_RECORDED = (
    (ANON_FAULT_ALLOC, "anon_fault_alloc"), (ANON_FAULT_FALLBACK, "anon_fault_fallback"), (MTHP_SPLIT, "split"),
    (MTHP_SPLIT_FAILED, "split_failed"), (MTHP_SPLIT_DEFERRED, "split_deferred"), (MTHP_NR_ANON, "nr_anon"),
    (MTHP_NR_ANON_PARTIALLY_MAPPED, "nr_anon_partially_mapped"), (SHMEM_ALLOC, "shmem_alloc"),
    (SHMEM_FALLBACK, "shmem_fallback"),
)


cdef bytes counters_snapshot(const machine_t *m):
    return (PyBytes_FromStringAndSize(<const char *>m.vmstat, sizeof(m.vmstat))
            + PyBytes_FromStringAndSize(<const char *>m.mthp, sizeof(m.mthp)))


cdef dict counters_delta(const machine_t *m, bytes before):
    cdef const int64_t *vmstat = <const int64_t *>PyBytes_AS_STRING(before)
    cdef const int64_t *mthp = vmstat + sizeof(m.vmstat) // sizeof(int64_t)
    cdef int item, order
    cdef int64_t change
    cdef dict events = {}, sizes = {}
    for item, name in VMSTAT_RECORDED:
        change = m.vmstat[item] - vmstat[item]
        if change:
            events[name] = change
    for order in range(1, FS_HPAGE_PMD_ORDER + 1):
        for item, name in MTHP_RECORDED:
            change = m.mthp[order][item] - mthp[order * NR_MTHP + item]
            if change:
                sizes.setdefault(f"{(FS_PAGE_SIZE >> 10) << order}kB", {})[name] = change
    return {"vmstat": events, "mthp_stats": sizes}
