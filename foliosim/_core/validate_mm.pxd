# cython: language_level=3
"""Validation of one address space: its page tables, its VMAs, and their links to anon_vmas and files."""
from foliosim._core.types cimport *
from foliosim._core.tally cimport *

# Walk the tables of an mm: tally what they map, check every entry and the mm's counters.
cdef int validate_page_tables(tally_t *t, mm_t *mm, list out) except -1
