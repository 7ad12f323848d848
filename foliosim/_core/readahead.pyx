# cython: language_level=3
"""Reading files from the disk into the page cache.  Follows mm/readahead.c and filemap_fault in mm/filemap.c.

Fidelity: customised - a file with very many misses is read ahead all the same (no mmap_miss).
"""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.ext4 cimport ext4_read_page
from foliosim._core.folio cimport folio_alloc
from foliosim._core.mapping cimport *

cdef enum:
    RA_PAGES = (8 << 20) >> FS_PAGE_SHIFT    # read_ahead_kb 8192


# ---- reading pages ----

cdef int ra_alloc_folio(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t mark, int order) noexcept nogil:
    """A folio that the disk fills; the one with page `mark` starts the next window when it is used."""
    cdef uint32_t head = folio_alloc(m, order), nr = 0
    cdef int result
    if head == FS_NO_PFN:
        return -ENOMEM
    if index == mark & ~((1ULL << order) - 1):
        page_of(m, head).flags |= PG_readahead
    result = filemap_add_folio(m, mapping, head, index)
    while result == 0 and nr < 1U << order:
        result = ext4_read_page(m, mapping, index + nr, head + nr)
        nr += 1
    return result


cdef int read_single_pages(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t nr,
                           uint64_t lookahead) noexcept nogil:
    """Follows do_page_cache_ra and page_cache_ra_unbounded: what is not cached, below the end of the file."""
    cdef uint64_t pages = mapping_pages(mapping), mark, i
    cdef int result
    if index >= pages:
        return 0
    if nr > pages - index:
        nr = pages - index
    mark = index + nr - lookahead if lookahead <= nr else pages
    for i in range(index, index + nr):
        if mapping_lookup(mapping, i) == FS_NO_PFN:
            result = ra_alloc_folio(m, mapping, i, mark, 0)
            if result < 0:
                return result
    return 0


cdef int do_page_cache_ra(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t nr) noexcept nogil:
    return read_single_pages(m, mapping, index, nr, 0)


cdef int page_cache_ra_order(machine_t *m, mapping_t *mapping, uint64_t index) noexcept nogil:
    """The window of mapping.ra from index on: folios of its order as long as nothing of them is cached."""
    cdef file_ra_t *ra = &mapping.ra
    cdef uint64_t end = index + ra.size, at = index, mark = index + ra.size - ra.async_size
    cdef int order, result
    if end > mapping_pages(mapping):
        end = mapping_pages(mapping)
    if ra.order > FS_MAX_PAGECACHE_ORDER:
        ra.order = FS_MAX_PAGECACHE_ORDER
    while ra.order and 1ULL << ra.order > ra.size:
        ra.order -= 1
    while at < end:
        order = ra.order
        while at & ((1ULL << order) - 1) or at + (1ULL << order) > end:
            order -= 1
        if mapping_next_cached(mapping, at, at + (1ULL << order)) < at + (1ULL << order):
            return read_single_pages(m, mapping, at, index + ra.size - at, ra.async_size)
        result = ra_alloc_folio(m, mapping, at, mark, order)
        if result < 0:
            return result
        at += 1ULL << order
    return 0


# ---- which pages ----

cdef inline void set_window(mapping_t *mapping, uint64_t start, uint64_t size, uint64_t async_size,
                            int order) noexcept nogil:
    mapping.ra.start = start
    mapping.ra.size = size
    mapping.ra.async_size = async_size
    mapping.ra.order = order


cdef int do_sync_mmap_readahead(machine_t *m, const vma_t *vma, uint64_t index) noexcept nogil:
    """The page is not cached: read it, with pages around it as the VMA was advised."""
    cdef mapping_t *mapping = vma.file
    cdef uint64_t end
    if vma.flags & VM_HUGEPAGE:
        end = FS_HPAGE_PMD_NR if vma.flags & VM_RAND_READ else 2 * FS_HPAGE_PMD_NR
        set_window(mapping, mapping.ra.start, end, FS_HPAGE_PMD_NR, FS_HPAGE_PMD_ORDER)
        return page_cache_ra_order(m, mapping, index & ~<uint64_t>(FS_HPAGE_PMD_NR - 1))
    if (vma.flags & (VM_RAND_READ | VM_EXEC)) == VM_RAND_READ:
        return 0
    if vma.flags & VM_SEQ_READ:
        if index:
            return do_page_cache_ra(m, mapping, index, RA_PAGES)
        set_window(mapping, 0, RA_PAGES, RA_PAGES // 2, 0)
    elif vma.flags & VM_EXEC:
        end = vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT)
        set_window(mapping, index, end - index if end - index < RA_PAGES else RA_PAGES, 0, 0)
    else:
        set_window(mapping, index - RA_PAGES // 2 if index > RA_PAGES // 2 else 0, RA_PAGES, RA_PAGES // 4, 0)
    return page_cache_ra_order(m, mapping, mapping.ra.start)


cdef uint64_t next_ra_size(uint64_t size) noexcept nogil:
    """Follows get_next_ra_size."""
    if size < RA_PAGES // 16:
        return 4 * size
    return 2 * size if size <= RA_PAGES // 2 else RA_PAGES


cdef int page_cache_async_ra(machine_t *m, mapping_t *mapping, page_t *folio, uint64_t index) noexcept nogil:
    """A marked folio is used: read the next window, or what comes after the cached pages, in larger folios."""
    cdef file_ra_t *ra = &mapping.ra
    cdef uint64_t start = index + 1, next = next_ra_size(ra.size)
    folio.flags &= ~PG_readahead
    if index == (ra.start + ra.size - ra.async_size) & ~<uint64_t>(folio_nr_pages(folio) - 1):
        start = ra.start + ra.size
        next = next if next > ra.size else ra.size
    else:
        while start - index <= RA_PAGES and mapping_lookup(mapping, start) != FS_NO_PFN:
            start += 1
        if start - index > RA_PAGES:
            return 0
        next = next_ra_size(start - index + RA_PAGES)
    set_window(mapping, start, next, next, ra.order + 2)
    return page_cache_ra_order(m, mapping, start)


# ---- the fault ----

cdef int found_in_cache(machine_t *m, const vma_t *vma, page_t *folio, uint64_t index) noexcept nogil:
    """The page is cached: 0 if it can be mapped at once."""
    if not vma.flags & VM_RAND_READ and folio.flags & PG_readahead:
        if page_cache_async_ra(m, vma.file, folio, index) < 0:
            return VM_FAULT_OOM
        folio.flags |= PG_uptodate
        return VM_FAULT_RETRY
    if folio.flags & PG_uptodate:
        return 0
    folio.flags |= PG_uptodate
    return VM_FAULT_RETRY


cdef int read_resident(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t end) noexcept nogil:
    """Pages index..end-1 of a file that was read before are in the cache."""
    if not mapping.resident:
        return 0
    return read_single_pages(m, mapping, index, end - index, 0)


cdef int filemap_fault(machine_t *m, vma_t *vma, uint64_t index, uint32_t *pfn) noexcept nogil:
    if index >= mapping_pages(vma.file):
        return VM_FAULT_SIGBUS
    if read_resident(m, vma.file, index, index + 1) < 0:
        return VM_FAULT_OOM
    pfn[0] = mapping_lookup(vma.file, index)
    if pfn[0] != FS_NO_PFN:
        return found_in_cache(m, vma, folio_of(m, pfn[0]), index)
    count_vm_events(m, PGMAJFAULT, 1)
    if do_sync_mmap_readahead(m, vma, index) < 0 or do_page_cache_ra(m, vma.file, index, 1) < 0:
        return VM_FAULT_OOM
    return VM_FAULT_RETRY
