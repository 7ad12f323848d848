# cython: language_level=3
"""P18 bitmap_best_fit: whatever enabled size below the huge one fits."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *
from foliosim._core.collapse_pages cimport scan_t

# In the block at haddr, whose table the PMD entry holds, every part that may be becomes one folio; scan: what the block
# holds.  SCAN_SUCCEED if there were any, else SCAN_FAIL; or -FS_EHOSTMEM.
cdef int collapse_best_fit(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, const scan_t *scan) noexcept nogil
