# cython: language_level=3
"""The deferred-split shrinker: large folios that are partly unmapped, or hardly used, are split (mm/huge_memory.c)."""
from libc.stdint cimport int64_t
from foliosim._core.types cimport *

# Look at the nr_to_scan oldest folios of the deferred split queue; how many were split.
cdef int64_t deferred_split_scan(machine_t *m, int64_t nr_to_scan) noexcept nogil
# What reclaim of this priority does with the queue.
cdef void shrink_deferred(machine_t *m, int priority) noexcept nogil
