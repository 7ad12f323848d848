# cython: language_level=3
"""Emulated physical memory and its buddy allocator; follows mm/page_alloc.c for one zone and one CPU.

Freed blocks first go to a list of their order, so the next allocation of that order gets the block that was freed last.
The kernel has such per-CPU lists for orders up to 3 and for huge pages.  For those between, the lists stand for the
free lists of a machine that has run for a while: the buddy of a block that was taken from one of these is in use, so
the block goes back to the head of the same list.

Frames from ``fresh_pfn`` on were never used and are on no list, so a machine costs host memory only for what it
used.  Page tables are carved from blocks of their own (as the kernel groups unmovable pages), which keeps them dense
in host memory.
"""
from libc.stdlib cimport calloc, free
from posix.mman cimport mmap, munmap, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_FAILED
from foliosim._core.debug cimport BUG_ON, FS_DEBUG
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.fault_inject cimport fail_page_alloc
from foliosim._core.stat cimport *

cdef enum:
    FS_BLOCK_ORDER = FS_HPAGE_PMD_ORDER
    PCP_PAGES = 4096             # what a list may hold


cdef void *reserve(uint64_t size) noexcept nogil:
    """Host address space that costs memory only where it is touched; NULL if there is none."""
    cdef void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    return NULL if at == MAP_FAILED else at


cdef int page_alloc_init(machine_t *m, uint64_t nr_pages) noexcept nogil:
    cdef int order
    cdef uint64_t blocks = nr_pages >> FS_BLOCK_ORDER
    m.nr_pages = blocks << FS_BLOCK_ORDER
    m.phys = <uint8_t *>reserve(m.nr_pages << FS_PAGE_SHIFT)
    m.pages = <page_t *>reserve(m.nr_pages * sizeof(page_t))
    m.heads = <page_t *>reserve(blocks * 4 * sizeof(page_t))
    if m.phys == NULL or m.pages == NULL or m.heads == NULL or pcp_init(m) < 0:
        page_alloc_deinit(m)
        return -FS_EHOSTMEM
    for order in range(FS_MAX_PAGE_ORDER + 1):
        m.free_list[order] = FS_NO_PFN
    m.table_free = FS_NO_PFN
    m.free_pages = <int64_t>m.nr_pages
    init_zero_pages(m)
    return 0


cdef void page_alloc_deinit(machine_t *m) noexcept nogil:
    cdef int order
    if m.phys != NULL:
        munmap(m.phys, m.nr_pages << FS_PAGE_SHIFT)
    if m.pages != NULL:
        munmap(m.pages, m.nr_pages * sizeof(page_t))
    if m.heads != NULL:
        munmap(m.heads, (m.nr_pages >> FS_BLOCK_ORDER) * 4 * sizeof(page_t))
    m.phys = NULL
    m.pages = NULL
    m.heads = NULL
    for order in range(NR_PCP_LISTS):
        free(m.pcp[order].runs)
        m.pcp[order].runs = NULL


cdef void init_zero_pages(machine_t *m) noexcept nogil:
    """Frame 0 stays unused, frame 8 is the zero page, the second block is the huge zero page."""
    cdef page_t *page
    cdef uint32_t low = alloc_pages(m, FS_BLOCK_ORDER)
    m.zero_pfn = low + 8
    page = page_of(m, m.zero_pfn)
    page.flags = PG_KIND_ZERO
    page.refcount = 1
    m.huge_zero_pfn = alloc_pages(m, FS_BLOCK_ORDER)
    page = page_of(m, m.huge_zero_pfn)
    page.flags = PG_KIND_ZERO | FS_BLOCK_ORDER
    page.refcount = 1


cdef inline void free_list_add(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    page.flags = PG_KIND_BUDDY | <uint32_t>order
    page.next = m.free_list[order]
    page.prev = FS_NO_PFN
    if page.next != FS_NO_PFN:
        page_of(m, page.next).prev = pfn
    m.free_list[order] = pfn
    m.nr_free[order] += 1


cdef inline void free_list_del(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    if page.prev != FS_NO_PFN:
        page_of(m, page.prev).next = page.next
    else:
        m.free_list[order] = page.next
    if page.next != FS_NO_PFN:
        page_of(m, page.next).prev = page.prev
    page.flags = PG_KIND_NONE
    m.nr_free[order] -= 1


cdef uint32_t take_fresh(machine_t *m, int order) noexcept nogil:
    """A never used block of 2^order frames, order >= FS_BLOCK_ORDER; FS_NO_PFN if the memory ends."""
    cdef uint64_t size = 1ULL << order
    cdef uint64_t pfn = (m.fresh_pfn + size - 1) & ~(size - 1)
    if pfn + size > m.nr_pages:
        return FS_NO_PFN
    while m.fresh_pfn < pfn:
        free_list_add(m, <uint32_t>m.fresh_pfn, FS_BLOCK_ORDER)
        m.fresh_pfn += 1 << FS_BLOCK_ORDER
    m.fresh_pfn = pfn + size
    return <uint32_t>pfn


cdef uint32_t buddy_alloc(machine_t *m, int order) noexcept nogil:
    """Follows __rmqueue_smallest: the low half of a larger block is kept, the high halves go to their lists."""
    cdef int at = order
    cdef uint32_t pfn
    while at <= FS_MAX_PAGE_ORDER and m.free_list[at] == FS_NO_PFN:
        at += 1
    if at <= FS_MAX_PAGE_ORDER:
        pfn = m.free_list[at]
        free_list_del(m, pfn, at)
    else:
        at = order if order > FS_BLOCK_ORDER else FS_BLOCK_ORDER
        pfn = take_fresh(m, at)
        if pfn == FS_NO_PFN:
            return FS_NO_PFN
    while at > order:
        at -= 1
        free_list_add(m, pfn + (1U << at), at)
    return pfn


cdef void buddy_free(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    """Put a block back and merge it with its free buddies.  Follows __free_one_page."""
    cdef uint32_t buddy
    cdef page_t *page
    while order < FS_MAX_PAGE_ORDER:
        buddy = pfn ^ (1U << order)
        if <uint64_t>buddy >= m.fresh_pfn:
            break
        page = page_of(m, buddy)
        if (page.flags & (PG_KIND_MASK | PG_ORDER_MASK)) != (PG_KIND_BUDDY | <uint32_t>order):
            break
        free_list_del(m, buddy, order)
        page_of(m, pfn).flags = PG_KIND_NONE
        pfn &= buddy
        order += 1
    free_list_add(m, pfn, order)


cdef bint is_free_buddy_page(machine_t *m, uint32_t pfn) noexcept nogil:
    """Follows: is_free_buddy_page."""
    cdef int order
    cdef const page_t *page
    for order in range(FS_MAX_PAGE_ORDER + 1):
        page = page_of(m, pfn & ~((1U << order) - 1))
        if page_kind(page) == PG_KIND_BUDDY and page_order(page) >= order:
            return True
    return False


cdef void buddy_free_run(machine_t *m, uint32_t pfn, uint64_t n) noexcept nogil:
    """n consecutive frames, in the largest aligned blocks."""
    cdef int order
    while n:
        order = 0
        while order < FS_MAX_PAGE_ORDER and not pfn & (1U << order) and (2ULL << order) <= n:
            order += 1
        buddy_free(m, pfn, order)
        pfn += 1U << order
        n -= 1ULL << order


# ---- per-CPU lists ----

cdef int pcp_init(machine_t *m) noexcept nogil:
    cdef int order
    cdef pcp_list_t *pcp
    for order in range(NR_PCP_LISTS):
        pcp = m.pcp + order
        pcp.cap = pcp_high(order)
        pcp.runs = <pcp_run_t *>calloc(pcp.cap, sizeof(pcp_run_t))
        if pcp.runs == NULL:
            return -FS_EHOSTMEM
    return 0


cdef inline uint32_t pcp_high(int order) noexcept nogil:
    """Blocks that a list may hold: 16 MiB of memory, or 16 huge blocks."""
    return PCP_PAGES >> order if order < FS_BLOCK_ORDER else 16


cdef void pcp_evict(machine_t *m, pcp_list_t *pcp, int order, uint32_t n) noexcept nogil:
    """Give the n oldest blocks of the oldest run to the buddy lists."""
    cdef pcp_run_t *run = pcp.runs + pcp.bottom
    buddy_free_run(m, run.pfn, <uint64_t>n << order)
    run.pfn += n << order
    run.n -= n
    pcp.count -= n
    if run.n == 0:
        pcp.bottom = (pcp.bottom + 1) & (pcp.cap - 1)
        pcp.nr -= 1


cdef void pcp_push(machine_t *m, int order, uint32_t pfn, uint32_t n) noexcept nogil:
    """n blocks that were freed in ascending order."""
    cdef pcp_list_t *pcp = m.pcp + order
    cdef int64_t high = pcp_high(order)
    cdef pcp_run_t *top = pcp.runs + ((pcp.bottom + pcp.nr - 1) & (pcp.cap - 1))
    if pcp.nr and top.pfn + (top.n << order) == pfn:
        top.n += n
    else:
        if pcp.nr == pcp.cap:
            pcp_evict(m, pcp, order, pcp.runs[pcp.bottom].n)
        top = pcp.runs + ((pcp.bottom + pcp.nr) & (pcp.cap - 1))
        top.pfn = pfn
        top.n = n
        pcp.nr += 1
    pcp.count += n
    while pcp.count > high:
        n = pcp.runs[pcp.bottom].n
        pcp_evict(m, pcp, order, n if pcp.count - n >= high else <uint32_t>(pcp.count - high))


cdef uint32_t pcp_pop(machine_t *m, int order) noexcept nogil:
    cdef pcp_list_t *pcp = m.pcp + order
    cdef pcp_run_t *top = pcp.runs + ((pcp.bottom + pcp.nr - 1) & (pcp.cap - 1))
    top.n -= 1
    pcp.count -= 1
    if top.n == 0:
        pcp.nr -= 1
    return top.pfn + (top.n << order)


cdef bint drain_pcp(machine_t *m) noexcept nogil:
    """Follows drain_local_pages; False: there was nothing."""
    cdef int order
    cdef bint any = False
    for order in range(NR_PCP_LISTS):
        while m.pcp[order].nr:
            pcp_evict(m, m.pcp + order, order, m.pcp[order].runs[m.pcp[order].bottom].n)
            any = True
    return any


# ---- blocks ----

cdef uint32_t alloc_pages(machine_t *m, int order) noexcept nogil:
    cdef uint32_t pfn
    if fail_page_alloc(m, FAIL_FOLIO, order):
        return FS_NO_PFN
    if order < NR_PCP_LISTS and m.pcp[order].nr:
        pfn = pcp_pop(m, order)
    else:
        pfn = buddy_alloc(m, order)
        if pfn == FS_NO_PFN and drain_pcp(m):
            pfn = buddy_alloc(m, order)
        if pfn == FS_NO_PFN:
            return FS_NO_PFN
    m.free_pages -= 1LL << order
    count_op(m, OP_FOLIO_ALLOC, 1)
    return pfn


cdef uint32_t alloc_run(machine_t *m, uint32_t want, uint32_t *pfn) noexcept nogil:
    """Single frames from the per-CPU list first, then blocks of the buddy lists."""
    cdef int order = 0
    if m.pcp[0].nr:
        pfn[0] = alloc_pages(m, 0)
        return 1
    while order < FS_BLOCK_ORDER and (2U << order) <= want:
        order += 1
    while order > 0:
        pfn[0] = buddy_alloc(m, order)
        if pfn[0] != FS_NO_PFN:
            m.free_pages -= 1LL << order
            count_op(m, OP_FOLIO_ALLOC, 1LL << order)
            return 1U << order
        order -= 1
    pfn[0] = alloc_pages(m, 0)
    return 1 if pfn[0] != FS_NO_PFN else 0


cdef void free_pages(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    BUG_ON(page_kind(page_of(m, pfn)) == PG_KIND_BUDDY or pfn & ((1U << order) - 1))
    m.free_pages += 1LL << order
    count_op(m, OP_FOLIO_FREE, 1)
    page_of(m, pfn).flags = PG_KIND_NONE
    if order < NR_PCP_LISTS:
        pcp_push(m, order, pfn, 1)
    else:
        buddy_free(m, pfn, order)


cdef void free_run(machine_t *m, uint32_t pfn, uint32_t n, int order) noexcept nogil:
    m.free_pages += <int64_t>n << order
    count_op(m, OP_FOLIO_FREE, n)
    pcp_push(m, order, pfn, n)


cdef uint32_t table_alloc(machine_t *m) noexcept nogil:
    cdef uint32_t pfn = m.table_free
    cdef page_t *page
    if fail_page_alloc(m, FAIL_TABLE, 0):
        return FS_NO_PFN
    if pfn != FS_NO_PFN:
        page = page_of(m, pfn)
        m.table_free = page.next
    else:
        if m.table_next == m.table_end:
            pfn = buddy_alloc(m, FS_BLOCK_ORDER)
            if pfn == FS_NO_PFN:
                return FS_NO_PFN
            m.free_pages -= 1LL << FS_BLOCK_ORDER
            m.table_frames += 1LL << FS_BLOCK_ORDER
            m.table_next = pfn
            m.table_end = pfn + (1U << FS_BLOCK_ORDER)
        pfn = m.table_next
        m.table_next += 1
        page = page_of(m, pfn)
    page.flags = PG_KIND_TABLE
    page.refcount = 1
    page.mapcount = 0
    page.index = 0
    page.next = FS_NO_PFN
    page.prev = FS_NO_PFN
    m.nr_tables += 1
    count_op(m, OP_TABLE_ALLOC, 1)
    return pfn


cdef uint32_t tables_alloc(machine_t *m, uint32_t n, uint32_t *first) noexcept nogil:
    cdef uint32_t i, pfn
    for i in range(n):
        pfn = table_alloc(m)
        if pfn == FS_NO_PFN:
            return i
        page_of(m, pfn).next = first[0]
        first[0] = pfn
    return n


cdef void check_empty(const uint64_t *table) noexcept nogil:
    cdef int i
    for i in range(FS_PTRS_PER_PTE):
        BUG_ON(table[i] != 0)


cdef uint32_t tables_free(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    cdef page_t *page
    cdef uint32_t i, next = pfn, free = m.table_free
    for i in range(n):
        pfn = next
        page = page_of(m, pfn)
        next = page.next
        BUG_ON(page.refcount != 1 or page_kind(page) != PG_KIND_TABLE)
        if FS_DEBUG:
            check_empty(<uint64_t *>(m.phys + (<uint64_t>pfn << FS_PAGE_SHIFT)))
        page.refcount = 0
        page.next = free
        free = pfn
    m.table_free = free
    m.nr_tables -= n
    count_op(m, OP_TABLE_FREE, n)
    return next


cdef void table_free(machine_t *m, uint32_t pfn) noexcept nogil:
    tables_free(m, pfn, 1)
