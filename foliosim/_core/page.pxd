# cython: language_level=3
"""Frame records and folio heads: where a pfn's record is, and what kind of page it is."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *

cdef inline page_t *page_of(machine_t *m, uint32_t pfn) noexcept nogil:
    """Record of a frame.  Consecutive frames have consecutive records within page_contiguous()."""
    if pfn & (FS_HPAGE_PMD_NR - 1) < 4:
        return m.heads + ((pfn >> FS_HPAGE_PMD_ORDER) << 2) + (pfn & 3)
    return m.pages + pfn

cdef inline uint32_t page_contiguous(uint32_t pfn, uint32_t n) noexcept nogil:
    """How many of the n frames from pfn have consecutive records."""
    cdef uint32_t at = pfn & (FS_HPAGE_PMD_NR - 1)
    cdef uint32_t k = 4 - at if at < 4 else FS_HPAGE_PMD_NR - at
    return k if k < n else n

cdef inline void pages_change_flags(machine_t *m, uint32_t pfn, uint32_t n, uint32_t clear,
                                    uint32_t set) noexcept nogil:
    """In the records of n frames in a row: clear bits of flags, then set others."""
    cdef uint32_t i = 0, k, j
    cdef page_t *page
    while i < n:
        page = page_of(m, pfn + i)
        k = page_contiguous(pfn + i, n - i)
        for j in range(k):
            page[j].flags = (page[j].flags & ~clear) | set
        i += k

cdef inline uint32_t page_kind(const page_t *page) noexcept nogil:
    return page.flags & PG_KIND_MASK

cdef inline int page_order(const page_t *page) noexcept nogil:
    return <int>(page.flags & PG_ORDER_MASK)

cdef inline const page_t *block_of(machine_t *m, uint32_t pfn) noexcept nogil:
    """Record of the first frame of the block of FS_HPAGE_PMD_NR frames."""
    return m.heads + ((pfn >> FS_HPAGE_PMD_ORDER) << 2)

cdef inline bint in_huge_folio(machine_t *m, uint32_t pfn) noexcept nogil:
    """Does a huge folio (or the huge zero page) hold the frame?  Then its own record may not be written."""
    cdef const page_t *block = block_of(m, pfn)
    return page_order(block) >= FS_HPAGE_PMD_ORDER and page_kind(block) >= PG_KIND_HEAD

cdef inline bint is_small(const page_t *page) noexcept nogil:
    """Is it the head of an order-0 folio?"""
    return page.flags & (PG_KIND_MASK | PG_ORDER_MASK) == PG_KIND_HEAD

cdef inline uint32_t head_of(machine_t *m, uint32_t pfn) noexcept nogil:
    """compound_head: pfn of the first page of the folio (or huge zero page) that holds the frame."""
    cdef const page_t *page
    if in_huge_folio(m, pfn):
        return pfn & ~((1U << page_order(block_of(m, pfn))) - 1)
    page = page_of(m, pfn)
    if page_kind(page) == PG_KIND_TAIL:
        return pfn & ~((1U << page_order(page)) - 1)
    return pfn

cdef inline page_t *folio_of(machine_t *m, uint32_t pfn) noexcept nogil:
    """page_folio: record of the head of the folio that holds the frame."""
    return page_of(m, head_of(m, pfn))

cdef inline page_t *page_record(machine_t *m, page_t *folio, uint32_t pfn) noexcept nogil:
    """The record that tells a page's mapcount, contents, and whose it is: the head's while the tails are implicit."""
    return folio if folio.flags & PG_tails_implicit else page_of(m, pfn)

cdef inline bint page_anon_exclusive(machine_t *m, uint32_t pfn) noexcept nogil:
    return (page_record(m, folio_of(m, pfn), pfn).flags & PG_anon_exclusive) != 0

cdef inline bint is_zero_pfn(machine_t *m, uint32_t pfn) noexcept nogil:
    return pfn == m.zero_pfn

cdef inline bint is_huge_zero_pfn(machine_t *m, uint32_t pfn) noexcept nogil:
    return (pfn & ~<uint32_t>(FS_HPAGE_PMD_NR - 1)) == m.huge_zero_pfn

cdef inline int folio_order(const page_t *folio) noexcept nogil:
    return <int>(folio.flags & PG_ORDER_MASK)

cdef inline uint32_t folio_nr_pages(const page_t *folio) noexcept nogil:
    return 1U << (folio.flags & PG_ORDER_MASK)

cdef inline bint folio_test_large(const page_t *folio) noexcept nogil:
    return (folio.flags & PG_ORDER_MASK) != 0

cdef inline bint folio_test_anon(const page_t *folio) noexcept nogil:
    return (folio.flags & PG_anon) != 0

cdef inline bint folio_test_swapcache(const page_t *folio) noexcept nogil:
    return (folio.flags & (PG_swapbacked | PG_swapcache)) == (PG_swapbacked | PG_swapcache)

cdef inline tail1_t *folio_tail1(page_t *folio) noexcept nogil:
    """The words of page 1 of a large folio.  Heads are aligned, so pages 1..3 follow the head's record."""
    return <tail1_t *>(folio + 1)

cdef inline tail2_t *folio_tail2(page_t *folio) noexcept nogil:
    return <tail2_t *>(folio + 2)

cdef inline tail3_t *folio_tail3(page_t *folio) noexcept nogil:
    return <tail3_t *>(folio + 3)

cdef inline uint64_t folio_index(const page_t *folio) noexcept nogil:
    """Page offset of the head in its mapping (linear_page_index of its first page)."""
    return <uint64_t>folio.index | (<uint64_t>(folio.mapping >> 24) << 32)

cdef inline uint32_t folio_mapping_id(const page_t *folio) noexcept nogil:
    return folio.mapping & 0xffffffU

cdef inline void folio_set_mapping(page_t *folio, uint32_t id, uint64_t index) noexcept nogil:
    folio.mapping = id | (<uint32_t>(index >> 32) << 24)
    folio.index = <uint32_t>index

cdef inline uint32_t folio_at(machine_t *m, uint64_t pfn) noexcept nogil:
    """Head of the folio that holds a frame, whichever that is; FS_NO_PFN: none.  Free frames may still say tail."""
    cdef uint32_t head
    if pfn >= m.fresh_pfn:
        return FS_NO_PFN
    head = head_of(m, <uint32_t>pfn)
    if page_kind(page_of(m, head)) != PG_KIND_HEAD or pfn - head >= folio_nr_pages(page_of(m, head)):
        return FS_NO_PFN
    return head

cdef inline int32_t folio_large_mapcount(page_t *folio) noexcept nogil:
    return folio_tail1(folio).large_mapcount

cdef inline int32_t folio_entire_mapcount(page_t *folio) noexcept nogil:
    return folio_tail2(folio).entire_mapcount if folio_order(folio) >= 2 else 0

cdef inline int32_t folio_mapcount(page_t *folio) noexcept nogil:
    return folio_large_mapcount(folio) if folio_test_large(folio) else folio.mapcount

cdef inline bint folio_mapped(page_t *folio) noexcept nogil:
    return folio_mapcount(folio) > 0

cdef inline bint folio_maybe_mapped_shared(page_t *folio) noexcept nogil:
    """Follows folio_maybe_mapped_shared (include/linux/mm.h)."""
    if not folio_test_large(folio):
        return folio.mapcount > 1
    if folio_large_mapcount(folio) <= 1:
        return False
    return (folio_tail1(folio).mm_id[1] & 0x80000000U) != 0

cdef inline bint folio_maybe_dma_pinned(page_t *folio) noexcept nogil:
    """Follows folio_maybe_dma_pinned (include/linux/mm.h); order-1 folios count pins as small ones do."""
    if folio_order(folio) >= 2:
        return folio_tail2(folio).pincount > 0
    return folio.refcount >= FS_GUP_PIN_COUNTING_BIAS

cdef inline int32_t page_precise_mapcount(machine_t *m, uint32_t pfn) noexcept nogil:
    """folio_precise_page_mapcount: mappings of this page by PTEs, and of its folio by PMDs."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef int32_t n = 0
    if page_kind(folio) != PG_KIND_HEAD:
        return 0
    if folio_test_large(folio):
        n = folio_entire_mapcount(folio)
    return n + page_record(m, folio, pfn).mapcount
