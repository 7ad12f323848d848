# cython: language_level=3
"""Event counters (/proc/vmstat, hugepages-*/stats)."""
from libc.stdint cimport int64_t
from foliosim._core.types cimport *

cdef inline void count_vm_events(machine_t *m, int item, int64_t n) noexcept nogil:
    m.vmstat[item] += n

cdef inline void mod_mthp_stat(machine_t *m, int order, int item, int64_t n) noexcept nogil:
    """Order 0 has no statistics."""
    if order > 0:
        m.mthp[order][item] += n
