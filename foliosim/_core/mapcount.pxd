# cython: language_level=3
"""P08: which mapcounts there are, what it costs to keep them, and what /proc can say of a page's mappings by them."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from foliosim._core.page cimport *
from foliosim._core.policy cimport *
from foliosim._core.types cimport *


cdef inline bint mapcount_is_exact(machine_t *m, const page_t *folio) noexcept nogil:
    """Is there a mapcount of each page?"""
    if policy_is_linux(m, POINT_MAPCOUNT_MODEL) or not folio_test_large(folio):
        return True
    return ask_mapcount_model(m, folio_order(folio)) == MAPCOUNT_PER_PAGE


cdef inline int64_t mapcount_updates(machine_t *m, const page_t *folio, int64_t n, int64_t calls) noexcept nogil:
    """How many mapcounts change when some calls map or unmap n pages of a large folio, in one table, by PTEs."""
    if mapcount_is_exact(m, folio):
        return n + calls
    return calls if ask_mapcount_model(m, folio_order(folio)) == MAPCOUNT_LARGE_ONLY else 1


cdef inline int64_t mapcount_updates_pmd(machine_t *m) noexcept nogil:
    """The same for one folio that a PMD maps."""
    return 1 if ask_mapcount_model(m, FS_HPAGE_PMD_ORDER) == MAPCOUNT_PER_VMA_TABLE else 2


cdef inline int32_t folio_average_page_mapcount(page_t *folio) noexcept nogil:
    """Follows folio_average_page_mapcount (fs/proc/internal.h)."""
    cdef int32_t entire = folio_entire_mapcount(folio), ptes = folio_mapcount(folio) - entire
    cdef int32_t average = entire
    if ptes > 0:
        average += (ptes + <int32_t>(folio_nr_pages(folio) >> 1)) >> folio_order(folio)
    return max(average, 1) if folio_mapped(folio) else 0


cdef inline int32_t shown_mapcount(machine_t *m, page_t *folio, int32_t exact) noexcept nogil:
    """How many mappings a page of the folio is said to have; exact: how many it has."""
    if mapcount_is_exact(m, folio):
        return exact
    if ask_mapcount_model(m, folio_order(folio)) == MAPCOUNT_LARGE_ONLY:
        return folio_average_page_mapcount(folio)
    return 0 if not folio_mapped(folio) else 2 if folio_maybe_mapped_shared(folio) else 1


cdef inline bint shown_private(machine_t *m, page_t *folio, int32_t exact) noexcept nogil:
    """Is a page of the folio said to be mapped once?"""
    return exact < 2 if mapcount_is_exact(m, folio) else not folio_maybe_mapped_shared(folio)
