# cython: language_level=3
"""Page caches.  Follows __filemap_add_folio and filemap_remove_folio in mm/filemap.c, with an array for the xarray."""
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.anon_vma cimport mapping_id_alloc, mapping_id_free
from foliosim._core.content cimport content_forget
from foliosim._core.swap cimport folio_add_lru, folio_put, folio_put_refs


cdef mapping_t *mapping_alloc(machine_t *m, uint32_t kind, uint64_t size) noexcept nogil:
    cdef mapping_t *mapping = <mapping_t *>calloc(1, sizeof(mapping_t))
    cdef int id
    if mapping == NULL:
        return NULL
    id = mapping_id_alloc(m, mapping)
    if id < 0:
        free(mapping)
        return NULL
    mapping.id = id
    mapping.kind = kind
    mapping.ino = m.next_ino
    m.next_ino += 1
    mapping.size = size
    mapping.refcount = 1
    m.nr_devices += kind == MAPPING_DEVICE
    return mapping


cdef void mapping_put(machine_t *m, mapping_t *mapping) noexcept nogil:
    cdef uint64_t i = 0
    mapping.refcount -= 1
    if mapping.refcount:
        return
    while mapping.nrpages:
        i = mapping_next_cached(mapping, i, mapping.cap)
        filemap_remove_folio(m, mapping, mapping.pfns[i])
    m.nr_devices -= mapping.kind == MAPPING_DEVICE
    mapping_id_free(m, mapping.id)
    for i in range(mapping.cap if mapping.blocks != NULL else 0):
        content_forget(&mapping.blocks[i].content)
    free(mapping.pfns)
    free(mapping.blocks)
    free(mapping)


cdef int mapping_grow(mapping_t *mapping, uint64_t nr) noexcept nogil:
    cdef uint64_t cap = mapping.cap * 2 if mapping.cap * 2 > nr else nr, i
    cdef uint32_t *pfns
    cdef block_t *blocks
    if nr <= mapping.cap:
        return 0
    if mapping.kind == MAPPING_DISK:
        blocks = <block_t *>realloc(mapping.blocks, cap * sizeof(block_t))
        if blocks == NULL:
            return -FS_EHOSTMEM
        memset(blocks + mapping.cap, 0, (cap - mapping.cap) * sizeof(block_t))
        mapping.blocks = blocks
    pfns = <uint32_t *>realloc(mapping.pfns, cap * sizeof(uint32_t))
    if pfns == NULL:
        return -FS_EHOSTMEM
    for i in range(mapping.cap, cap):
        pfns[i] = FS_NO_PFN
    mapping.pfns = pfns
    mapping.cap = cap
    return 0


cdef void workingset_refault(mapping_t *mapping, page_t *folio, uint64_t index) noexcept nogil:
    """A folio with a page that was reclaimed starts as an active one (there is no pressure: it is soon enough)."""
    cdef uint64_t i
    for i in range(index, index + folio_nr_pages(folio)):
        if mapping.blocks[i].shadow:
            folio.flags |= PG_active
            mapping.blocks[i].shadow = False


cdef int filemap_add_folio(machine_t *m, mapping_t *mapping, uint32_t head, uint64_t index) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t nr = folio_nr_pages(folio), i
    if mapping_grow(mapping, index + nr) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    if shmem_mapping(mapping):
        folio.flags |= PG_swapbacked
    else:
        workingset_refault(mapping, folio, index)
    folio_set_mapping(folio, mapping.id, index)
    folio.refcount += nr - 1
    for i in range(nr):
        mapping.pfns[index + i] = head + i
    mapping.nrpages += nr
    folio_add_lru(m, head)
    return 0


cdef void filemap_remove_folio(machine_t *m, mapping_t *mapping, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t nr = folio_nr_pages(folio), i
    cdef uint64_t index = folio_index(folio)
    for i in range(nr):
        mapping.pfns[index + i] = FS_NO_PFN
    mapping.nrpages -= nr
    folio.mapping = 0
    folio_put_refs(m, head, nr)


cdef uint64_t mapping_next_cached(const mapping_t *mapping, uint64_t index, uint64_t end) noexcept nogil:
    cdef uint64_t limit = end if end < mapping.cap else mapping.cap
    while index < limit:
        if mapping.pfns[index] != FS_NO_PFN:
            return index
        index += 1
    return end
