# cython: language_level=3
"""Validation of frames: folios' counts, the lists they are on, and the free memory."""
from foliosim._core.types cimport *
from foliosim._core.tally cimport *

# Count the references of batches and of the caller (pfn -> references), then what is on which list.
cdef int tally_references(tally_t *t, dict gets, dict pins) except -1
cdef int validate_lists(tally_t *t, list out) except -1
# Every frame that was ever used: is it in exactly one place, and are its counts those that were tallied?
cdef int validate_frames(tally_t *t, list out) except -1
