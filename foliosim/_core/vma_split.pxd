# cython: language_level=3
"""Large folios that an edge of a VMA comes to cut: what the policies P01 and P05 make of them."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# P01: the VMA is about to be cut at addr; above: the upper part is what is changed; going: it will be unmapped.
# 0, or an errno: the cut must not be made.
cdef int vma_split_policy(machine_t *m, vma_t *vma, uint64_t addr, bint above, bint going) noexcept nogil
# P01 defer_recheck, for the shrinker: was the folio queued by it, and is mapped whole, in one VMA of each process that
# maps it?  Then it may leave the queue as it is.
cdef bint vma_split_recheck(machine_t *m, uint32_t head) noexcept nogil
# P05: [start, end) of the VMA is about to get other protection bits.
cdef void fork_child_mprotect_policy(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
