# cython: language_level=3
"""Files on disk: which pages have blocks, and what the file system does to their cached pages (fs/ext4)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# A first store through a shared mapping: the folio's pages get blocks and are dirty.
cdef void ext4_page_mkwrite(machine_t *m, mapping_t *mapping, page_t *folio) noexcept nogil
# write(2) of one page that is not cached: a clean page, as after fsync.  0, -ENOMEM or -FS_EHOSTMEM.
cdef int ext4_write_page(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t *pfn) noexcept nogil
# Pages first..end-1 are a hole from now on.
cdef void ext4_remove_blocks(mapping_t *mapping, uint64_t first, uint64_t end) noexcept nogil
# The folio leaves the page cache clean, or a page comes back: the disk has its data.  0 or -FS_EHOSTMEM.
cdef void ext4_evict_folio(machine_t *m, mapping_t *mapping, uint32_t head) noexcept nogil
cdef int ext4_read_page(machine_t *m, mapping_t *mapping, uint64_t index, uint32_t pfn) noexcept nogil
# The parts of blocks at both ends of bytes [start, end) are zeroed on disk, through the page cache.
# 0, -ENOMEM or -FS_EHOSTMEM.
cdef int ext4_zero_partial_blocks(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil
