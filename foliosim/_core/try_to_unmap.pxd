# cython: language_level=3
"""Unmapping a folio wherever it is mapped (mm/rmap.c: try_to_unmap)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Unmap an anonymous folio that is in the swap cache or lazily freed, or one of the page cache; the caller holds a
# reference.  True: no mapping is left.
# ignore_mlock: in VM_LOCKED VMAs too.
cdef bint try_to_unmap(machine_t *m, uint32_t head, bint ignore_mlock) noexcept nogil
