# cython: language_level=3
"""P13 dontfork: ranges that are pinned for long are not for children."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# A reference on pages from addr on was taken: mark them if it is a long-term pin and the policy says so.  0, or an
# errno.
cdef int pin_dontfork(machine_t *m, mm_t *mm, uint64_t addr, held_t *held) noexcept nogil
# A reference is no longer among the machine's: take the mark off what no other pin of the process wants marked.
cdef void unpin_dofork(machine_t *m, held_t *held) noexcept nogil
