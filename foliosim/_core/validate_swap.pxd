# cython: language_level=3
"""The audit of the swap device (mm/swapfile.c)."""
from foliosim._core.tally cimport *

# The slots, once all page tables and folios were looked at.
cdef int validate_swap(tally_t *t, list out) except -1
