# cython: language_level=3
"""Taking pages out of page caches (mm/truncate.c, shmem_undo_range in mm/shmem.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define FS_END_OF_FILE 0xffffffffffffffffULL
    """
    const uint64_t FS_END_OF_FILE    # as lend: up to the end of the file and beyond

# Drop the pages of bytes [start, end) from the cache and zero the parts of pages.  Mappings of dropped pages go, but
# not private copies.  0, or -FS_EHOSTMEM.
cdef int truncate_inode_pages_range(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil
# The same after unmapping whole pages of the range (truncate_pagecache_range), as for punching a hole.
cdef int truncate_pagecache_range(machine_t *m, mapping_t *mapping, uint64_t start, uint64_t end) noexcept nogil
# The size has just become smaller (or stayed): drop what is behind the end, private copies of it too.
cdef int truncate_pagecache(machine_t *m, mapping_t *mapping) noexcept nogil
