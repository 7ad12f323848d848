# cython: language_level=3
"""Collapse of the page cache, and of tables that map a huge cached folio page by page (mm/khugepaged.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# Move the cached pages of the 2 MiB at haddr into one folio.  SCAN_PTE_MAPPED_HUGEPAGE if there is one (now): no VMA
# need map it.  Else SCAN_*, nothing changed; or -FS_EHOSTMEM.
cdef int hpage_collapse_scan_file(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil
# Map the huge cached folio at haddr by a PMD, in place of a table that maps nothing else.  SCAN_SUCCEED, or SCAN_*
# with entries perhaps gone.
cdef int collapse_pte_mapped_thp(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil
