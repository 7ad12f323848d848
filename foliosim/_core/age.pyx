# cython: language_level=3
"""When pages were truly used last.  The kernel has one accessed bit for what one entry maps, and clears it; here every
page has a time of its own, which reclaim's choices can be held against."""
from libc.stdlib cimport calloc, free
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *


cdef int age_start(machine_t *m) noexcept nogil:
    if m.age.stamp == NULL:
        m.age.stamp = <uint32_t *>calloc(m.nr_pages, sizeof(uint32_t))
        m.age.clock = 2
    return 0 if m.age.stamp != NULL else -FS_EHOSTMEM


cdef void age_deinit(machine_t *m) noexcept nogil:
    free(m.age.stamp)
    m.age.stamp = NULL


cdef void age_accessed(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, uint64_t stride) noexcept nogil:
    cdef uint64_t addr = start
    cdef uint64_t *pmd
    cdef uint64_t pte
    if stride < FS_PAGE_SIZE:
        stride = FS_PAGE_SIZE
        addr &= ~(FS_PAGE_SIZE - 1)
    while addr < end:
        pmd = pmd_offset(m, mm, addr)
        if pmd != NULL and pmd[0] and pmd_leaf(m, pmd[0]):
            if not pte_special(m, pmd[0]):
                m.age.stamp[pte_pfn(m, pmd[0]) + pte_index(addr)] = m.age.clock
        elif pmd != NULL and pmd[0]:
            pte = pte_offset(m, pmd[0], addr)[0]
            if pte_hw_present(m, pte) and not pte_special(m, pte):
                m.age.stamp[pte_pfn(m, pte)] = m.age.clock
        addr += stride
    m.age.used = True


cdef void age_reclaim(machine_t *m) noexcept nogil:
    m.age.clock += m.age.used
    m.age.used = False


cdef void age_reclaimed(machine_t *m, uint32_t head, const page_t *folio) noexcept nogil:
    """What the program freed lazily was not taken from it."""
    cdef uint32_t i
    if m.age.stamp == NULL:
        return
    for i in range(head, head + folio_nr_pages(folio)):
        m.age.hot_reclaimed += age_hot(m, i) and (folio.flags & (PG_anon | PG_swapbacked)) != PG_anon
        m.age.stamp[i] = 0
