# cython: language_level=3
"""Validation of VMAs and of the objects they share: anon_vmas and page caches."""
from foliosim._core.types cimport *
from foliosim._core.tally cimport *

# The VMAs of an mm: order, tree, counters, chains.
cdef int validate_vmas(machine_t *m, mm_t *mm, list out) except -1
# anon_vmas and files of all mms' VMAs: their counts and lists.
cdef int validate_mappings(tally_t *t, list out) except -1
# Ids of live mms: no two alike, none of them free.
cdef int validate_mm_ids(machine_t *m, list out) except -1
