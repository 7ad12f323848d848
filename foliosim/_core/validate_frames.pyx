# cython: language_level=3
"""Frames and folios, once page tables were walked: each count against what was tallied.

Follows the invariants of include/linux/rmap.h (mapcounts, owner slots), mm/internal.h and mm/page_alloc.c.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.page_alloc cimport NR_PCP_LISTS
from foliosim._core.pgtable cimport table_of
from foliosim._core.anon_vma cimport mapping_id_used
from foliosim._core.memcontrol cimport mem_cgroup_usage

cdef enum:
    NR_FREE_LISTS = FS_MAX_PAGE_ORDER + 1
    NR_ORDERS = FS_HPAGE_PMD_ORDER + 1
    ON_PCP = -1                         # tally_t: in a free block of a per-CPU list

cdef struct sums_t:                     # over all folios
    int64_t nr_anon[NR_ORDERS]
    int64_t partially_mapped[NR_ORDERS]
    int64_t unevictable
    int64_t pages                       # all of them: what is charged


# ---- references and lists ----

cdef int tally_batch(tally_t *t, const fbatch_t *batch) except -1:
    cdef int i
    for i in range(batch.nr):
        t.folios[head_of(t.m, batch.pfn[i])].refs += 1
    return 0


cdef int tally_references(tally_t *t, dict gets, dict pins) except -1:
    """References that nobody's page table explains."""
    cdef uint32_t pfn
    cdef int32_t n
    tally_batch(t, &t.m.batch_lru_add)
    tally_batch(t, &t.m.batch_activate)
    tally_batch(t, &t.m.batch_deactivate)
    tally_batch(t, &t.m.batch_deactivate_file)
    tally_batch(t, &t.m.batch_lazyfree)
    tally_batch(t, &t.m.batch_mlock)
    for key, value in gets.items():
        pfn = key
        n = value
        t.folios[head_of(t.m, pfn)].refs += n
    for key, value in pins.items():
        pfn = key
        n = value
        t.folios[head_of(t.m, pfn)].pins += n
    return 0


cdef int folio_lru(const page_t *folio) noexcept nogil:
    """The list that a folio's flags name."""
    if folio.flags & PG_unevictable:
        return LRU_UNEVICTABLE
    return (LRU_INACTIVE_ANON if folio.flags & PG_swapbacked else LRU_INACTIVE_FILE) + ((folio.flags & PG_active) != 0)


cdef int walk_lru(tally_t *t, int lru, list out) except -1:
    cdef const lru_list_t *at = t.m.lru + lru
    cdef uint32_t pfn = at.first, prev = FS_NO_PFN
    cdef int64_t nr_pages = 0
    cdef const page_t *folio
    while pfn != FS_NO_PFN:
        if pfn >= t.nr or page_of(t.m, pfn).prev != prev or t.folios[pfn].listed:
            return compare(out, "lru", lru, "links", pfn, prev)
        looked_at(t, 1)
        folio = page_of(t.m, pfn)
        if page_kind(folio) != PG_KIND_HEAD:
            return compare(out, "lru", lru, "links", pfn, prev)
        if folio_lru(folio) != lru:
            compare(out, "folio", pfn, "lru list", lru, folio_lru(folio))
        t.folios[pfn].listed = 1
        nr_pages += folio_nr_pages(folio)
        prev = pfn
        pfn = folio.next
    if at.last != prev:
        compare(out, "lru", lru, "last", at.last, prev)
    return compare(out, "lru", lru, "nr_pages", at.nr_pages, nr_pages)


cdef int walk_deferred(tally_t *t, list out) except -1:
    cdef uint32_t pfn = t.m.deferred_first, prev = FS_NO_PFN
    cdef int64_t n = 0
    cdef page_t *folio
    while pfn != FS_NO_PFN:
        folio = page_of(t.m, pfn)
        if pfn >= t.nr or page_kind(folio) != PG_KIND_HEAD or folio_order(folio) < 2:
            return compare(out, "machine", 0, "deferred links", pfn, prev)
        if t.folios[pfn].queued or folio_tail2(folio).deferred_prev != prev:
            return compare(out, "machine", 0, "deferred links", pfn, prev)
        t.folios[pfn].queued = 1
        n += 1
        prev = pfn
        pfn = folio_tail2(folio).deferred_next
    if t.m.deferred_last != prev:
        compare(out, "machine", 0, "deferred_last", t.m.deferred_last, prev)
    return compare(out, "machine", 0, "deferred_len", t.m.deferred_len, n)


cdef int64_t walk_free_list(tally_t *t, int order, list out) except -1:
    """Frames on it."""
    cdef uint32_t pfn = t.m.free_list[order], prev = FS_NO_PFN
    cdef int64_t n = 0
    cdef const page_t *page
    while pfn != FS_NO_PFN:
        if pfn >= t.nr or pfn & ((1U << order) - 1) or t.folios[pfn].listed or page_of(t.m, pfn).prev != prev:
            compare(out, "buddy", order, "links", pfn, prev)
            break
        page = page_of(t.m, pfn)
        if page_kind(page) != PG_KIND_BUDDY or page_order(page) != order:
            compare(out, "block", pfn, "order", page_order(page), order)
            break
        t.folios[pfn].listed = 1
        n += 1
        prev = pfn
        pfn = page.next
    compare(out, "buddy", order, "nr_free", t.m.nr_free[order], n)
    return n << order


cdef int64_t walk_pcp(tally_t *t, int order, list out) except -1:
    """Frames on a per-CPU list."""
    cdef const pcp_list_t *pcp = t.m.pcp + order
    cdef const pcp_run_t *run
    cdef int64_t n = 0
    cdef uint32_t i, j
    for i in range(pcp.nr):
        run = pcp.runs + ((pcp.bottom + i) & (pcp.cap - 1))
        for j in range(run.n << order):
            if run.pfn + j >= t.nr or t.folios[run.pfn + j].listed:
                return compare(out, "pcp", order, "run", run.pfn, run.pfn + j)
            if page_kind(page_of(t.m, run.pfn)) != PG_KIND_NONE:
                return compare(out, "block", run.pfn, "kind", page_kind(page_of(t.m, run.pfn)), PG_KIND_NONE)
            t.folios[run.pfn + j].listed = ON_PCP
        n += run.n
    compare(out, "pcp", order, "count", pcp.count, n)
    return n << order


cdef int walk_free_tables(tally_t *t, list out) except -1:
    """Freed page tables wait with all their entries zero."""
    cdef uint32_t pfn = t.m.table_free
    cdef const uint64_t *entries
    cdef uint64_t any
    cdef int i
    while pfn != FS_NO_PFN:
        if pfn >= t.nr or page_kind(page_of(t.m, pfn)) != PG_KIND_TABLE or t.folios[pfn].listed:
            return compare(out, "machine", 0, "table_free links", pfn, FS_NO_PFN)
        t.folios[pfn].listed = 1
        compare(out, "table", pfn, "refcount", page_of(t.m, pfn).refcount, 0)
        entries = table_of(t.m, pfn)
        any = 0
        for i in range(FS_PTRS_PER_PTE):
            any |= entries[i]
        if any:
            compare(out, "table", pfn, "entries", 1, 0)
        t.folios[pfn].refs = 1
        pfn = page_of(t.m, pfn).next
    return 0


cdef int validate_lists(tally_t *t, list out) except -1:
    cdef int64_t free_pages = t.m.nr_pages - t.m.fresh_pfn
    cdef int i
    for i in range(LRU_UNEVICTABLE):
        walk_lru(t, i, out)
    walk_deferred(t, out)
    for i in range(NR_FREE_LISTS):
        free_pages += walk_free_list(t, i, out)
    for i in range(NR_PCP_LISTS):
        free_pages += walk_pcp(t, i, out)
    compare(out, "machine", 0, "free_pages", t.m.free_pages, free_pages)
    walk_free_tables(t, out)
    return compare(out, "machine", 0, "nr_tables", t.m.nr_tables, t.nr_tables)


# ---- folios ----

cdef int check_pages(tally_t *t, uint32_t head, page_t *folio, const folio_tally_t *ft, list out) except -1:
    """Kind, mapcount and exclusivity page by page.  Of a PMD mapping only the head's exclusivity means something."""
    cdef bint implicit = (folio.flags & PG_tails_implicit) != 0
    cdef uint32_t nr = folio_nr_pages(folio), i
    cdef uint32_t written = 4 if implicit and folio_order(folio) == FS_HPAGE_PMD_ORDER else nr
    cdef const page_t *page
    for i in range(1, written):
        page = page_of(t.m, head + i)
        if page_kind(page) != PG_KIND_TAIL or page_order(page) != folio_order(folio):
            compare(out, "page", head + i, "kind", page_kind(page), PG_KIND_TAIL)
    for i in range(nr):
        page = page_record(t.m, folio, head + i)
        if page.mapcount != t.ptes[head + i]:
            compare(out, "page", head + i, "mapcount", page.mapcount, t.ptes[head + i])
        if page.flags & PG_anon_exclusive and (i == 0 or not ft.pmds) and t.ptes[head + i] + ft.pmds > 1:
            compare(out, "page", head + i, "anon_exclusive", 1, 0)
    return 0


cdef int check_slots(tally_t *t, uint32_t head, page_t *folio, const folio_tally_t *ft, list out) except -1:
    """A folio not marked shared has one owner, whose slot has all its mappings.

    Of a shared folio a slot may have fewer mappings than its mm: those made while others held both slots are not in it.
    """
    cdef const tail1_t *one = folio_tail1(folio)
    cdef bint shared = (one.mm_id[1] & 0x80000000U) != 0
    cdef uint32_t id
    cdef int32_t n, least
    cdef int i
    for i in range(2):
        id = one.mm_id[i] & (0x7fffffffU if i else 0xffffffffU)
        n = ft.slot[i] if id else 0
        least = n if not shared or not id else 1
        if not least <= one.mm_mapcount[i] <= n:
            compare(out, "folio", head, f"mm_mapcount[{i}]", one.mm_mapcount[i], n)
    if not shared and (ft.several or ft.slot[0] + ft.slot[1] != ft.ptes + ft.pmds):
        compare(out, "folio", head, "mm_shared", 0, 1)
    return 0


cdef int check_large(tally_t *t, uint32_t head, page_t *folio, const folio_tally_t *ft, list out) except -1:
    cdef const tail2_t *two = folio_tail2(folio)
    compare(out, "folio", head, "large_mapcount", folio_tail1(folio).large_mapcount, ft.ptes + ft.pmds)
    check_slots(t, head, folio, ft, out)
    if folio_order(folio) < 2:
        return 0
    compare(out, "folio", head, "entire_mapcount", two.entire_mapcount, ft.pmds)
    compare(out, "folio", head, "nr_pages_mapped", two.nr_pages_mapped,
            ft.nr_mapped + (FS_ENTIRELY_MAPPED if ft.pmds else 0))
    return compare(out, "folio", head, "pincount", two.pincount, ft.pins)


cdef int64_t cached_pages(tally_t *t, uint32_t head, const page_t *folio) noexcept nogil:
    """How many of the folio's pages the page cache, or the swap cache, holds: one reference each."""
    cdef uint32_t id = folio_mapping_id(folio), i
    cdef const mapping_t *mapping
    cdef uint64_t index = folio_index(folio)
    cdef int64_t n = 0
    if folio_test_swapcache(folio):
        for i in range(folio_nr_pages(folio)):
            n += t.m.swap.slots[t.m.swap.of_page[head + i]].cache == head + i
        return n
    if folio.flags & PG_anon or not mapping_id_used(t.m, id):
        return 0
    mapping = <const mapping_t *>t.m.mappings[id]
    if not mapping.kind:
        return 0                # an anon_vma: PG_anon is wrong
    for i in range(folio_nr_pages(folio)):
        n += index + i < mapping.cap and mapping.pfns[index + i] == head + i
    return n


cdef int check_folio_lists(tally_t *t, uint32_t head, page_t *folio, const folio_tally_t *ft, sums_t *sums,
                           list out) except -1:
    """The flags that tell the lists."""
    cdef int order = folio_order(folio)
    cdef bint on_lru = (folio.flags & PG_lru) != 0
    if on_lru and folio.flags & PG_unevictable:
        sums.unevictable += folio_nr_pages(folio)
        on_lru = False
    compare(out, "folio", head, "lru", on_lru, ft.listed)
    compare(out, "folio", head, "deferred", (folio.flags & PG_deferred) != 0, ft.queued)
    if folio.flags & PG_partially_mapped and not folio.flags & PG_deferred:
        compare(out, "folio", head, "partially_mapped", 1, 0)
    if folio.flags & PG_anon and order < NR_ORDERS:
        sums.nr_anon[order] += 1
        sums.partially_mapped[order] += (folio.flags & PG_partially_mapped) != 0
    return 0


cdef int check_folio(tally_t *t, uint32_t head, page_t *folio, sums_t *sums, list out) except -1:
    cdef const folio_tally_t *ft = t.folios + head
    cdef int64_t refs = <int64_t>ft.ptes + ft.pmds + ft.refs + cached_pages(t, head, folio)
    refs += <int64_t>ft.pins * (1 if folio_order(folio) >= 2 else FS_GUP_PIN_COUNTING_BIAS)
    compare(out, "folio", head, "refcount", folio.refcount, refs)
    sums.pages += folio_nr_pages(folio)
    check_pages(t, head, folio, ft, out)
    if folio_test_large(folio):
        check_large(t, head, folio, ft, out)
    return check_folio_lists(t, head, folio, ft, sums, out)


# ---- frames ----

cdef inline bint may_be_unused(const machine_t *m, uint32_t pfn) noexcept nogil:
    """Frames of the zero page's block, and those kept for page tables."""
    return pfn >> FS_HPAGE_PMD_ORDER == m.zero_pfn >> FS_HPAGE_PMD_ORDER or m.table_next <= pfn < m.table_end


cdef int64_t check_frame(tally_t *t, uint32_t pfn, sums_t *sums, list out) except -1:
    """How many frames lie in what begins here."""
    cdef page_t *page = page_of(t.m, pfn)
    cdef uint32_t kind = page_kind(page)
    if may_be_unused(t.m, pfn) or t.folios[pfn].listed == ON_PCP:
        return 1
    if kind == PG_KIND_HEAD:
        check_folio(t, pfn, page, sums, out)
    elif kind == PG_KIND_BUDDY:
        compare(out, "block", pfn, "listed", t.folios[pfn].listed, 1)
    elif kind == PG_KIND_TABLE:
        compare(out, "table", pfn, "references", t.folios[pfn].listed, 1)
        if not t.folios[pfn].refs:
            compare(out, "table", pfn, "refcount", page.refcount, 1)
        return 1
    elif kind != PG_KIND_ZERO:
        compare(out, "page", pfn, "kind", kind, PG_KIND_HEAD)
        return 1
    return 1LL << page_order(page)


cdef int check_gauges(tally_t *t, const sums_t *sums, list out) except -1:
    cdef int order
    compare(out, "machine", 0, "charged", mem_cgroup_usage(t.m), sums.pages + t.nr_tables)
    compare(out, "lru", LRU_UNEVICTABLE, "nr_pages", t.m.lru[<int>LRU_UNEVICTABLE].nr_pages, sums.unevictable)
    for order in range(1, NR_ORDERS):
        compare(out, "mthp", order, "nr_anon", t.m.mthp[order][<int>MTHP_NR_ANON], sums.nr_anon[order])
        compare(out, "mthp", order, "nr_anon_partially_mapped",
                t.m.mthp[order][<int>MTHP_NR_ANON_PARTIALLY_MAPPED], sums.partially_mapped[order])
    return 0


cdef int validate_frames(tally_t *t, list out) except -1:
    cdef sums_t sums
    cdef int64_t pfn = 0
    memset(&sums, 0, sizeof(sums))
    while pfn < t.nr:
        looked_at(t, 1)
        pfn += check_frame(t, <uint32_t>pfn, &sums, out)
    return check_gauges(t, &sums, out)
