# cython: language_level=3
"""Mapcounts: what adding and removing mappings of a folio's pages changes (mm/rmap.c).

Callers hold the references that go with mappings: one per PTE, one per PMD mapping.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from foliosim._core.flags cimport FS_PAGE_SHIFT
from foliosim._core.types cimport *
from foliosim._core.page cimport folio_index, folio_mapping_id, folio_nr_pages

# Position of an address in the VMA's mapping, in pages.
cdef inline uint64_t linear_page_index(const vma_t *vma, uint64_t addr) noexcept nogil:
    return ((addr - vma.start) >> FS_PAGE_SHIFT) + vma.pgoff

cdef inline uint64_t vma_address(const vma_t *vma, uint64_t pgoff) noexcept nogil:
    """Where the VMA has a page of its mapping; the opposite of linear_page_index."""
    return vma.start + ((pgoff - vma.pgoff) << FS_PAGE_SHIFT)

cdef inline void vma_clip(const vma_t *vma, uint64_t index, uint32_t nr, uint64_t *first,
                          uint64_t *last) noexcept nogil:
    """The part [first, last) that the VMA has of nr pages from an index of its mapping on."""
    cdef uint64_t end = vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT)
    first[0] = index if index > vma.pgoff else vma.pgoff
    last[0] = index + nr if index + nr < end else end

cdef inline bint vma_reaches(const vma_t *vma, uint64_t index, uint32_t nr) noexcept nogil:
    """Does the VMA reach over some of nr pages from an index of its mapping on?"""
    return vma.pgoff < index + nr and vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT) > index

cdef inline avc_t *rmap_next(machine_t *m, const page_t *folio, const avc_t *last) noexcept nogil:
    """The next of an anonymous folio's VMAs, in the order of the kernel's interval tree: by page offset, older first.

    last: the one before, NULL at first.  NULL: that was all.
    """
    cdef uint64_t index = folio_index(folio)
    cdef avc_t *avc = (<anon_vma_t *>m.mappings[folio_mapping_id(folio)]).first
    cdef avc_t *best = NULL
    cdef bint newer = last != NULL
    while avc != NULL:
        if avc == last:
            newer = False
        elif vma_reaches(avc.vma, index, folio_nr_pages(folio)):
            if last == NULL or avc.vma.pgoff > last.vma.pgoff or (newer and avc.vma.pgoff == last.vma.pgoff):
                if best == NULL or avc.vma.pgoff <= best.vma.pgoff:
                    best = avc
        avc = avc.av_next
    return best

cdef void folio_set_anon(page_t *folio, const vma_t *vma, uint64_t addr) noexcept nogil
cdef void folio_move_anon_rmap(page_t *folio, const vma_t *vma) noexcept nogil
# First mapping of a new anonymous folio: by one PMD if it is huge, else by PTEs of all its pages.
cdef void folio_add_new_anon_rmap(machine_t *m, uint32_t head, const vma_t *vma, uint64_t addr) noexcept nogil
# First mapping of a folio that was read from swap: the same, but shared if it is not exclusive.
cdef void folio_add_swapin_rmap(machine_t *m, uint32_t head, const vma_t *vma, uint64_t addr,
                                bint exclusive) noexcept nogil
# n PTEs of pages pfn.. of one folio / one PMD of a huge folio.
cdef void folio_add_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil
cdef void folio_add_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil
cdef void folio_remove_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil
cdef void folio_remove_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil
# The PTEs that take a PMD's place: with the pages exclusive if the folio was.
cdef void folio_split_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil
# The same as n calls with a page each; in a locked VMA n must be 1.  For folios whose records are all written.
cdef void folio_add_rmap_each(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil
cdef void folio_remove_rmap_each(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil
# Operation counts of n such calls.
cdef void count_rmap_each(machine_t *m, const page_t *folio, int64_t n) noexcept nogil
# fork: 0, or -EBUSY if an exclusive page may be pinned and must be copied.
cdef int folio_try_dup_anon_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *dst,
                                      const vma_t *src) noexcept nogil
cdef int folio_try_dup_anon_rmap_pmd(machine_t *m, uint32_t head, const vma_t *dst, const vma_t *src) noexcept nogil
# The same for folios that n leaves in a row map, none of which may be pinned, and a reference on each.
cdef void folios_dup_anon_rmap_pmd(machine_t *m, const uint64_t *pmd, uint32_t n, const vma_t *dst) noexcept nogil
# AnonExclusive of n pages of one folio.
cdef void pages_set_exclusive(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil
cdef void pages_clear_exclusive(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil
# A PMD mapping is split: what its head said, which counted for all pages, each page says now.
cdef void pages_exclusive_as_head(machine_t *m, uint32_t head) noexcept nogil
