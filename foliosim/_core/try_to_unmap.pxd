# cython: language_level=3
"""Unmapping a folio wherever it is mapped (mm/rmap.c: try_to_unmap)."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Unmap a lazily freed anonymous folio or a cached one; the caller holds one reference.  True: no mapping is left.
# ignore_mlock: in VM_LOCKED VMAs too.
cdef bint try_to_unmap(machine_t *m, uint32_t head, bint ignore_mlock) noexcept nogil
