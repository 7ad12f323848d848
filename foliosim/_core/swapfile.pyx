# cython: language_level=3
"""Slots of the swap device.  Follows mm/swapfile.c.

Clusters have as many slots as a huge folio has pages; each takes folios of one order.  Where the kernel keeps lists of
clusters, the first one that fits is taken.  Slot 0 is the header and never given out.
"""
from libc.stdlib cimport calloc, free
from foliosim._core.debug cimport BUG_ON
from foliosim._core.flags cimport *
from foliosim._core.content cimport content_forget

cdef int swap_init(machine_t *m, uint64_t nr_pages) noexcept nogil:
    cdef swap_t *swap = &m.swap
    cdef uint64_t clusters = (nr_pages + FS_HPAGE_PMD_NR) // FS_HPAGE_PMD_NR
    if nr_pages == 0:
        return 0
    swap.slots = <swap_slot_t *>calloc(clusters * FS_HPAGE_PMD_NR, sizeof(swap_slot_t))
    swap.clusters = <swap_cluster_t *>calloc(clusters, sizeof(swap_cluster_t))
    swap.of_page = <uint32_t *>calloc(m.nr_pages, sizeof(uint32_t))
    if swap.slots == NULL or swap.clusters == NULL or swap.of_page == NULL:
        swap_deinit(m)
        return -FS_EHOSTMEM
    swap.nr = <uint32_t>(nr_pages + 1)
    swap.used = swap.clusters[0].used = 1
    swap.slots[0].count = 1
    swap.next[0] = 1
    return 0


cdef void swap_deinit(machine_t *m) noexcept nogil:
    cdef uint32_t slot
    for slot in range(m.swap.nr):
        content_forget(&m.swap.slots[slot].content)
    free(m.swap.slots)
    free(m.swap.clusters)
    free(m.swap.of_page)
    m.swap.slots = NULL
    m.swap.clusters = NULL
    m.swap.of_page = NULL
    m.swap.nr = m.swap.used = 0


cdef inline uint32_t nr_clusters(const swap_t *swap) noexcept nogil:
    return (swap.nr + FS_HPAGE_PMD_NR - 1) // FS_HPAGE_PMD_NR


cdef inline bint slot_used(const swap_t *swap, uint32_t slot) noexcept nogil:
    return swap.slots[slot].count > 0 or swap.slots[slot].cache != 0


cdef uint32_t scan_cluster(swap_t *swap, uint32_t first, int order) noexcept nogil:
    """Free slots in one cluster, from `first` on; 0: none."""
    cdef uint32_t size = 1U << order, end = (first // FS_HPAGE_PMD_NR + 1) * FS_HPAGE_PMD_NR, at, i
    cdef swap_cluster_t *cluster = swap.clusters + first // FS_HPAGE_PMD_NR
    if end > swap.nr:
        end = swap.nr
    if cluster.used and cluster.order != order and order:
        return 0
    at = (first + size - 1) & ~(size - 1)
    while at + size <= end:
        i = 0
        while i < size and not slot_used(swap, at + i):
            i += 1
        if i == size:
            return at
        at += size
    return 0


cdef uint32_t find_slots(swap_t *swap, int order) noexcept nogil:
    """Where the last search of this order ended, then an empty cluster, then one of this order, then, for single
    pages, any.  Follows cluster_alloc_swap_entry."""
    cdef uint32_t at = scan_cluster(swap, swap.next[order], order) if swap.next[order] else 0, i
    cdef int round
    for round in range(3):
        for i in range(nr_clusters(swap)):
            if at:
                return at
            if round == 0 and swap.clusters[i].used or round == 1 and swap.clusters[i].order != order:
                continue
            if round == 2 and order or swap.clusters[i].used == FS_HPAGE_PMD_NR:
                continue
            at = scan_cluster(swap, i * FS_HPAGE_PMD_NR, order)
    return at


cdef uint32_t swap_alloc(machine_t *m, int order) noexcept nogil:
    cdef swap_t *swap = &m.swap
    cdef swap_cluster_t *cluster
    cdef uint32_t at, size = 1U << order
    if swap.nr - swap.used < size:
        return 0
    at = find_slots(swap, order)
    if not at:
        return 0
    cluster = swap.clusters + at // FS_HPAGE_PMD_NR
    if not cluster.used:
        cluster.order = order
    cluster.used += size
    swap.used += size
    swap.next[order] = at + size if (at + size) % FS_HPAGE_PMD_NR and at + size < swap.nr else 0
    return at


cdef bint swap_take(machine_t *m, uint32_t slot) noexcept nogil:
    cdef swap_t *swap = &m.swap
    cdef swap_cluster_t *cluster = swap.clusters + slot // FS_HPAGE_PMD_NR
    if not 0 < slot < swap.nr:
        return False
    if not slot_used(swap, slot):
        if not cluster.used:
            cluster.order = 0
        cluster.used += 1
        swap.used += 1
    swap.slots[slot].count += 1
    return True


cdef void swap_slot_free(machine_t *m, uint32_t slot) noexcept nogil:
    cdef swap_slot_t *s = m.swap.slots + slot
    BUG_ON(s.count or s.cache)
    content_forget(&s.content)
    s.shadow = 0
    m.swap.clusters[slot // FS_HPAGE_PMD_NR].used -= 1
    m.swap.used -= 1


cdef void swap_duplicate(machine_t *m, uint32_t slot) noexcept nogil:
    m.swap.slots[slot].count += 1


cdef void swap_put(machine_t *m, uint32_t slot) noexcept nogil:
    cdef swap_slot_t *s = m.swap.slots + slot
    BUG_ON(s.count <= 0)
    s.count -= 1
    if s.count == 0 and s.cache == 0:
        swap_slot_free(m, slot)
