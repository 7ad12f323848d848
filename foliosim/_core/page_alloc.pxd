# cython: language_level=3
"""Emulated physical memory and its buddy allocator (mm/page_alloc.c, simplified to one zone)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport FS_HPAGE_PMD_ORDER
from foliosim._core.types cimport *

cdef enum:
    NR_PCP_LISTS = FS_HPAGE_PMD_ORDER + 1    # of orders 0 to that of a huge page

# Reserve host address space for nr_pages frames and set the zero pages up.  0, or -FS_EHOSTMEM.
cdef int page_alloc_init(machine_t *m, uint64_t nr_pages) noexcept nogil
cdef void page_alloc_deinit(machine_t *m) noexcept nogil
# First frame of a free block of 2^order frames (order <= 10), or FS_NO_PFN.  The caller sets the records up.
cdef uint32_t alloc_pages(machine_t *m, int order) noexcept nogil
# Like alloc_pages for order-0 users: a run of 1..want frames; its length, or 0 if no frame is free.
cdef uint32_t alloc_run(machine_t *m, uint32_t want, uint32_t *pfn) noexcept nogil
cdef void free_pages(machine_t *m, uint32_t pfn, int order) noexcept nogil
# n blocks in a row, of an order that has a per-CPU list; the records of their first frames say PG_KIND_NONE already.
cdef void free_run(machine_t *m, uint32_t pfn, uint32_t n, int order) noexcept nogil
# Is the frame part of a free block of the buddy lists?
cdef bint is_free_buddy_page(machine_t *m, uint32_t pfn) noexcept nogil
# A frame for a page table: all entries zero, refcount 1; FS_NO_PFN if no frame is free.
cdef uint32_t table_alloc(machine_t *m) noexcept nogil
# Up to n of them put before the first of a list of tables that page_t.next links; how many.
cdef uint32_t tables_alloc(machine_t *m, uint32_t n, uint32_t *first) noexcept nogil
# Give a table back; all its entries are zero again.
cdef void table_free(machine_t *m, uint32_t pfn) noexcept nogil
# The same for the first n of a list of tables that page_t.next links; the one after them.
cdef uint32_t tables_free(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil
