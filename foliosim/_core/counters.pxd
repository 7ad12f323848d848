# cython: language_level=3
"""Event counters of a step, by name."""
from foliosim._core.types cimport *

# The event counters now, and {"vmstat": {...}, "mthp_stats": {size: {...}}} of what changed since.
cdef bytes counters_snapshot(const machine_t *m)
cdef dict counters_delta(const machine_t *m, bytes before)
