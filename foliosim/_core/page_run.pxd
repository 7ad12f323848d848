# cython: language_level=3
"""Order-0 folios behind entries in a row: what operations on ranges do per page is done run by run."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.types cimport *

cdef inline page_t *small_run(machine_t *m, const uint64_t *pte, uint32_t max_nr, uint32_t *n) noexcept nogil:
    """Records of the frames that entries from the first on map: n frames in a row, by entries that are equal otherwise.

    The first is an order-0 folio; whether the others are (is_small) is seen from the records.  NULL: the first entry
    maps nothing, or something else.
    """
    cdef uint64_t entry = pte[0]
    cdef uint32_t pfn
    n[0] = 0
    if not entry or not pte_present(m, entry) or pte_special(m, entry):
        return NULL
    pfn = pte_pfn(m, entry)
    if in_huge_folio(m, pfn) or not is_small(page_of(m, pfn)):
        return NULL
    n[0] = pte_run(m, pte, page_contiguous(pfn, max_nr), PTES_EQUAL)
    return page_of(m, pfn)
