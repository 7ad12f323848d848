# cython: language_level=3
"""Writing dirty pages of files back (mm/page-writeback.c, folio_mkclean in mm/rmap.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Pages first..end-1 of a file on disk: clean afterwards, and mapped read-only so that the next store is noticed.
cdef void filemap_write_and_wait_range(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end) noexcept nogil
