# cython: language_level=3
"""New folios, and the tail records of large ones (prep_compound_page in mm/page_alloc.c)."""
from libc.stdint cimport int32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.memcontrol cimport mem_cgroup_full
from foliosim._core.page_alloc cimport alloc_pages


cdef void init_tails(machine_t *m, uint32_t head, uint32_t first, uint32_t end, uint32_t flags,
                     int32_t mapcount) noexcept nogil:
    """Records of pages first..end-1 of a folio."""
    cdef uint32_t i = first, k, j
    cdef page_t *page
    while i < end:
        page = page_of(m, head + i)
        k = page_contiguous(head + i, end - i)
        for j in range(k):
            page[j].flags = flags
            page[j].mapcount = mapcount
        i += k


cdef void folio_init(machine_t *m, uint32_t head, int order, uint32_t flags) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t tails = 1U << order
    folio.flags = PG_KIND_HEAD | <uint32_t>order | flags
    folio.mapcount = 0
    folio.refcount = 1
    folio.next = folio.prev = FS_NO_PFN
    folio.mapping = folio.index = 0
    if order == 0:
        return
    if order >= 2:
        folio.flags |= PG_tails_implicit
    if order >= FS_HPAGE_PMD_ORDER:
        tails = 4
    init_tails(m, head, 1, tails, PG_KIND_TAIL | <uint32_t>order, 0)
    init_overlays(folio, order)


cdef uint32_t folio_alloc(machine_t *m, int order) noexcept nogil:
    cdef uint32_t head
    if mem_cgroup_full(m, 1LL << order):
        m.memcg.oom = m.memcg.oom or order == 0
        return FS_NO_PFN
    head = alloc_pages(m, order)
    if head != FS_NO_PFN:
        folio_init(m, head, order, PG_uptodate)
    return head


cdef void folio_materialize(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_tails_implicit:
        return
    folio.flags &= ~PG_tails_implicit
    init_tails(m, head, 1, folio_nr_pages(folio),
               PG_KIND_TAIL | folio.flags & PG_PER_PAGE | <uint32_t>folio_order(folio), folio.mapcount)
