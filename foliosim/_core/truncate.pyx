# cython: language_level=3
"""Taking pages out of page caches.  Follows mm/truncate.c, and shmem_undo_range in mm/shmem.c where that differs."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.content cimport content_fill
from foliosim._core.folio cimport folio_materialize
from foliosim._core.mapping cimport *
from foliosim._core.split_folio cimport try_folio_split
from foliosim._core.swap cimport folio_put
from foliosim._core.try_to_unmap cimport try_to_unmap
from foliosim._core.zap cimport unmap_mapping_folio, unmap_mapping_pages


cdef void truncate_inode_folio(machine_t *m, mapping_t *mapping, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if folio_mapped(folio):
        unmap_mapping_folio(m, mapping, folio)
    folio.flags &= ~PG_dirty
    filemap_remove_folio(m, mapping, head)


cdef int folio_zero_range(machine_t *m, uint32_t head, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t page = start >> FS_PAGE_SHIFT, base, low, high
    cdef int result = 0
    folio_materialize(m, head)
    while page << FS_PAGE_SHIFT < end and result == 0:
        base = page << FS_PAGE_SHIFT
        low = start - base if start > base else 0
        high = end - base if end - base < FS_PAGE_SIZE else FS_PAGE_SIZE
        result = content_fill(m, head + <uint32_t>page, <uint32_t>low, <uint32_t>high, 0)
        page += 1
    return result


cdef void split_behind_hole(machine_t *m, mapping_t *mapping, uint64_t index) noexcept nogil:
    """The piece with the first page behind the hole is split too, even where that is its first page.

    It has left the cache already if it lies beyond the end of the file.
    """
    cdef uint32_t pfn = mapping_lookup(mapping, index), head
    if pfn == FS_NO_PFN:
        return
    head = head_of(m, pfn)
    if folio_test_large(page_of(m, head)):
        page_of(m, head).refcount += 1
        try_folio_split(m, head, pfn, SPLIT_UNMAP)
        folio_put(m, head)


cdef int truncate_inode_partial_folio(machine_t *m, mapping_t *mapping, uint32_t head, uint64_t start,
                                      uint64_t end) noexcept nogil:
    """Deal with a folio of which [start, end) covers a part, or all.  1: done; 0: it could not be split and stays."""
    cdef page_t *folio = page_of(m, head)
    cdef uint64_t pos = folio_index(folio) << FS_PAGE_SHIFT
    cdef uint64_t size = <uint64_t>folio_nr_pages(folio) << FS_PAGE_SHIFT
    cdef uint64_t offset = start - pos if start > pos else 0
    cdef uint64_t length = (end - pos if end - pos < size else size) - offset
    cdef int result
    if length == size:
        truncate_inode_folio(m, mapping, head)
        return 1
    if folio_zero_range(m, head, offset, offset + length) < 0:
        return -FS_EHOSTMEM
    if not folio_test_large(folio):
        return 1
    folio.refcount += 1
    result = try_folio_split(m, head, head + <uint32_t>(offset >> FS_PAGE_SHIFT), SPLIT_UNMAP)
    if result == 0 and offset + length < size:
        split_behind_hole(m, mapping, (pos + offset + length) >> FS_PAGE_SHIFT)
    elif result < 0 and not shmem_mapping(mapping):
        try_to_unmap(m, head, True)
    folio_put(m, head)
    if result == 0:
        return 1
    if not folio.flags & PG_dirty:
        truncate_inode_folio(m, mapping, head)
        return 1
    return 0


cdef int truncate_edge(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t start, uint64_t end, uint64_t *kept,
                       uint64_t *kept_end) noexcept nogil:
    """The folio at one edge of the range.  1 if there is one; `*kept`.. are its pages if it had to stay."""
    cdef uint32_t pfn = mapping_lookup(mapping, index), head
    cdef page_t *folio
    cdef uint64_t first, last
    cdef int result
    kept[0] = kept_end[0] = 0
    if pfn == FS_NO_PFN:
        return 0
    head = head_of(m, pfn)
    folio = page_of(m, head)
    first = folio_index(folio)
    last = first + folio_nr_pages(folio)
    if shmem_mapping(mapping):
        folio.flags |= PG_dirty
    result = truncate_inode_partial_folio(m, mapping, head, start, end)
    if result == 0:
        kept[0] = first
        kept_end[0] = last
    return result if result < 0 else 1


cdef int truncate_whole(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end, uint64_t start_byte,
                        uint64_t end_byte, bint partial) noexcept nogil:
    """Drop every folio that lies in pages first..end-1; with `partial` also deal with those that stick out of it."""
    cdef uint64_t index = mapping_next_cached(mapping, first, end), next
    cdef uint32_t head
    cdef page_t *folio
    while index < end and index < mapping.cap:
        head = head_of(m, mapping.pfns[index])
        folio = page_of(m, head)
        next = folio_index(folio) + folio_nr_pages(folio)
        if folio_index(folio) >= first and next <= end:
            truncate_inode_folio(m, mapping, head)
        elif partial:
            if truncate_inode_partial_folio(m, mapping, head, start_byte, end_byte) < 0:
                return -FS_EHOSTMEM
            if mapping_lookup(mapping, index) != FS_NO_PFN and not folio_test_large(page_of(m, head)):
                next = first
        index = mapping_next_cached(mapping, next, end)
    return 0


cdef int truncate_inode_pages_range(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil:
    """First what lies wholly in the range, then the folios at its edges, then what splitting these has made."""
    cdef uint64_t first = (start + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT, stop = end >> FS_PAGE_SHIFT
    cdef uint64_t low = start >> FS_PAGE_SHIFT, high = (end - 1) >> FS_PAGE_SHIFT, kept, kept_end
    cdef bint same = low == high
    cdef uint32_t pfn
    cdef int result
    truncate_whole(m, mapping, first, stop, start, end, False)
    pfn = mapping_lookup(mapping, low)
    if pfn != FS_NO_PFN:
        same = high < folio_index(folio_of(m, pfn)) + folio_nr_pages(folio_of(m, pfn))
    result = truncate_edge(m, mapping, low, start, end, &kept, &kept_end)
    if result < 0:
        return result
    if kept_end:
        first = kept_end
        if same:
            stop = kept
    if not same:
        result = truncate_edge(m, mapping, high, start, end, &kept, &kept_end)
        if result < 0:
            return result
        if kept_end:
            stop = kept
    return truncate_whole(m, mapping, first, stop, start, end, shmem_mapping(mapping))


cdef int truncate_pagecache_range(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil:
    """A range that ends in the first page unmaps all that follows: the last byte to unmap is then -1 in the kernel."""
    cdef uint64_t first = (start + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT, stop = end >> FS_PAGE_SHIFT
    if stop == 0:
        stop = FS_END_OF_FILE >> FS_PAGE_SHIFT
    if first < stop:
        unmap_mapping_pages(m, mapping, first, stop, False)
    return truncate_inode_pages_range(m, mapping, start, end)


cdef int truncate_pagecache(machine_t *m, mapping_t *mapping) noexcept nogil:
    unmap_mapping_pages(m, mapping, mapping_pages(mapping), FS_END_OF_FILE >> FS_PAGE_SHIFT, True)
    return truncate_inode_pages_range(m, mapping, mapping.size, FS_END_OF_FILE)
