# cython: language_level=3
"""New folios, and the tail records of large ones."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport FS_NO_PFN
from foliosim._core.page cimport folio_tail1, folio_tail2, folio_tail3
from foliosim._core.types cimport *

# Allocate a folio of zeros: refcount 1, not mapped, uptodate.  FS_NO_PFN if the emulated memory is full.
cdef uint32_t folio_alloc(machine_t *m, int order) noexcept nogil
# Write the records of a folio of 2^order free frames.
cdef void folio_init(machine_t *m, uint32_t head, int order, uint32_t flags) noexcept nogil
# Write the implicit tail records of a folio: each says what the head says.
cdef void folio_materialize(machine_t *m, uint32_t head) noexcept nogil

cdef inline void init_overlays(page_t *folio, int order) noexcept nogil:
    """A large folio's own words, as at allocation: not mapped, not pinned, both mm slots free."""
    cdef tail1_t *one = folio_tail1(folio)
    cdef tail2_t *two = folio_tail2(folio)
    if order == 0:
        return
    one.large_mapcount = 0
    one.mm_mapcount[0] = one.mm_mapcount[1] = 0
    one.mm_id[0] = one.mm_id[1] = 0
    if order < 2:
        return
    two.nr_pages_mapped = 0
    two.pincount = 0
    two.entire_mapcount = 0
    two.deferred_next = two.deferred_prev = FS_NO_PFN
    folio_tail3(folio).marks = 0
