# cython: language_level=3
"""Validation that trusts no count: page tables and VMAs are the truth, everything else is compared with them.

The cost is that of the mapped pages and of the records in use, not of the whole memory.
"""
from foliosim._core.tally cimport *
from foliosim._core.validate_mm cimport validate_page_tables
from foliosim._core.validate_vma cimport validate_vmas, validate_mappings, validate_mm_ids
from foliosim._core.validate_frames cimport tally_references, validate_lists, validate_frames
from foliosim._core.validate_swap cimport validate_swap


cdef list validate_machine(machine_t *m, dict gets, dict pins):
    cdef tally_t t
    cdef mm_t *mm = m.mm_first
    cdef list out = []
    if tally_init(&t, m):
        raise MemoryError(f"validate: the host has no memory to count {m.fresh_pfn} frames")
    try:
        validate_mm_ids(m, out)
        while mm != NULL:
            validate_vmas(m, mm, out)
            validate_page_tables(&t, mm, out)
            mm = mm.next
        validate_mappings(&t, out)
        tally_references(&t, gets, pins)
        validate_lists(&t, out)
        validate_frames(&t, out)
        validate_swap(&t, out)
    finally:
        tally_deinit(&t)
    return out
