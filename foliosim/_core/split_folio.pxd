# cython: language_level=3
"""Splitting a folio into smaller ones (mm/huge_memory.c: __folio_split and what it calls)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# Split into folios of new_order; the caller holds one reference on the folio and afterwards on the piece that
# holds page `keep`, or, if it has isolated the folio, one reference on each piece.
# reason: split_e.  0, -EINVAL, -EBUSY (not mapped anonymous folio, or locked), -EAGAIN (other references),
# -ENOMEM (page cache).
cdef int split_folio_to_order(machine_t *m, uint32_t head, int new_order, uint32_t keep,
                              int reason) noexcept nogil
# Split the folio that holds a page, into single pages unless P24 says otherwise; for callers without a reference.
# Errors as above.
cdef int split_folio(machine_t *m, uint32_t pfn, int reason) noexcept nogil
# The same for callers with a reference, as split_folio_to_order has it.
cdef int split_folio_held(machine_t *m, uint32_t head, uint32_t keep, int reason) noexcept nogil
# Halve again and again, down to new_order, only the half that holds page `at`.  Errors as above.
cdef int folio_split(machine_t *m, uint32_t head, int new_order, uint32_t at, int reason) noexcept nogil
# The same down to single pages; the caller's reference stays on the piece with the first page.
cdef int try_folio_split(machine_t *m, uint32_t head, uint32_t at, int reason) noexcept nogil
# References that a folio has from mappings and the page cache.
cdef int32_t folio_expected_ref_count(page_t *folio) noexcept nogil
# madvise works on whole folios.  The folio mapped by pte: how many entries from there on map it (at most max_nr), and
# `*whole`: that is all of it.  Else it is split, unless others may map it or somebody holds it; 0: it was, look again.
cdef uint32_t folio_batch_or_split(machine_t *m, const uint64_t *pte, uint32_t max_nr, bint *whole) noexcept nogil
