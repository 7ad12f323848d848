# cython: language_level=3
"""P10, P11: large folios of which pages are about to be referenced or pinned."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# Before references are taken on nr pages from addr on, all of them faulted in where they can be: do to their folios
# what the policy says.  0, or an errno: no reference may be taken.
cdef int pin_policy(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags) noexcept nogil
