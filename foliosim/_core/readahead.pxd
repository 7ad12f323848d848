# cython: language_level=3
"""Reading files from the disk into the page cache (mm/readahead.c, mm/filemap.c filemap_fault)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.types cimport *

# The frame of page `index` of a file on disk.  0; VM_FAULT_RETRY: it was read just now, fault again; or VM_FAULT_*.
cdef int filemap_fault(machine_t *m, vma_t *vma, uint64_t index, uint32_t *pfn) noexcept nogil
# If the file counts as read before: pages index..end-1, below its end, come into the cache.
# 0, -ENOMEM or -FS_EHOSTMEM.
cdef int read_resident(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t end) noexcept nogil
# Read pages index..index+nr-1 that are not cached, below the end of the file.  0, -ENOMEM or -FS_EHOSTMEM.
cdef int do_page_cache_ra(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t nr) noexcept nogil
