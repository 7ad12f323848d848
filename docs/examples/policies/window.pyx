# cython: language_level=3
"""A policy in compiled code: a write fault copies as many pages as two to the power of half the folio's order."""
from libc.stdint cimport int64_t
from foliosim.policy cimport COW_FIXED, COW_ORDER0, alternative, with_number


cdef int half_the_order(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """cow_order is asked with: order, pmd."""
    return with_number(COW_FIXED, <int>arg[0] // 2) if arg[0] >= 4 else COW_ORDER0


cow_order = alternative(half_the_order)
