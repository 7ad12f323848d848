# cython: language_level=3
"""khugepaged and MADV_COLLAPSE (mm/khugepaged.c): the pages of aligned 2 MiB blocks move into huge folios."""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.types cimport *

# madvise(MADV_COLLAPSE) of a part of one VMA.  0, -errno of the last block that failed, or -FS_EHOSTMEM.  Blocks
# before the one that failed stay collapsed.
cdef int madvise_collapse(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil
# khugepaged looks at blocks of a process from `*address` on, which moves, to 0 at the end; about so many pages.  The
# progress, or -FS_EHOSTMEM.
cdef int64_t khugepaged_scan_mm(machine_t *m, mm_t *mm, uint64_t *address, int64_t pages) noexcept nogil
# Does khugepaged wake up by itself after this step?
cdef inline bint khugepaged_wakes(const machine_t *m, int64_t step) noexcept nogil:
    cdef const khugepaged_t *daemon = &m.khugepaged
    if daemon.wake_at_limit and m.memcg.hit:
        return True
    return daemon.scan_sleep_steps and step % daemon.scan_sleep_steps == 0
# khugepaged wakes up and looks at about so many pages of all processes, from where it stopped.  0 or -FS_EHOSTMEM.
cdef int khugepaged_do_scan(machine_t *m, int64_t pages) noexcept nogil
