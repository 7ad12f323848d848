# cython: language_level=3
"""Emulated physical memory and its buddy allocator; follows mm/page_alloc.c for one zone.

Blocks that are freed wait in a stack of their order until the step ends, and the newest is handed out first, as the
kernel's per-CPU lists do: memory mapped over other memory gets the same frames in reverse order.

Frames from ``fresh_pfn`` on were never used and are on no list, so a machine costs host memory only for what it
used.  Page tables are carved from blocks of their own (as the kernel groups unmovable pages), which keeps them dense
in host memory.
"""
from libc.string cimport memset
from posix.mman cimport mmap, munmap, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_FAILED
from foliosim._core.debug cimport BUG_ON, FS_DEBUG
from foliosim._core.flags cimport *
from foliosim._core.page cimport *

cdef extern from *:
    """
    #define FS_MAX_PAGE_ORDER 10
    #define FS_BLOCK_ORDER 9
    """
    enum:
        FS_MAX_PAGE_ORDER, FS_BLOCK_ORDER

cdef enum:
    HELD_MAX = 2048          # blocks; what is freed beyond goes to the free lists at once


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
    if m.phys == NULL or m.pages == NULL or m.heads == NULL:
        page_alloc_deinit(m)
        return -FS_EHOSTMEM
    for order in range(FS_MAX_PAGE_ORDER + 1):
        m.free_list[order] = FS_NO_PFN
    for order in range(FS_BLOCK_ORDER + 1):
        m.held[order] = FS_NO_PFN
    m.table_free = FS_NO_PFN
    m.free_pages = <int64_t>m.nr_pages
    init_zero_pages(m)
    return 0


cdef void page_alloc_deinit(machine_t *m) noexcept nogil:
    if m.phys != NULL:
        munmap(m.phys, m.nr_pages << FS_PAGE_SHIFT)
    if m.pages != NULL:
        munmap(m.pages, m.nr_pages * sizeof(page_t))
    if m.heads != NULL:
        munmap(m.heads, (m.nr_pages >> FS_BLOCK_ORDER) * 4 * sizeof(page_t))
    m.phys = NULL
    m.pages = NULL
    m.heads = NULL


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
    """A never used block of 2^order frames, order >= 9; FS_NO_PFN if the memory ends."""
    cdef uint64_t size = 1ULL << order
    cdef uint64_t pfn = (m.fresh_pfn + size - 1) & ~(size - 1)
    if pfn + size > m.nr_pages:
        return FS_NO_PFN
    while m.fresh_pfn < pfn:
        free_list_add(m, <uint32_t>m.fresh_pfn, FS_BLOCK_ORDER)
        m.fresh_pfn += 1 << FS_BLOCK_ORDER
    m.fresh_pfn = pfn + size
    return <uint32_t>pfn


cdef uint32_t alloc_block(machine_t *m, int order) noexcept nogil:
    """From the free lists.  Follows __rmqueue_smallest."""
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
    m.free_pages -= 1LL << order
    return pfn


cdef uint32_t alloc_pages(machine_t *m, int order) noexcept nogil:
    cdef uint32_t pfn = m.held[order] if order <= FS_BLOCK_ORDER else FS_NO_PFN
    if pfn != FS_NO_PFN:
        m.held[order] = page_of(m, pfn).next
        m.nr_held -= 1
        m.free_pages -= 1LL << order
        return pfn
    pfn = alloc_block(m, order)
    if pfn == FS_NO_PFN and m.nr_held:
        drain_held(m)
        pfn = alloc_block(m, order)
    return pfn


cdef uint32_t alloc_run(machine_t *m, uint32_t want, uint32_t *pfn) noexcept nogil:
    cdef int order = 0
    while m.held[0] == FS_NO_PFN and order < FS_BLOCK_ORDER and (2U << order) <= want:
        order += 1
    while True:
        pfn[0] = alloc_pages(m, order)
        if pfn[0] != FS_NO_PFN:
            return 1U << order
        if order == 0:
            return 0
        order -= 1


cdef void free_pages(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    BUG_ON(page_kind(page_of(m, pfn)) == PG_KIND_BUDDY or pfn & ((1U << order) - 1))
    m.free_pages += 1LL << order
    if order > FS_BLOCK_ORDER or m.nr_held >= HELD_MAX:
        free_one_block(m, pfn, order)
        return
    page.flags = PG_KIND_NONE
    page.next = m.held[order]
    m.held[order] = pfn
    m.nr_held += 1


cdef void drain_held(machine_t *m) noexcept nogil:
    """Follows drain_pages."""
    cdef uint32_t pfn
    cdef int order
    if m.nr_held == 0:
        return
    for order in range(FS_BLOCK_ORDER + 1):
        while m.held[order] != FS_NO_PFN:
            pfn = m.held[order]
            m.held[order] = page_of(m, pfn).next
            free_one_block(m, pfn, order)
    m.nr_held = 0


cdef void free_one_block(machine_t *m, uint32_t pfn, int order) noexcept nogil:
    """Put a block on the free lists and merge it with its free buddies.  Follows __free_one_page."""
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


cdef void free_run(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    """Free n consecutive order-0 frames: one by one while there is room in the stack, then in aligned blocks."""
    cdef int order
    while n and m.nr_held < HELD_MAX:
        free_pages(m, pfn, 0)
        pfn += 1
        n -= 1
    while n:
        order = 0
        while order < FS_BLOCK_ORDER and not pfn & (1U << order) and (2U << order) <= n:
            order += 1
        free_pages(m, pfn, order)
        pfn += 1U << order
        n -= 1U << order


cdef uint32_t table_alloc(machine_t *m) noexcept nogil:
    cdef uint32_t pfn = m.table_free
    cdef page_t *page
    if pfn != FS_NO_PFN:
        page = page_of(m, pfn)
        m.table_free = page.next
    else:
        if m.table_next == m.table_end:
            pfn = alloc_block(m, FS_BLOCK_ORDER)
            if pfn == FS_NO_PFN:
                return FS_NO_PFN
            m.table_next = pfn
            m.table_end = pfn + (1U << FS_BLOCK_ORDER)
        pfn = m.table_next
        m.table_next += 1
        page = page_of(m, pfn)
    page.flags = PG_KIND_TABLE
    page.refcount = 1
    page.mapcount = 0
    page.next = FS_NO_PFN
    page.prev = FS_NO_PFN
    m.nr_tables += 1
    return pfn


cdef void check_empty(const uint64_t *table) noexcept nogil:
    cdef int i
    for i in range(FS_PTRS_PER_PTE):
        BUG_ON(table[i] != 0)


cdef void table_free(machine_t *m, uint32_t pfn) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    BUG_ON(page.refcount != 1 or page_kind(page) != PG_KIND_TABLE)
    if FS_DEBUG:
        check_empty(<uint64_t *>(m.phys + (<uint64_t>pfn << FS_PAGE_SHIFT)))
    page.refcount = 0
    page.next = m.table_free
    m.table_free = pfn
    m.nr_tables -= 1
