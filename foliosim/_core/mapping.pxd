# cython: language_level=3
"""Page caches: which folio holds which page of a file (mm/filemap.c)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport FS_NO_PFN, FS_PAGE_SHIFT, FS_PAGE_SIZE, VM_PFNMAP
from foliosim._core.types cimport *

# A new object of size bytes with one reference; NULL if the host has no memory.
cdef mapping_t *mapping_alloc(machine_t *m, uint32_t kind, uint64_t size) noexcept nogil
# Drop a reference; the last one frees the object and its cached folios.
cdef void mapping_put(machine_t *m, mapping_t *mapping) noexcept nogil
# Room for nr pages.  0, or -FS_EHOSTMEM.
cdef int mapping_grow(mapping_t *mapping, uint64_t nr) noexcept nogil
# Put a new folio at an aligned index and on the LRU; the cache holds a reference per page, the caller's goes.
# 0, or -FS_EHOSTMEM: then the folio is freed.
cdef int filemap_add_folio(machine_t *m, mapping_t *mapping, uint32_t head, uint64_t index) noexcept nogil
# Take a folio out and drop the cache's references.
cdef void filemap_remove_folio(machine_t *m, mapping_t *mapping, uint32_t head) noexcept nogil
# Index of the first page at or after `index` and below `end` that is cached; end: none.
cdef uint64_t mapping_next_cached(const mapping_t *mapping, uint64_t index, uint64_t end) noexcept nogil

cdef inline uint32_t mapping_lookup(const mapping_t *mapping, uint64_t index) noexcept nogil:
    """The pfn that caches page `index`, or FS_NO_PFN."""
    return mapping.pfns[index] if index < mapping.cap else FS_NO_PFN

cdef inline uint64_t mapping_pages(const mapping_t *mapping) noexcept nogil:
    """Pages up to the end of the object."""
    return (mapping.size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT

cdef inline bint shmem_mapping(const mapping_t *mapping) noexcept nogil:
    return mapping.kind < MAPPING_DISK

cdef inline bint vma_is_device(const vma_t *vma) noexcept nogil:
    """Does it map a device's memory?  Such entries have no folios behind them, and leaves at any level."""
    return vma.flags & VM_PFNMAP and vma.file != NULL and vma.file.kind == MAPPING_DEVICE
