# cython: language_level=3
"""Swap-in.  Follows do_swap_page in mm/memory.c for a synchronous device, which reads nothing ahead.

A page that one entry holds comes in without going through the swap cache, and its slot is free again.  One that
several entries hold goes into the swap cache, where the others find it.
"""
from libc.stdint cimport int64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.content cimport content_restore
from foliosim._core.folio cimport folio_alloc, folio_materialize
from foliosim._core.huge_memory cimport TVA_PAGEFAULT, thp_vma_allowable_orders, thp_vma_suitable_order
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.policy cimport SWAP_IN, SWAP_WHOLE, ask_swap_large, policy_is_linux
from foliosim._core.rmap cimport *
from foliosim._core.swap cimport *
from foliosim._core.swap_state cimport *
from foliosim._core.swapfile cimport *


# ---- from the device ----

cdef void workingset_refault(machine_t *m, page_t *folio, uint64_t shadow) noexcept nogil:
    """A page that comes back soon after it was reclaimed starts as active.  Follows workingset_refault."""
    cdef int64_t distance = m.memcg.nonresident_age - <int64_t>(shadow - 1)
    cdef int64_t size = m.lru[<int>LRU_ACTIVE_FILE].nr_pages + m.lru[<int>LRU_INACTIVE_FILE].nr_pages
    if not shadow:
        return
    count_vm_events(m, WORKINGSET_REFAULT_ANON, folio_nr_pages(folio))
    if swap_free_slots(m) > 0:
        size += m.lru[<int>LRU_ACTIVE_ANON].nr_pages
    if distance > size:
        return
    folio.flags |= PG_active
    m.memcg.nonresident_age += folio_nr_pages(folio)
    count_vm_events(m, WORKINGSET_ACTIVATE_ANON, folio_nr_pages(folio))


cdef bint slots_alike(machine_t *m, const uint64_t *pte, uint32_t slot, uint32_t nr) noexcept nogil:
    """Do nr entries hold slots in a row, alone, that are not in the swap cache?  Follows can_swapin_thp."""
    cdef uint32_t i
    cdef uint64_t bits = pte[0] ^ mk_swap(m, slot)
    for i in range(nr):
        if not pte_swap(m, pte[i]) or swp_slot(m, pte[i]) != slot + i or pte[i] ^ mk_swap(m, slot + i) != bits:
            return False
        if m.swap.slots[slot + i].cache or m.swap.slots[slot + i].count != 1:
            return False
    return True


cdef int swapin_order(machine_t *m, const vma_t *vma, const uint64_t *pte, uint64_t addr, uint32_t slot) noexcept nogil:
    """P29: the largest order that entries and slots around allow, if it may be more than a page."""
    cdef int order = FS_HPAGE_PMD_ORDER - 1
    cdef uint32_t at
    cdef uint32_t enabled
    if m.swap.slots[slot].count != 1:
        return 0
    enabled = thp_vma_allowable_orders(m, vma, TVA_PAGEFAULT, (1U << FS_HPAGE_PMD_ORDER) - 1)
    if not enabled and policy_is_linux(m, POINT_SWAP_LARGE):
        return 0
    while order > 1:
        at = pte_index(addr) & ((1U << order) - 1)
        if slot & ((1U << order) - 1) == at and thp_vma_suitable_order(vma, addr, order):
            if slots_alike(m, pte - at, slot - at, 1U << order):
                if ask_swap_large(m, SWAP_IN, order, (enabled >> order) & 1) == SWAP_WHOLE:
                    return order
        order -= 1
    return 0


cdef int read_slots(machine_t *m, uint32_t head, uint32_t slot, int order) noexcept nogil:
    """Follows swap_read_folio: the data moves into the folio."""
    cdef uint32_t i
    cdef bint zero = True
    folio_materialize(m, head)
    for i in range(1U << order):
        zero = zero and not m.swap.slots[slot + i].content.flags
        if content_restore(m, head + i, &m.swap.slots[slot + i].content) < 0:
            return -FS_EHOSTMEM
    count_vm_events(m, SWPIN_ZERO if zero else PSWPIN, 1LL << order)
    if not zero:
        mod_mthp_stat(m, order, MTHP_SWPIN, 1)
    return 0


cdef uint32_t swapin_folio(machine_t *m, uint32_t slot, int order, bint cache) noexcept nogil:
    """A folio with what the slots hold, waiting for the LRU; with one reference, and those of the swap cache."""
    cdef uint32_t head = folio_alloc(m, order)
    if head == FS_NO_PFN:
        return head
    page_of(m, head).flags |= PG_swapbacked
    if read_slots(m, head, slot, order) < 0:
        folio_put(m, head)
        return FS_NO_PFN
    workingset_refault(m, page_of(m, head), m.swap.slots[slot].shadow)
    if cache:
        add_to_swap_cache(m, head, slot)
    folio_add_lru(m, head)
    return head


# ---- mapping it ----

cdef bint should_try_to_free_swap(machine_t *m, page_t *folio, const vma_t *vma, uint32_t flags) noexcept nogil:
    if not folio_test_swapcache(folio):
        return False
    if vm_swap_full(m) or vma.flags & VM_LOCKED or folio.flags & PG_mlocked:
        return True
    return flags & FAULT_FLAG_WRITE and folio.refcount == 1 + <int32_t>folio_nr_pages(folio)


cdef uint64_t swapin_entry(machine_t *m, const vma_t *vma, uint64_t old, uint32_t pfn, bint exclusive,
                           uint32_t flags) noexcept nogil:
    """Writable at once if it is the process's own; dirty for a store."""
    cdef uint64_t entry = pte_mkyoung(m, mk_pte(m, pfn, vma.page_prot))
    cdef bint soft_dirty = pte_swp_soft_dirty(m, old)
    if soft_dirty and m.soft_dirty:
        entry = pte_mksoft_dirty(m, entry)
    if not exclusive or not vma.flags & VM_WRITE:
        return entry
    if m.soft_dirty and not vma.flags & VM_SOFTDIRTY and not soft_dirty:
        return entry
    entry = pte_mkwrite(m, entry)
    return pte_mkdirty(m, entry) if flags & FAULT_FLAG_WRITE else entry


cdef void map_swapped(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t pfn, uint32_t nr, bint fresh,
                      uint32_t flags) noexcept nogil:
    """nr entries of slots in a row get the pages from pfn on, of a folio on which one reference is held."""
    cdef uint32_t head = head_of(m, pfn), i, slot = swp_slot(m, pte[0])
    cdef page_t *folio = page_of(m, head)
    cdef bint exclusive = fresh or pte_swp_exclusive(m, pte[0])
    cdef uint64_t entry
    for i in range(nr):
        swap_put(m, slot + i)
    if should_try_to_free_swap(m, folio, vma, flags):
        folio_free_swap(m, head)
    exclusive = exclusive or folio.refcount == 1
    vma.mm.rss_anon += nr
    vma.mm.swapents -= nr
    entry = swapin_entry(m, vma, pte[0], pfn, exclusive, flags)
    folio.refcount += nr
    if not folio.flags & PG_anon:
        folio_add_swapin_rmap(m, head, vma, addr, exclusive)
    else:
        folio_add_rmap_ptes(m, pfn, nr, vma)
        if exclusive:
            pages_set_exclusive(m, pfn, nr)
    set_ptes(m, pte, entry, nr)
    folio_put(m, head)


cdef uint32_t cached_run(machine_t *m, const uint64_t *pte, const vma_t *vma, uint64_t addr,
                         uint32_t pfn) noexcept nogil:
    """A large folio of the swap cache: may all of it be mapped in one go?"""
    cdef uint32_t head = head_of(m, pfn), nr = folio_nr_pages(page_of(m, head)), at = pfn - head, i, slot
    cdef uint64_t bits
    if nr == 1 or pte_index(addr) < at or pte_index(addr) - at + nr > FS_PTRS_PER_PTE:
        return 0
    if addr - (<uint64_t>at << FS_PAGE_SHIFT) < vma.start:
        return 0
    if addr + (<uint64_t>(nr - at) << FS_PAGE_SHIFT) > vma.end:
        return 0
    slot = m.swap.of_page[head]
    bits = pte[0] ^ mk_swap(m, slot + at)
    for i in range(nr):
        if not pte_swap(m, pte[<int64_t>i - at]) or pte[<int64_t>i - at] ^ mk_swap(m, slot + i) != bits:
            return 0
    return nr


cdef int do_swap_page(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef uint32_t slot = swp_slot(m, pte[0]), pfn = swap_cache_get(m, slot), at = 0, nr = 1
    cdef bint fresh = False
    cdef int order = 0, result = 0
    if anon_vma_prepare(m, vma) < 0:
        return VM_FAULT_OOM
    if not pfn:
        order = swapin_order(m, vma, pte, addr, slot)
        at = pte_index(addr) & ((1U << order) - 1)
        fresh = m.swap.slots[slot].count == 1
        pfn = swapin_folio(m, slot - at, order, not fresh)
        if pfn == FS_NO_PFN and order:
            order = at = 0
            pfn = swapin_folio(m, slot, 0, not fresh)
        if pfn == FS_NO_PFN:
            return VM_FAULT_OOM
        count_vm_events(m, PGMAJFAULT, 1)
        result = VM_FAULT_MAJOR
        nr = 1U << order
    else:
        folio_of(m, pfn).refcount += 1
        if cached_run(m, pte, vma, addr, pfn):
            at = pfn - head_of(m, pfn)
            pfn -= at
            nr = folio_nr_pages(page_of(m, pfn))
    if flags & FAULT_FLAG_WRITE and not fresh and not folio_of(m, pfn).flags & PG_lru:
        lru_add_drain(m)
    map_swapped(m, vma, pte - at, addr - (<uint64_t>at << FS_PAGE_SHIFT), pfn, nr, fresh, flags)
    return result
