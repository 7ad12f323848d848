# cython: language_level=3
"""Files on disk, in blocks of one page.  Follows fs/ext4/inode.c."""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.content cimport content_fill, content_forget, content_restore, content_save
from foliosim._core.folio cimport folio_alloc, folio_materialize
from foliosim._core.mapping cimport *
from foliosim._core.swap cimport folio_mark_accessed


cdef void ext4_page_mkwrite(machine_t *m, mapping_t *mapping, page_t *folio) noexcept nogil:
    cdef uint64_t first = folio_index(folio), end = first + folio_nr_pages(folio)
    if end > mapping_pages(mapping):
        end = mapping_pages(mapping)
    while first < end:
        mapping.blocks[first].used = True
        first += 1
    folio_mark_dirty(folio)


cdef inline void folio_mark_dirty(page_t *folio) noexcept nogil:
    folio.flags = (folio.flags & ~PG_readahead) | PG_dirty


cdef int ext4_write_page(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t *pfn) noexcept nogil:
    cdef int result
    pfn[0] = folio_alloc(m, 0)
    if pfn[0] == FS_NO_PFN:
        return -ENOMEM
    result = filemap_add_folio(m, mapping, pfn[0], index)
    if result == 0:
        mapping.blocks[index].used = True
    return result


cdef void ext4_remove_blocks(mapping_t *mapping, uint64_t first, uint64_t end) noexcept nogil:
    if end > mapping.cap:
        end = mapping.cap
    while first < end:
        content_forget(&mapping.blocks[first].content)
        mapping.blocks[first].used = mapping.blocks[first].shadow = False
        first += 1


cdef void ext4_evict_folio(machine_t *m, mapping_t *mapping, uint32_t head) noexcept nogil:
    cdef uint64_t index = folio_index(page_of(m, head))
    cdef uint32_t i
    folio_materialize(m, head)
    for i in range(folio_nr_pages(page_of(m, head))):
        mapping.blocks[index + i].shadow = True
        if mapping.blocks[index + i].used:
            content_save(m, head + i, &mapping.blocks[index + i].content)


cdef int ext4_read_page(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t pfn) noexcept nogil:
    if not mapping.blocks[index].used:
        return 0
    folio_materialize(m, head_of(m, pfn))
    return content_restore(m, pfn, &mapping.blocks[index].content)


cdef int zero_page_range(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t start,
                         uint32_t end) noexcept nogil:
    """Follows ext4_block_zero_page_range: the page is brought into the cache; in a hole nothing else is done."""
    cdef uint32_t pfn = mapping_lookup(mapping, index)
    cdef int result
    if pfn == FS_NO_PFN:
        pfn = folio_alloc(m, 0)
        if pfn == FS_NO_PFN:
            return -ENOMEM
        page_of(m, pfn).flags &= ~PG_uptodate
        result = filemap_add_folio(m, mapping, pfn, index)
        if result == 0:
            result = ext4_read_page(m, mapping, index, pfn)
        if result < 0:
            return result
    folio_mark_accessed(m, head_of(m, pfn))
    if not mapping.blocks[index].used:
        return 0
    folio_materialize(m, head_of(m, pfn))
    folio_mark_dirty(folio_of(m, pfn))
    folio_of(m, pfn).flags |= PG_uptodate
    return content_fill(m, pfn, start, end, 0)


cdef int ext4_zero_partial_blocks(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t first = start >> FS_PAGE_SHIFT, last = (end - 1) >> FS_PAGE_SHIFT
    cdef uint32_t head = <uint32_t>(start & (FS_PAGE_SIZE - 1)), tail = <uint32_t>(end & (FS_PAGE_SIZE - 1))
    cdef int result = 0
    if first == last and (head or tail):
        return zero_page_range(m, mapping, first, head, tail if tail else <uint32_t>FS_PAGE_SIZE)
    if head:
        result = zero_page_range(m, mapping, first, head, <uint32_t>FS_PAGE_SIZE)
    if tail and result == 0:
        result = zero_page_range(m, mapping, last, 0, tail)
    return result
