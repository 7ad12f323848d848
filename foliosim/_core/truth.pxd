# cython: language_level=3
"""What is true of every frame, recounted from the page tables: who can reach it, and what is wasted."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef enum page_truth_e:      # bits of truth_t.page
    PAGE_LOCKED = 1          # a VM_LOCKED VMA maps it
    PAGE_MAPPED = 2
    PAGE_SHARED = 4          # several processes map it
    PAGE_PINNED = 8          # somebody holds a pin on this very page
    PAGE_HELD = 16           # or a reference

cdef enum tlb_e:             # TLB models
    TLB_PLAIN                # an entry maps a page, or a PMD leaf
    TLB_COALESCE4            # also four pages in a row, aligned, of like rights, in frames in a row
    TLB_CONTPTE              # the same with what an arm64 contiguous block maps
    NR_TLBS

cdef struct truth_t:
    machine_t *m
    uint32_t nr              # frames ever used
    uint8_t *page            # by pfn: page_truth_e
    int32_t *maps            # by pfn: entries that map it, PTEs and PMD leaves
    uint32_t *owner          # by pfn: id of the first mm that maps it
    int64_t tlb[NR_TLBS]
    int64_t deposited        # page tables that hang off PMD tables
    # pages
    int64_t mapped           # entries: Rss of all processes
    int64_t own              # mapped by one process only
    int64_t distinct         # mapped frames
    int64_t anon, anon_huge, locked
    int64_t mlocked, anon_reported
    int64_t overshoot, undershoot
    int64_t stranded, bloat
    int64_t cold_active      # on an active list, but not used of late (age.pxd)
    int64_t pinned, pin_overshoot
    int64_t deferred_pages

# 0, or -FS_EHOSTMEM.
cdef int truth_init(truth_t *t, machine_t *m) noexcept nogil
cdef void truth_deinit(truth_t *t) noexcept nogil
# Walk everything; the numbers are complete then.
cdef void truth_count(truth_t *t) noexcept nogil
