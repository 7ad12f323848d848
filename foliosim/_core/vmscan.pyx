# cython: language_level=3
"""Reclaim.  Follows mm/vmscan.c with two LRU lists, one node and one cgroup; swapping is done at once, as with zram.

What is taken from the tail of the inactive lists is swapped out, dropped, or put back; the active lists are aged when
the inactive ones are short.  Dirty files are left to the flusher, which runs at the end of a pass.  Shared memory
(shmem) is not swapped: it stays.  The kernel's guards against long waits and against other reclaimers have no part
here.
"""
from libc.math cimport sqrt
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.age cimport age_reclaim, age_reclaimed
from foliosim._core.content cimport content_is_zero
from foliosim._core.ext4 cimport ext4_evict_folio
from foliosim._core.folio_referenced cimport folio_referenced, referenced_t
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.mapping cimport filemap_remove_folio, shmem_mapping
from foliosim._core.memcontrol cimport mem_cgroup_margin
from foliosim._core.mlock cimport lru_add_drain, mlock_folio
from foliosim._core.page_writeback cimport filemap_write_and_wait_range
from foliosim._core.policy cimport *
from foliosim._core.shrinker cimport shrink_deferred
from foliosim._core.split_folio cimport folio_expected_ref_count, split_folio_held
from foliosim._core.swap cimport *
from foliosim._core.swap_state cimport delete_from_swap_cache, folio_alloc_swap, folio_free_swap
from foliosim._core.swapfile cimport swap_free_slots, vm_swap_full
from foliosim._core.try_to_unmap cimport try_to_unmap

cdef enum outcome_e:
    KEEP                     # back to the inactive list
    ACTIVATE                 # back to the active list
    FREED
    AGAIN                    # it was split: its pieces are on the list

cdef enum reference_e:       # folio_references
    FOLIOREF_RECLAIM
    FOLIOREF_RECLAIM_CLEAN
    FOLIOREF_KEEP
    FOLIOREF_ACTIVATE
    FOLIOREF_SPLIT           # P27: parts of it were used

cdef enum:
    DEF_PRIORITY = 12
    SWAP_CLUSTER_MAX = 32
    MAX_RECLAIM_RETRIES = 16
    PAGE_ALLOC_COSTLY_ORDER = 3
    MAX_SWAPPINESS = 200

cdef struct scan_control_t:
    int64_t nr_to_reclaim, nr_reclaimed
    int priority
    bint force_deactivate, skipped_deactivate
    bint dirty               # a pass met dirty files: the flusher is woken


# ---- lists ----

cdef void folio_list_init(folio_list_t *folios) noexcept nogil:
    folios.first = folios.last = FS_NO_PFN


cdef void folio_list_append(machine_t *m, folio_list_t *folios, uint32_t head) noexcept nogil:
    page_of(m, head).next = FS_NO_PFN
    if folios.first == FS_NO_PFN:
        folios.first = head
    else:
        page_of(m, folios.last).next = head
    folios.last = head


cdef void list_push(machine_t *m, folio_list_t *folios, uint32_t head) noexcept nogil:
    """In front: it is the next to be looked at."""
    page_of(m, head).next = folios.first
    if folios.first == FS_NO_PFN:
        folios.last = head
    folios.first = head


cdef uint32_t list_pop(machine_t *m, folio_list_t *folios) noexcept nogil:
    cdef uint32_t head = folios.first
    folios.first = page_of(m, head).next
    return head


cdef bint folio_isolate_lru(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if not folio.flags & PG_lru:
        return False
    folio.refcount += 1
    lruvec_del_folio(m, head, folio)
    folio.flags &= ~PG_lru
    return True


cdef void folio_putback_lru(machine_t *m, uint32_t head) noexcept nogil:
    folio_add_lru(m, head)
    folio_put(m, head)


# ---- was it used? ----

cdef int folio_check_references(machine_t *m, uint32_t head, page_t *folio, int64_t *locked) noexcept nogil:
    """Follows folio_check_references.  P27 says what the pages' accessed bits say of the folio.

    `*locked`: pages that are in locked VMAs; if that is all of them the folio is mlocked by now.
    """
    cdef referenced_t found
    cdef bint linux = not folio_test_large(folio) or policy_is_linux(m, POINT_AGE_UNIT), file, referenced
    cdef int age
    folio_referenced(m, head, linux, &found)
    locked[0] = found.locked
    if found.vm_flags & VM_LOCKED:
        return FOLIOREF_ACTIVATE
    if not linux:
        age = ask_age_unit(m, folio_order(folio), found.young, found.mapped)
        if age == AGE_SPLIT and folio_expected_ref_count(folio) == folio.refcount - 1:
            return FOLIOREF_SPLIT
        folio_referenced(m, head, True, &found)
        if age == AGE_OLD:
            found.vmas = 0
    referenced = (folio.flags & PG_referenced) != 0
    file = not folio.flags & PG_swapbacked
    folio.flags &= ~PG_referenced
    if found.vmas:
        folio.flags |= PG_referenced
        if referenced or found.vmas > 1 or (found.vm_flags & VM_EXEC and file):
            return FOLIOREF_ACTIVATE
        return FOLIOREF_KEEP
    return FOLIOREF_RECLAIM_CLEAN if referenced and file else FOLIOREF_RECLAIM


# ---- one folio ----

cdef bint split_folio_to_list(machine_t *m, uint32_t head, folio_list_t *folios, int reason) noexcept nogil:
    """Split an isolated folio (P24), for a split_e reason; pieces behind the first one go on the list, to be next."""
    cdef uint32_t nr = folio_nr_pages(page_of(m, head)), piece
    if split_folio_held(m, head, head, reason) < 0:
        return False
    piece = head + folio_nr_pages(page_of(m, head))
    while piece < head + nr:
        list_push(m, folios, piece)
        piece += folio_nr_pages(page_of(m, piece))
    return True


cdef int partial_evict(machine_t *m, uint32_t head, page_t *folio, int64_t locked, folio_list_t *folios) noexcept nogil:
    """P03, for a folio of which locked VMAs map some pages; FREED: go on with it, as 6.18 does: what is mapped
    before the first locked VMA becomes swap entries, and the folio stays whole, in the swap cache."""
    cdef int answer = ask_partial_evict(m, folio_order(folio), locked)
    if answer == PARTIAL_EVICT_SPLIT and folio_expected_ref_count(folio) == folio.refcount - 1:
        return AGAIN if split_folio_to_list(m, head, folios, SPLIT_RECLAIM) else ACTIVATE
    if answer == PARTIAL_EVICT_WAIT:
        mlock_folio(m, head)
    return KEEP if answer != PARTIAL_EVICT_UNMAP else FREED


cdef int alloc_swap(machine_t *m, uint32_t head, page_t *folio, folio_list_t *folios) noexcept nogil:
    """A folio of anonymous memory gets its slots; FREED: it has them.  Large ones whole if the device has room for
    that, else in pieces; partly unmapped ones are split at once (P29: all of them)."""
    cdef int order = folio_order(folio)
    if folio_maybe_dma_pinned(folio):
        return KEEP
    if order and folio_expected_ref_count(folio) != folio.refcount - 1:
        return ACTIVATE
    if order and (folio.flags & (PG_partially_mapped | PG_deferred)) == PG_partially_mapped | PG_deferred:
        if not split_folio_to_list(m, head, folios, SPLIT_RECLAIM):
            return ACTIVATE
    elif order and m.swap.nr and ask_swap_large(m, SWAP_OUT, order, folio_entire_mapcount(folio) != 0) == SWAP_ORDER0:
        if not split_folio_to_list(m, head, folios, SPLIT_SWAP):
            return ACTIVATE
    if folio_alloc_swap(m, head):
        return FREED
    if not folio_test_large(folio) or not split_folio_to_list(m, head, folios, SPLIT_SWAP):
        return ACTIVATE
    if order == FS_HPAGE_PMD_ORDER:
        count_vm_events(m, THP_SWPOUT_FALLBACK, 1)
    mod_mthp_stat(m, order, MTHP_SWPOUT_FALLBACK, 1)
    return FREED if folio_alloc_swap(m, head) else ACTIVATE


cdef void swap_writeout(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows swap_writeout: pages of zeros are noted, not written.  The data moves when the page goes."""
    cdef int64_t nr = folio_nr_pages(folio)
    cdef uint32_t i
    cdef bint zero = True
    for i in range(<uint32_t>nr):
        if not content_is_zero(m, head + i):
            zero = False
            break
    folio.flags &= ~PG_dirty
    if zero:
        count_vm_events(m, SWPOUT_ZERO, nr)
        return
    count_vm_events(m, PSWPOUT, nr)
    if folio_order(folio) == FS_HPAGE_PMD_ORDER:
        count_vm_events(m, THP_SWPOUT, 1)
    mod_mthp_stat(m, folio_order(folio), MTHP_SWPOUT, 1)


cdef bint remove_mapping(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """Follows __remove_mapping: a clean folio that nobody else holds leaves the page cache, or the swap cache."""
    cdef mapping_t *mapping
    if folio.refcount != 1 + <int32_t>folio_nr_pages(folio):
        return False
    m.memcg.nonresident_age += folio_nr_pages(folio)
    if folio_test_swapcache(folio):
        delete_from_swap_cache(m, head, True)
        return True
    mapping = <mapping_t *>m.mappings[folio_mapping_id(folio)]
    if not shmem_mapping(mapping):
        ext4_evict_folio(m, mapping, head)
    filemap_remove_folio(m, mapping, head)
    return True


cdef int drop_unmapped(machine_t *m, uint32_t head, page_t *folio, int references, scan_control_t *sc) noexcept nogil:
    """A folio that is not mapped any more: free it, or say why not."""
    cdef int32_t nr = folio_nr_pages(folio)
    if folio.flags & PG_anon and not folio.flags & PG_swapbacked:
        if folio.refcount != 1:
            return KEEP
        count_vm_events(m, PGLAZYFREED, nr)
        return FREED
    if not folio_test_swapcache(folio) and (folio.flags & PG_anon or not folio_mapping_id(folio)):
        return KEEP
    if folio.flags & PG_dirty and folio_test_swapcache(folio):
        swap_writeout(m, head, folio)
    elif folio.flags & PG_dirty:
        if not folio.flags & PG_swapbacked:
            folio.flags |= PG_readahead     # PG_reclaim, the same bit
            sc.dirty = True
        return KEEP if folio.flags & PG_swapbacked and folio.refcount != 1 + nr else ACTIVATE
    return FREED if remove_mapping(m, head, folio) else KEEP


cdef int shrink_folio(machine_t *m, uint32_t head, folio_list_t *folios, bint ignore_references,
                      scan_control_t *sc) noexcept nogil:
    """Follows the body of shrink_folio_list's loop."""
    cdef page_t *folio = page_of(m, head)
    cdef int references = FOLIOREF_RECLAIM, outcome = FREED
    cdef int64_t locked = 0
    if folio.flags & PG_locked:
        return KEEP
    if not folio_evictable(folio):
        return ACTIVATE
    if not ignore_references:
        references = folio_check_references(m, head, folio, &locked)
        if references == FOLIOREF_SPLIT:
            if split_folio_to_list(m, head, folios, SPLIT_RECLAIM):
                return AGAIN
            references = FOLIOREF_KEEP
        if references == FOLIOREF_ACTIVATE or references == FOLIOREF_KEEP:
            return ACTIVATE if references == FOLIOREF_ACTIVATE else KEEP
    if folio.flags & PG_anon and folio.flags & PG_swapbacked and not folio_test_swapcache(folio):
        if locked and folio_test_large(folio):
            outcome = partial_evict(m, head, folio, locked, folios)
        if outcome == FREED:
            outcome = alloc_swap(m, head, folio, folios)
        if outcome != FREED:
            return outcome
    if folio_mapped(folio) and not try_to_unmap(m, head, False):
        return ACTIVATE
    if folio_maybe_dma_pinned(folio):
        return ACTIVATE
    return drop_unmapped(m, head, folio, references, sc)


cdef void shrink_folio_list(machine_t *m, folio_list_t *folios, folio_list_t *kept, bint ignore_references,
                            scan_control_t *sc) noexcept nogil:
    """Reclaim what can be; the others, with their reference, are on the list `kept`."""
    cdef uint32_t head
    cdef page_t *folio
    cdef int outcome
    cdef int64_t nr
    folio_list_init(kept)
    while folios.first != FS_NO_PFN:
        head = list_pop(m, folios)
        outcome = shrink_folio(m, head, folios, ignore_references, sc)
        folio = page_of(m, head)
        nr = folio_nr_pages(folio)
        if outcome == AGAIN:
            list_push(m, folios, head)
            continue
        if outcome == FREED:
            if not ignore_references:
                age_reclaimed(m, head, folio)
            sc.nr_reclaimed += nr
            folio_put(m, head)
            continue
        if outcome == ACTIVATE:
            if folio_test_swapcache(folio) and (vm_swap_full(m) or folio.flags & PG_mlocked):
                folio_free_swap(m, head)
            if not folio.flags & PG_mlocked:
                folio.flags |= PG_active
                count_vm_events(m, PGACTIVATE, nr)
        folio_list_append(m, kept, head)


# ---- chosen folios ----

cdef void reclaim_pages(machine_t *m, folio_list_t *folios) noexcept nogil:
    cdef folio_list_t kept
    cdef scan_control_t sc
    cdef uint32_t head = folios.first
    while head != FS_NO_PFN:
        page_of(m, head).flags &= ~PG_active
        head = page_of(m, head).next
    shrink_folio_list(m, folios, &kept, True, &sc)
    while kept.first != FS_NO_PFN:
        folio_putback_lru(m, list_pop(m, &kept))


# ---- lists of folios under pressure ----

cdef int64_t isolate_lru_folios(machine_t *m, int lru, int64_t nr_to_scan, folio_list_t *folios,
                                int64_t *scanned) noexcept nogil:
    """The oldest folios of a list; pages taken."""
    cdef uint32_t head
    cdef int64_t taken = 0, nr
    folio_list_init(folios)
    while m.lru[lru].last != FS_NO_PFN and taken < nr_to_scan:
        head = m.lru[lru].last
        nr = folio_nr_pages(page_of(m, head))
        folio_isolate_lru(m, head)
        folio_list_append(m, folios, head)
        taken += nr
    scanned[0] = taken
    return taken


cdef void move_folios_to_lru(machine_t *m, folio_list_t *folios) noexcept nogil:
    """Put isolated folios on the lists that their flags name, without a batch."""
    cdef uint32_t head
    cdef page_t *folio
    while folios.first != FS_NO_PFN:
        head = list_pop(m, folios)
        folio = page_of(m, head)
        if not folio_evictable(folio):
            folio_putback_lru(m, head)
            continue
        lruvec_add_folio(m, head, folio)
        folio.flags |= PG_lru
        if folio.flags & PG_active:
            m.memcg.nonresident_age += folio_nr_pages(folio)
        folio_put(m, head)


cdef void lru_note_cost(machine_t *m, bint file, int64_t cost) noexcept nogil:
    """What keeping the balance between files and anonymous memory goes by; old costs fade."""
    cdef memcg_t *memcg = &m.memcg
    cdef int64_t size = 0
    cdef int lru
    if file:
        memcg.file_cost += cost
    else:
        memcg.anon_cost += cost
    for lru in range(LRU_UNEVICTABLE):
        size += m.lru[lru].nr_pages
    if memcg.file_cost + memcg.anon_cost > size / 4:
        memcg.file_cost /= 2
        memcg.anon_cost /= 2


cdef void wakeup_flusher(machine_t *m, const folio_list_t *folios) noexcept nogil:
    """Dirty files among the folios are written, all of each file, as the flusher thread does."""
    cdef uint32_t head = folios.first
    cdef page_t *folio
    while head != FS_NO_PFN:
        folio = page_of(m, head)
        if not folio.flags & (PG_anon | PG_swapbacked) and folio.flags & PG_dirty and folio_mapping_id(folio):
            filemap_write_and_wait_range(m, <mapping_t *>m.mappings[folio_mapping_id(folio)], 0, ~<uint64_t>0)
            folio.flags &= ~PG_active
            count_vm_events(m, PGROTATED, 1)
        head = folio.next


cdef void shrink_inactive_list(machine_t *m, int lru, int64_t nr_to_scan, scan_control_t *sc) noexcept nogil:
    cdef folio_list_t folios, kept
    cdef bint file = lru >= LRU_INACTIVE_FILE
    cdef int64_t scanned = 0, before, freed
    lru_add_drain(m)
    if isolate_lru_folios(m, lru, nr_to_scan, &folios, &scanned) == 0:
        return
    count_vm_events(m, PGSCAN_DIRECT, scanned)
    count_vm_events(m, PGSCAN_FILE if file else PGSCAN_ANON, scanned)
    before = sc.nr_reclaimed
    sc.dirty = False
    shrink_folio_list(m, &folios, &kept, False, sc)
    freed = sc.nr_reclaimed - before
    if sc.dirty:
        wakeup_flusher(m, &kept)
    move_folios_to_lru(m, &kept)
    count_vm_events(m, PGSTEAL_DIRECT, freed)
    count_vm_events(m, PGSTEAL_FILE if file else PGSTEAL_ANON, freed)
    lru_note_cost(m, file, scanned - freed)


cdef void shrink_active_list(machine_t *m, int lru, int64_t nr_to_scan) noexcept nogil:
    cdef folio_list_t folios, active, inactive
    cdef referenced_t found
    cdef uint32_t head
    cdef page_t *folio
    cdef int64_t scanned = 0, rotated = 0
    lru_add_drain(m)
    isolate_lru_folios(m, lru, nr_to_scan, &folios, &scanned)
    count_vm_events(m, PGREFILL, scanned)
    folio_list_init(&active)
    folio_list_init(&inactive)
    while folios.first != FS_NO_PFN:
        head = list_pop(m, &folios)
        folio = page_of(m, head)
        if not folio_evictable(folio):
            folio_putback_lru(m, head)
            continue
        folio_referenced(m, head, True, &found)
        if found.vmas and found.vm_flags & VM_EXEC and not folio.flags & PG_swapbacked:
            rotated += folio_nr_pages(folio)
            folio_list_append(m, &active, head)
            continue
        folio.flags &= ~PG_active
        count_vm_events(m, PGDEACTIVATE, folio_nr_pages(folio))
        folio_list_append(m, &inactive, head)
    move_folios_to_lru(m, &active)
    move_folios_to_lru(m, &inactive)
    if rotated:
        lru_note_cost(m, lru >= LRU_INACTIVE_FILE, rotated)


cdef bint inactive_is_low(const machine_t *m, int inactive_lru) noexcept nogil:
    """Follows inactive_is_low: beyond 1 GiB the inactive list may be the smaller one."""
    cdef int64_t inactive = m.lru[inactive_lru].nr_pages, active = m.lru[inactive_lru + 1].nr_pages
    cdef int64_t gb = (inactive + active) >> (30 - FS_PAGE_SHIFT)
    cdef int64_t ratio = <int64_t>sqrt(<double>(10 * gb)) if gb else 1
    return inactive * ratio < active


# ---- how much of which list ----

cdef void get_scan_count(const machine_t *m, const scan_control_t *sc, int64_t *nr) noexcept nogil:
    """Pages to scan of each list.  Follows get_scan_count: files only without swap; both alike in the last round."""
    cdef const memcg_t *memcg = &m.memcg
    cdef int64_t total = memcg.anon_cost + memcg.file_cost
    cdef int64_t anon_cost = total + memcg.anon_cost, file_cost = total + memcg.file_cost
    cdef int64_t fraction[2]
    cdef int64_t inactive_file = m.lru[<int>LRU_INACTIVE_FILE].nr_pages
    cdef bint only_file = swap_free_slots(m) <= 0 or not memcg.swappiness, equal = sc.priority == 0
    cdef int lru
    if inactive_file >> sc.priority and not inactive_is_low(m, LRU_INACTIVE_FILE) and not sc.force_deactivate:
        only_file = only_file or not equal
    total = anon_cost + file_cost
    fraction[0] = memcg.swappiness * (total + 1) / (anon_cost + 1)
    fraction[1] = (MAX_SWAPPINESS - memcg.swappiness) * (total + 1) / (file_cost + 1)
    for lru in range(LRU_UNEVICTABLE):
        nr[lru] = m.lru[lru].nr_pages >> sc.priority
        if only_file:
            nr[lru] = nr[lru] if lru >= LRU_INACTIVE_FILE else 0
        elif not equal:
            nr[lru] = nr[lru] * fraction[lru >= LRU_INACTIVE_FILE] / (fraction[0] + fraction[1])


cdef inline bint is_active_lru(int lru) noexcept nogil:
    return lru == LRU_ACTIVE_ANON or lru == LRU_ACTIVE_FILE


cdef void shrink_list(machine_t *m, int lru, int64_t nr, scan_control_t *sc) noexcept nogil:
    if not is_active_lru(lru):
        shrink_inactive_list(m, lru, nr, sc)
    elif sc.force_deactivate or inactive_is_low(m, lru - 1):
        shrink_active_list(m, lru, nr)
    else:
        sc.skipped_deactivate = True


cdef void shrink_lruvec(machine_t *m, scan_control_t *sc) noexcept nogil:
    """Follows shrink_lruvec: a portion of each list in turn, until enough was reclaimed."""
    cdef int64_t nr[5]
    cdef int64_t part
    cdef int lru
    get_scan_count(m, sc, nr)
    while (nr[<int>LRU_INACTIVE_ANON] or nr[<int>LRU_ACTIVE_FILE] or nr[<int>LRU_INACTIVE_FILE]) \
            and sc.nr_reclaimed < sc.nr_to_reclaim and not fatal_signal_pending(m):
        for lru in range(LRU_UNEVICTABLE):
            part = nr[lru] if nr[lru] < SWAP_CLUSTER_MAX else SWAP_CLUSTER_MAX
            nr[lru] -= part
            if part:
                shrink_list(m, lru, part, sc)
    if swap_free_slots(m) > 0 and inactive_is_low(m, LRU_INACTIVE_ANON):
        shrink_active_list(m, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX)


cdef int64_t do_try_to_free_pages(machine_t *m, scan_control_t *sc) noexcept nogil:
    """Ever larger parts of the lists, and the shrinkers, until enough is free.  Active folios that were spared are
    deactivated in a second round, if the first gave nothing."""
    cdef int64_t before
    cdef int round
    for round in range(2):
        sc.priority = DEF_PRIORITY
        while sc.priority >= 0 and sc.nr_reclaimed < sc.nr_to_reclaim:
            before = m.free_pages + sc.nr_reclaimed
            shrink_lruvec(m, sc)
            shrink_slab(m, sc)
            sc.priority -= 1
        if sc.nr_reclaimed or not sc.skipped_deactivate or sc.force_deactivate:
            break
        sc.force_deactivate = True
    return sc.nr_reclaimed


cdef void shrink_slab(machine_t *m, scan_control_t *sc) noexcept nogil:
    """The deferred split queue is the only thing to shrink; what it frees counts as reclaimed."""
    cdef int64_t before = m.free_pages
    shrink_deferred(m, sc.priority)
    sc.nr_reclaimed += m.free_pages - before


cdef int64_t try_to_free_mem_cgroup_pages(machine_t *m, int64_t nr) noexcept nogil:
    cdef scan_control_t sc
    sc.nr_to_reclaim = nr if nr > SWAP_CLUSTER_MAX else SWAP_CLUSTER_MAX
    sc.nr_reclaimed = 0
    sc.force_deactivate = sc.skipped_deactivate = sc.dirty = False
    count_vm_events(m, ALLOCSTALL, 1)
    age_reclaim(m)
    return do_try_to_free_pages(m, &sc)


cdef bint try_charge(machine_t *m, int64_t nr) noexcept nogil:
    """Follows try_charge_memcg: a costly request gives up sooner, and is no reason to kill anybody."""
    cdef int retries = MAX_RECLAIM_RETRIES
    cdef int64_t reclaimed
    while mem_cgroup_margin(m) < nr:
        m.memcg.hit = True
        reclaimed = try_to_free_mem_cgroup_pages(m, nr)
        if reclaimed and nr <= 1 << PAGE_ALLOC_COSTLY_ORDER:
            continue
        if retries == 0:
            break
        retries -= 1
    if mem_cgroup_margin(m) >= nr:
        return True
    if nr <= 1 << PAGE_ALLOC_COSTLY_ORDER:
        m.memcg.oom = True
        count_vm_events(m, MEMCG_OOM, 1)
    return False
