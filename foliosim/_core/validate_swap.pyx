# cython: language_level=3
"""Each slot against the page tables that hold it and the page of the swap cache that belongs to it."""
from libc.stdint cimport int64_t, uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *


cdef int check_slot(tally_t *t, uint32_t slot, list out) except -1:
    """1 if it is in use."""
    cdef const swap_slot_t *s = t.m.swap.slots + slot
    compare(out, "slot", slot, "count", s.count, t.swaps[slot])
    if not s.cache:
        return s.count > 0
    if s.cache >= t.nr or t.m.swap.of_page[s.cache] != slot or not folio_test_swapcache(folio_of(t.m, s.cache)):
        compare(out, "slot", slot, "swap cache", s.cache, 0)
    if s.content.flags or s.content.bytes != NULL:
        compare(out, "slot", slot, "content", s.content.flags, 0)
    return 1


cdef int validate_swap(tally_t *t, list out) except -1:
    cdef const swap_t *swap = &t.m.swap
    cdef int64_t used = 0, total = 1
    cdef uint32_t slot
    if not swap.nr:
        return 0
    for slot in range(1, swap.nr):
        used += check_slot(t, slot, out)
        if slot % FS_HPAGE_PMD_NR == FS_HPAGE_PMD_NR - 1 or slot == swap.nr - 1:
            if slot < FS_HPAGE_PMD_NR:
                used += 1                # the header
                total -= 1
            compare(out, "cluster", slot // FS_HPAGE_PMD_NR, "used",
                    swap.clusters[slot // FS_HPAGE_PMD_NR].used, used)
            total += used
            used = 0
    return compare(out, "machine", 0, "swap used", swap.used, total)
