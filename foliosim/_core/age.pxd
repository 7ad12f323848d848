# cython: language_level=3
"""When pages were truly used last, kept where there may be reclaim: with a limit, or swap."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# From now on accesses are noted; nothing if they are.  0, or -FS_EHOSTMEM.
cdef int age_start(machine_t *m) noexcept nogil
cdef void age_deinit(machine_t *m) noexcept nogil
# A program accessed start, start + stride, ... below end.
cdef void age_accessed(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, uint64_t stride) noexcept nogil
# Reclaim begins.
cdef void age_reclaim(machine_t *m) noexcept nogil
# Reclaim took a folio.
cdef void age_reclaimed(machine_t *m, uint32_t head, const page_t *folio) noexcept nogil

cdef inline bint age_hot(const machine_t *m, uint32_t pfn) noexcept nogil:
    """Was the page used since the pass before last began?"""
    return m.age.stamp[pfn] + 1 >= m.age.clock
