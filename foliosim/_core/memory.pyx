# cython: language_level=3
"""Page faults of anonymous memory, copy on write.  Follows mm/memory.c; faults in files are in filemap.pyx."""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.content cimport content_copy
from foliosim._core.copy_pages cimport copy_window, may_copy
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.filemap cimport do_fault, do_wp_shared
from foliosim._core.folio cimport folio_alloc, folio_init
from foliosim._core.held cimport page_maybe_dma_pinned
from foliosim._core.huge_memory cimport *
from foliosim._core.ledger cimport count_copy
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.memcontrol cimport MEMCG_TABLES, mem_cgroup_full, mem_cgroup_margin
from foliosim._core.mlock cimport folio_add_lru_vma, lru_add_drain
from foliosim._core.page_alloc cimport alloc_run
from foliosim._core.pfnmap cimport do_device_fault
from foliosim._core.pgalloc cimport pmd_alloc, pte_alloc
from foliosim._core.rmap cimport *
from foliosim._core.policy cimport *
from foliosim._core.swap cimport folio_put, lru_add_chain, lru_add_drain_cpu
from foliosim._core.swap_fault cimport do_swap_page
from foliosim._core.swap_state cimport folio_free_swap, free_swap_cache
from foliosim._core.vmscan cimport mem_cgroup_charge

cdef enum:
    PAGE_ALLOC_COSTLY_ORDER = 3
    FAULT_FLAG_NO_HUGE = 0x10000     # ours: there was no memory for a huge folio


# ---- anonymous memory: first touch ----

cdef inline uint64_t anon_entry(machine_t *m, const vma_t *vma, uint32_t pfn) noexcept nogil:
    cdef uint64_t entry = pte_mkyoung(m, mk_pte(m, pfn, vma.page_prot))
    return pte_mkwrite(m, pte_mkdirty(m, entry)) if vma.flags & VM_WRITE else entry


cdef uint32_t anon_fault_orders(machine_t *m, const vma_t *vma) noexcept nogil:
    return thp_vma_allowable_orders(m, vma, TVA_PAGEFAULT, (1U << FS_HPAGE_PMD_ORDER) - 1)


cdef int highest_order(uint32_t orders) noexcept nogil:
    cdef int order = 0
    while orders > 1:
        orders >>= 1
        order += 1
    return order


cdef bint pte_range_none(machine_t *m, const uint64_t *pte, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if not pte_none(m, pte[i]):
            return False
    return True


cdef uint32_t orders_after(machine_t *m, uint32_t orders, int order) noexcept nogil:
    """P15: of the lower orders that are enabled, those to try when there is no memory for this one."""
    cdef int answer = ask_fault_fallback(m, order)
    if answer == FALLBACK_NEXT_LOWER:
        return orders
    return 1U << PAGE_ALLOC_COSTLY_ORDER if answer == FALLBACK_COSTLY and order > PAGE_ALLOC_COSTLY_ORDER else 0


cdef uint32_t alloc_anon_folio(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, bint no_huge) noexcept nogil:
    """Follows alloc_anon_folio: the largest enabled order whose block fits the VMA and is empty, then smaller ones.

    no_huge: a huge folio was tried for, and there was no memory.
    """
    cdef uint32_t orders = anon_fault_orders(m, vma), head
    cdef uint64_t *table = table_of(m, table_pfn(m, pmd[0]))
    cdef int order
    if no_huge:
        orders = orders_after(m, orders, FS_HPAGE_PMD_ORDER)
    while orders:
        order = highest_order(orders)
        if thp_vma_suitable_order(vma, addr, order):
            if pte_range_none(m, table + (pte_index(addr) & ~((1U << order) - 1)), 1U << order):
                break
        orders &= ~(1U << order)
    while orders:
        order = highest_order(orders)
        head = folio_alloc(m, order)
        if head != FS_NO_PFN:
            return head
        mod_mthp_stat(m, order, ANON_FAULT_FALLBACK, 1)
        if mem_cgroup_full(m, 1LL << order):
            mod_mthp_stat(m, order, ANON_FAULT_FALLBACK_CHARGE, 1)
        orders = orders_after(m, orders & ~(1U << order), order)
    return folio_alloc(m, 0)


cdef int do_anonymous_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef uint32_t head, nr
    cdef uint64_t entry
    cdef uint64_t *pte
    cdef page_t *folio
    if pte_alloc(m, vma.mm, pmd) < 0:
        return VM_FAULT_OOM
    if not flags & FAULT_FLAG_WRITE:
        set_pte(m, pte_offset(m, pmd[0], addr), pte_mkspecial(m, mk_pte(m, m.zero_pfn, vma.page_prot)))
        count_op(m, OP_PTE_SET, 1)
        count_fault(m, FAULT_ZERO)
        return 0
    if anon_vma_prepare(m, vma) < 0:
        return VM_FAULT_OOM
    head = alloc_anon_folio(m, vma, pmd, addr, (flags & FAULT_FLAG_NO_HUGE) != 0)
    if head == FS_NO_PFN:
        return VM_FAULT_OOM
    folio = page_of(m, head)
    nr = folio_nr_pages(folio)
    addr &= ~(FS_PAGE_SIZE * nr - 1)
    pte = pte_offset(m, pmd[0], addr)
    entry = anon_entry(m, vma, head)
    folio.refcount += nr - 1
    vma.mm.rss_anon += nr
    mod_mthp_stat(m, folio_order(folio), ANON_FAULT_ALLOC, 1)
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    set_ptes(m, pte, entry, nr)
    m.ledger.zero_bytes += FS_PAGE_SIZE * nr
    count_op(m, OP_PTE_SET, nr)
    count_op(m, OP_REF, 1)
    if nr > 1:
        deferred_split_offer(m, head, DEFERRED_NEW)
    return 0


cdef uint32_t do_anonymous_run(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t n) noexcept nogil:
    """What n write faults in a row do when each gets a single page, without going through the LRU batch.  Frames
    ascend, so the last one becomes the newest of the list."""
    cdef uint32_t pfn = 0, got, i = 0, k, j, done = 0
    cdef uint64_t entry, index
    cdef page_t template
    cdef page_t *page
    if m.pressure and mem_cgroup_margin(m) < n:
        n = <uint32_t>mem_cgroup_margin(m) if mem_cgroup_margin(m) > 0 else 0
    if n == 0 or anon_vma_prepare(m, vma) < 0:
        return 0
    lru_add_drain_cpu(m)
    template.flags = PG_KIND_HEAD | PG_uptodate | PG_swapbacked | PG_anon | PG_anon_exclusive | PG_lru
    template.mapcount = template.refcount = 1
    while done < n:
        got = alloc_run(m, n - done, &pfn)
        if got == 0:
            break
        entry = anon_entry(m, vma, pfn)
        index = linear_page_index(vma, addr)
        i = 0
        while i < got:
            page = page_of(m, pfn + i)
            k = page_contiguous(pfn + i, got - i)
            folio_set_mapping(&template, vma.anon_vma.id, index + i)
            template.next = pfn + i - 1
            template.prev = pfn + i + 1
            for j in range(k):
                page[j] = template
                template.next += 1
                template.prev += 1
                template.index += 1
                store_entry(m, pte + i + j, entry)
                entry += pte_advance(m)
            i += k
        lru_add_chain(m, pfn, pfn + got - 1, got)
        pte += got
        addr += <uint64_t>got << FS_PAGE_SHIFT
        done += got
    vma.mm.rss_anon += done
    count_run(m, done)
    return done


cdef void count_run(machine_t *m, uint32_t n) noexcept nogil:
    m.ledger.faults[<int>FAULT_ALL] += n
    m.ledger.zero_bytes += FS_PAGE_SIZE * n
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, n)
    count_op(m, OP_RMAP_CALL, n)
    count_op(m, OP_MAPCOUNT, n)


# ---- copy on write ----

cdef inline bint wp_can_reuse_anon_folio(machine_t *m, uint32_t pfn, const vma_t *vma) noexcept nogil:
    """Follows wp_can_reuse_anon_folio, P07.  No policy may take a page from under a pin."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef bint exclusive = (page_record(m, folio, pfn).flags & PG_anon_exclusive) != 0
    if exclusive and (policy_is_linux(m, POINT_COW_REUSE) or page_maybe_dma_pinned(m, folio, pfn)):
        return True
    if not folio_test_large(folio) and folio.refcount <= 3 and not folio.flags & PG_lru:
        lru_add_drain(m)
    if folio.flags & PG_locked and not folio_test_large(folio):
        return False     # Linux only tries to lock it
    if folio_test_swapcache(folio) and (folio_test_large(folio) or folio.refcount == 2):
        folio_free_swap(m, head_of(m, pfn))
    if not ask_cow_reuse(m, folio, pfn, False):
        return False
    if folio.refcount == 1 and not folio_test_large(folio):
        folio_move_anon_rmap(folio, vma)
    return True


cdef void wp_page_reuse(machine_t *m, const vma_t *vma, uint64_t *pte) noexcept nogil:
    cdef uint64_t entry = pte_mkdirty(m, pte_mkyoung(m, ptep_get(m, pte)))
    ptep_set_access_flags(m, pte, pte_mkwrite(m, entry) if vma.flags & VM_WRITE else entry)
    count_vm_events(m, PGREUSE, 1)
    count_op(m, OP_PTE_SET, 1)
    count_fault(m, FAULT_REUSE)


cdef void count_pte_copied(machine_t *m, uint32_t nr, bint unshare) noexcept nogil:
    """A fault gave nr entries new pages: the old ones were cleared, flushed, and their pages let go."""
    count_fault(m, FAULT_UNSHARE if unshare else FAULT_COW)
    count_op(m, OP_PTE_SET, nr)
    count_op(m, OP_REF, 1)
    count_op(m, OP_TLB_FLUSH, 1)


cdef int wp_page_copy(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t flags) noexcept nogil:
    """Follows wp_page_copy: a new single page, whatever the old one belongs to."""
    cdef uint64_t old = pte[0], entry
    cdef bint zero = pte_special(m, old), unshare = (flags & FAULT_FLAG_UNSHARE) != 0
    cdef uint32_t pfn = pte_pfn(m, old), head
    cdef page_t *old_folio
    if anon_vma_prepare(m, vma) < 0:
        return VM_FAULT_OOM
    head = folio_alloc(m, 0)
    if head == FS_NO_PFN:
        return VM_FAULT_OOM
    if zero:
        vma.mm.rss_anon += 1
        m.ledger.zero_bytes += FS_PAGE_SIZE
    else:
        old_folio = folio_of(m, pfn)
        if content_copy(m, head, pfn) < 0:
            folio_put(m, head)
            return VM_FAULT_OOM
        count_copy(m, vma, pfn, 1, flags)
        if not old_folio.flags & PG_anon:
            vma.mm.rss_anon += 1
            if old_folio.flags & PG_swapbacked:
                vma.mm.rss_shmem -= 1
            else:
                vma.mm.rss_file -= 1
    entry = pte_mkyoung(m, mk_pte(m, head, vma.page_prot))
    if unshare:
        entry = pte_copy_soft_dirty(m, entry, old)
    else:
        entry = pte_mkdirty(m, entry)
        if vma.flags & VM_WRITE:
            entry = pte_mkwrite(m, entry)
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    get_and_clear_ptes(m, pte, 1)
    set_pte(m, pte, entry)
    count_pte_copied(m, 1, unshare)
    if not zero:
        folio_remove_rmap_ptes(m, pfn, 1, vma)
        free_swap_cache(m, head_of(m, pfn))
        folio_put(m, head_of(m, pfn))
    return 0


cdef bint cow_window(machine_t *m, const vma_t *vma, const uint64_t *pte, uint64_t addr, int order) noexcept nogil:
    """P06: are all pages of the aligned window of 2^order around addr in this VMA, shared and without pins?"""
    cdef uint32_t nr = 1U << order, at = pte_index(addr) & (nr - 1), i, pfn
    cdef const uint64_t *first = pte - at
    if not thp_vma_suitable_order(vma, addr, order):
        return False
    for i in range(nr):
        if not may_copy(m, first[i]):
            return False
        pfn = pte_pfn(m, first[i])
        if page_anon_exclusive(m, pfn) or folio_maybe_dma_pinned(folio_of(m, pfn)):
            return False
    return True


cdef bint wp_copy_window(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order) noexcept nogil:
    """P06: copy the largest window, up to this order, that can be; False: copy one page."""
    cdef uint32_t at, nr, i
    cdef bint dirty
    if order >= FS_HPAGE_PMD_ORDER:
        order = FS_HPAGE_PMD_ORDER - 1
    if (m.soft_dirty and not vma.flags & VM_SOFTDIRTY) or anon_vma_prepare(m, vma) < 0:
        return False
    while order >= 2 and not cow_window(m, vma, pte, addr, order):
        order -= 1
    if order < 2:
        return False
    nr = 1U << order
    at = pte_index(addr) & (nr - 1)
    if not copy_window(m, vma, pte - at, addr - (<uint64_t>at << FS_PAGE_SHIFT), order, FAULT_FLAG_USER):
        return False
    count_fault(m, FAULT_COW)
    dirty = ask_dirty_neighbours(m, order)
    for i in range(nr):
        if dirty or i == at:
            ptep_set_access_flags(m, pte + <int64_t>i - at, anon_entry(m, vma, pte_pfn(m, pte[<int64_t>i - at])))
    return True


cdef void wp_reuse_around(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int order) noexcept nogil:
    """P07: the neighbours that could be kept too become writable in the same fault."""
    cdef uint32_t nr = 1U << order, at = pte_index(addr) & (nr - 1), i
    cdef uint64_t start = addr - (<uint64_t>at << FS_PAGE_SHIFT), page
    cdef uint64_t *entry
    for i in range(nr):
        page = start + (<uint64_t>i << FS_PAGE_SHIFT)
        entry = pte + (<int64_t>i - at)
        if i == at or page < vma.start or page >= vma.end or not may_keep(m, vma, entry[0]):
            continue
        pages_set_exclusive(m, pte_pfn(m, entry[0]), 1)
        ptep_set_access_flags(m, entry, pte_mkwrite(m, ptep_get(m, entry)))


cdef bint may_keep(machine_t *m, const vma_t *vma, uint64_t entry) noexcept nogil:
    """Is this the entry of an anonymous page that a write fault would keep?"""
    if not entry or not pte_present(m, entry) or pte_special(m, entry) or pte_write(m, entry) or pte_protnone(m, entry):
        return False
    if not vma.flags & VM_WRITE or not folio_of(m, pte_pfn(m, entry)).flags & PG_anon:
        return False
    if m.soft_dirty and not vma.flags & VM_SOFTDIRTY and not pte_soft_dirty(m, entry):
        return False
    return wp_can_reuse_anon_folio(m, pte_pfn(m, entry), vma)


cdef int do_wp_page(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t flags) noexcept nogil:
    """A write (or unshare) fault on a read-only PTE."""
    cdef uint32_t pfn = pte_pfn(m, pte[0])
    cdef page_t *folio
    cdef int order
    cdef bint unshare = (flags & FAULT_FLAG_UNSHARE) != 0
    if vma.flags & (VM_SHARED | VM_MAYSHARE):
        return do_wp_shared(m, vma, pte, addr)
    if pte_special(m, pte[0]):
        return wp_page_copy(m, vma, pte, addr, flags)
    folio = folio_of(m, pfn)
    if folio.flags & PG_anon:
        if wp_can_reuse_anon_folio(m, pfn, vma):
            pages_set_exclusive(m, pfn, 1)
            if unshare:
                count_fault(m, FAULT_UNSHARE)
            else:
                wp_page_reuse(m, vma, pte)
                order = ask_reuse_around(m, folio_order(folio))
                if order:
                    wp_reuse_around(m, vma, pte, addr, order)
            return 0
        order = 0 if unshare else ask_cow_order(m, folio_order(folio), False)
        if order >= 2 and wp_copy_window(m, vma, pte, addr, order):
            return 0
    return wp_page_copy(m, vma, pte, addr, flags)


# ---- dispatch ----

cdef int handle_pte_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef uint64_t *pte = NULL
    cdef uint64_t entry
    cdef int result
    if pmd[0]:
        pte = pte_offset(m, pmd[0], addr)
    if pte == NULL or pte_none(m, pte[0]):
        if vma.file == NULL:
            return do_anonymous_page(m, vma, pmd, addr, flags)
        return do_fault(m, vma, pmd, addr, flags)
    if pte_guard(m, pte[0]):
        return VM_FAULT_SIGSEGV
    if pte_swap(m, pte[0]):
        result = do_swap_page(m, vma, pte, addr, flags)
        if result & VM_FAULT_OOM or not flags & FAULT_FLAG_WRITE or pte_write(m, pte[0]):
            return result
        return result | do_wp_page(m, vma, pte, addr, flags)
    entry = ptep_get(m, pte)
    if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE):
        if not pte_write(m, entry):
            return do_wp_page(m, vma, pte, addr, flags)
        if flags & FAULT_FLAG_WRITE:
            entry = pte_mkdirty(m, entry)
    ptep_set_access_flags(m, pte, pte_mkyoung(m, entry))
    count_op(m, OP_PTE_SET, 1)
    return 0


cdef int handle_pmd_leaf(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef bint write = (flags & FAULT_FLAG_WRITE) != 0
    if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) and not pte_write(m, pmd[0]):
        if vma.file == NULL:
            return do_huge_pmd_wp_page(m, vma, pmd, addr, flags)
        split_huge_pmd(m, vma, pmd, addr)
        return VM_FAULT_FALLBACK
    store_entry(m, pmd, pte_mkyoung(m, pte_mkdirty(m, pmd[0]) if write else pmd[0]))
    count_op(m, OP_PTE_SET, 1)
    return 0


cdef uint32_t folio_to_copy(machine_t *m, const uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    """The folio that a write (or unshare) fault finds mapped read-only by a PTE, or FS_NO_PFN."""
    cdef uint64_t *pte
    if not flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) or pmd == NULL or not pmd[0] or pmd_leaf(m, pmd[0]):
        return FS_NO_PFN
    pte = pte_offset(m, pmd[0], addr)
    if not pte_present(m, pte[0]) or pte_special(m, pte[0]) or pte_write(m, pte[0]):
        return FS_NO_PFN
    return head_of(m, pte_pfn(m, pte[0]))


cdef bint charge_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil:
    """Room for what the fault may allocate, before anything is looked at.  False: not even for a page.

    Only where huge pages are advised is it worth reclaim to get one (vma_thp_gfp_mask with defrag=madvise).  What the
    fault will copy is held meanwhile, as do_wp_page does: else reclaim could take it again and again.
    """
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    cdef uint32_t source = folio_to_copy(m, pmd, addr, flags), orders = 0
    cdef bint charged
    if vma.flags & VM_HUGEPAGE and vma.file == NULL and (pmd == NULL or not pmd[0]):
        orders = thp_vma_allowable_orders(m, vma, TVA_PAGEFAULT, (2U << FS_HPAGE_PMD_ORDER) - 1)
    while orders and not thp_vma_suitable_order(vma, addr, highest_order(orders)):
        orders &= ~(1U << highest_order(orders))
    if source != FS_NO_PFN:
        page_of(m, source).refcount += 1
    if orders:
        mem_cgroup_charge(m, (1LL << highest_order(orders)) + MEMCG_TABLES)
    charged = mem_cgroup_charge(m, 1 + MEMCG_TABLES)
    if source != FS_NO_PFN:
        folio_put(m, source)
    return charged


cdef int handle_mm_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef int result = do_handle_mm_fault(m, vma, addr, flags)
    if result == 0:
        count_fault(m, FAULT_ALL)
    return result


cdef int do_handle_mm_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil:
    """Follows __handle_mm_fault."""
    cdef uint64_t *pmd
    cdef int result
    addr &= ~(FS_PAGE_SIZE - 1)
    if m.pressure and not charge_fault(m, vma, addr, flags):
        return VM_FAULT_OOM
    if vma_is_device(vma):
        return do_device_fault(m, vma, addr, flags)
    pmd = pmd_alloc(m, vma.mm, addr)
    if pmd == NULL:
        return VM_FAULT_OOM
    if not pmd[0] and vma.file == NULL:
        if thp_vma_allowable_orders(m, vma, TVA_PAGEFAULT, 1U << FS_HPAGE_PMD_ORDER):
            result = do_huge_pmd_anonymous_page(m, vma, pmd, addr, flags)
            if not result & VM_FAULT_FALLBACK:
                return result
            if result & VM_FAULT_NO_HUGE:
                flags |= FAULT_FLAG_NO_HUGE
    elif pmd[0] and pmd_leaf(m, pmd[0]):
        result = handle_pmd_leaf(m, vma, pmd, addr, flags)
        if result != VM_FAULT_FALLBACK:
            return result
    return handle_pte_fault(m, vma, pmd, addr, flags)
