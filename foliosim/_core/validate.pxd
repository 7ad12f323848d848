# cython: language_level=3
"""Recompute every count of a machine from page tables, VMAs and lists."""
from foliosim._core.types cimport *

# Differences as (object, field, counted, recomputed); empty if all is well.  gets, pins: pfn -> references that the
# caller holds (FOLL_GET, FOLL_PIN), in pages.  Raises MemoryError.
cdef list validate_machine(machine_t *m, dict gets, dict pins)
