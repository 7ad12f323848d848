# cython: language_level=3
"""Copies that take the place of mapped anonymous pages, for policies that copy more than the page that is written."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# A new folio of 2^order (at most FS_HPAGE_PMD_ORDER - 1) pages takes the place of the anonymous pages that as many
# entries from pte on map, which say of the copies what they said of the pages.  flags: FAULT_FLAG_*, or 0 for a system
# call.  False: no memory, nothing is changed.
cdef bint copy_window(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order,
                      uint32_t flags) noexcept nogil
# Is this an entry of a page that may be copied: anonymous, and not the process's own while it may be pinned?
cdef bint may_copy(machine_t *m, uint64_t entry) noexcept nogil
# The pages of one folio that the VMA maps in [start, end), in the span of the PMD entry of start, get copies in folios
# as large as they can be.  A leaf is split first.  False: some could not be copied.
cdef bint copy_out(machine_t *m, vma_t *vma, uint32_t head, uint64_t start, uint64_t end) noexcept nogil
