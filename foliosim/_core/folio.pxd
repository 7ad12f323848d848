# cython: language_level=3
"""New folios, and the tail records of huge ones."""
from libc.stdint cimport uint32_t
from foliosim._core.types cimport *

# Allocate a folio of zeros: refcount 1, not mapped, uptodate.  FS_NO_PFN if the emulated memory is full.
cdef uint32_t folio_alloc(machine_t *m, int order) noexcept nogil
# Write the records of a folio of 2^order free frames.
cdef void folio_init(machine_t *m, uint32_t head, int order, uint32_t flags) noexcept nogil
# The words that a large folio keeps in its tail pages: not mapped, not pinned, not queued.
cdef void init_overlays(page_t *folio, int order) noexcept nogil
# Write the implicit tail records of a huge folio; nothing to do for others.
cdef void folio_materialize(machine_t *m, uint32_t head) noexcept nogil
