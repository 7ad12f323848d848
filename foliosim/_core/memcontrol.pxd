# cython: language_level=3
"""The memory limit (mm/memcontrol.c): one cgroup that all processes are in.

Charged are folios and page tables, each page from its allocation until it is freed, so what is charged is what is not
free: nothing is counted twice and nothing on the way to a page gets slower.  Swap is not limited.
"""
from libc.stdint cimport int64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *

cdef enum:
    MEMCG_TABLES = 4         # tables that a fault may need, and one that is deposited

cdef inline int64_t mem_cgroup_usage(const machine_t *m) noexcept nogil:
    """Pages charged: memory.current.  Two blocks hold the zero pages."""
    return <int64_t>m.nr_pages - m.free_pages - 2 * FS_HPAGE_PMD_NR - m.table_frames + m.nr_tables

cdef inline int64_t mem_cgroup_margin(const machine_t *m) noexcept nogil:
    """Pages that can still be had: up to the limit, and of the machine's memory."""
    cdef int64_t margin
    if not m.memcg.limit:
        return m.free_pages
    margin = m.memcg.limit - mem_cgroup_usage(m)
    return margin if margin < m.free_pages else m.free_pages

cdef inline bint mem_cgroup_full(const machine_t *m, int64_t nr) noexcept nogil:
    """Would nr pages more exceed the limit?"""
    return m.memcg.limit and mem_cgroup_usage(m) + nr > m.memcg.limit

# What the limit stands against, pages by kind: the report of an out-of-memory.
cdef dict oom_report(machine_t *m)
