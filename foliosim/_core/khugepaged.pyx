# cython: language_level=3
"""khugepaged, MADV_COLLAPSE, and the collapse of anonymous memory.  Follows mm/khugepaged.c; the page cache is in
collapse_file.

Nobody else runs between the scan of a block and its collapse, so what the kernel checks twice is checked once.
"""
from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOMEM
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.collapse_best_fit cimport collapse_best_fit
from foliosim._core.collapse_file cimport collapse_pte_mapped_thp, hpage_collapse_scan_file
from foliosim._core.collapse_pages cimport *
from foliosim._core.collapse_quadruple cimport quadruple_active
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.huge_memory cimport *
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.memcontrol cimport MEMCG_TABLES, mem_cgroup_margin
from foliosim._core.mlock cimport folio_add_lru_vma, lru_add_drain
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport folio_add_new_anon_rmap
from foliosim._core.stat cimport count_op
from foliosim._core.swap cimport folio_put
from foliosim._core.swap_fault cimport do_swap_page
from foliosim._core.vmscan cimport mem_cgroup_charge

# ---- anonymous memory ----

cdef bint swapin_block(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t haddr) noexcept nogil:
    """Follows __collapse_huge_page_swapin; a guard region cannot be swapped in."""
    cdef int i
    for i in range(FS_PTRS_PER_PTE):
        if pte_none_or_zero(m, pte[i]) or pte_present(m, pte[i]):
            continue
        if not pte_swap(m, pte[i]) or not mem_cgroup_charge(m, 1):
            return False
        if not pte_swap(m, pte[i]):
            continue
        if do_swap_page(m, vma, pte + i, haddr + (<uint64_t>i << FS_PAGE_SHIFT), 0) & VM_FAULT_OOM:
            return False
    lru_add_drain(m)
    return True


cdef int prepare_block(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t haddr, scan_t *scan) noexcept nogil:
    """All pages of the block are in memory and can be moved; what was swapped in is looked at once more."""
    cdef int result
    if not scan.unmapped:
        return SCAN_SUCCEED
    if not swapin_block(m, vma, pte, haddr):
        return SCAN_FAIL
    result = scan_ptes(m, pte, FS_PTRS_PER_PTE, scan)
    return SCAN_FAIL if result == SCAN_SUCCEED and scan.unmapped else result


cdef int collapse_huge_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, scan_t *scan) noexcept nogil:
    """Follows collapse_huge_page: the old table becomes the one that is deposited."""
    cdef uint32_t head = FS_NO_PFN, table = table_pfn(m, pmd[0])
    cdef uint64_t *pte = table_of(m, table)
    cdef int result = alloc_charge_folio(m, &head)
    if result != SCAN_SUCCEED:
        return result
    result = prepare_block(m, vma, pte, haddr, scan)
    if result != SCAN_SUCCEED:
        folio_put(m, head)
        return result
    if copy_contents(m, head, pte, FS_PTRS_PER_PTE) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    pmd_clear_flush(m, pmd)
    take_sources(m, vma, pte, FS_PTRS_PER_PTE)
    folio_add_new_anon_rmap(m, head, vma, haddr)
    folio_add_lru_vma(m, head, vma)
    page_of(m, table).index = 0
    pgtable_deposit(m, pmd, table)
    store_entry(m, pmd, maybe_mkwrite(m, vma, pte_mkdirty(m, mk_pmd_leaf(m, head, vma.page_prot))))
    count_op(m, OP_PTE_SET, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    deferred_split_offer(m, head, DEFERRED_NEW)
    return SCAN_SUCCEED


cdef int check_limits(machine_t *m, scan_t *scan) noexcept nogil:
    """P18, and what khugepaged wants in any case: that the block is in use."""
    cdef int64_t arg[7]
    cdef int answer
    arg[0], arg[1], arg[2], arg[3] = scan.none, scan.zero_filled, scan.unmapped, scan.shared
    arg[4], arg[5] = m.khugepaged.max_ptes_none, m.khugepaged.max_ptes_swap
    arg[6] = m.khugepaged.max_ptes_shared
    answer = scan.rule = ask_collapse_rule(m, arg)
    if answer == COLLAPSE_QUADRUPLE:
        return SCAN_QUADRUPLE
    if answer == COLLAPSE_EXCEED_NONE:
        count_vm_events(m, THP_SCAN_EXCEED_NONE_PTE, 1)
        return SCAN_EXCEED_NONE_PTE
    if answer == COLLAPSE_EXCEED_SWAP:
        count_vm_events(m, THP_SCAN_EXCEED_SWAP_PTE, 1)
        return SCAN_EXCEED_SWAP_PTE
    if answer == COLLAPSE_EXCEED_SHARED:
        count_vm_events(m, THP_SCAN_EXCEED_SHARE_PTE, 1)
        return SCAN_EXCEED_SHARED_PTE
    if not scan.referenced or (scan.unmapped and scan.referenced < FS_HPAGE_PMD_NR / 2):
        return SCAN_LACK_REFERENCED_PAGE
    return SCAN_SUCCEED if answer == COLLAPSE_YES else SCAN_BEST_FIT


cdef int best_fit(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, scan_t *scan) noexcept nogil:
    """The block as a whole, if it may be; else what fits in it."""
    cdef bint fits = scan.none <= m.khugepaged.max_ptes_none
    cdef int result = SCAN_FAIL
    if scan.orders & 1U << FS_HPAGE_PMD_ORDER and fits:
        result = collapse_huge_page(m, vma, pmd, haddr, scan)
    if result == SCAN_FAIL or result == SCAN_ALLOC_HUGE_PAGE_FAIL:
        if scan.orders == 1U << FS_HPAGE_PMD_ORDER and not fits:
            count_vm_events(m, THP_SCAN_EXCEED_NONE_PTE, 1)
        return collapse_best_fit(m, vma, pmd, haddr, scan)
    return result


cdef bint freed_lately(machine_t *m, page_t *table, int none) noexcept nogil:
    """P19: pages of the block were freed by the program.  The table's record counts the looks since then."""
    if policy_is_linux(m, POINT_COLLAPSE_VS_FREE) or not table.index:
        return False
    table.index += 1
    return ask_collapse_vs_free(m, table.index - 1, none) == COLLAPSE_FREED_NOT


cdef int hpage_collapse_scan_pmd(machine_t *m, vma_t *vma, uint64_t haddr, bint khugepaged,
                                 uint32_t orders) noexcept nogil:
    """Look, and collapse.  If there is no room for a huge folio, what reclaim left is looked at."""
    cdef uint64_t *pmd = NULL
    cdef scan_t scan
    cdef int result
    if m.pressure and mem_cgroup_margin(m) < FS_HPAGE_PMD_NR + MEMCG_TABLES:
        mem_cgroup_charge(m, FS_HPAGE_PMD_NR + MEMCG_TABLES)
    result = find_pmd_or_thp_or_none(m, vma.mm, haddr, &pmd)
    scan.khugepaged, scan.orders = khugepaged, orders
    if result == SCAN_SUCCEED:
        result = scan_ptes(m, pte_offset(m, pmd[0], haddr), FS_PTRS_PER_PTE, &scan)
    if result == SCAN_SUCCEED and khugepaged:
        result = check_limits(m, &scan)
        if result != SCAN_BEST_FIT and not orders & 1U << FS_HPAGE_PMD_ORDER:
            result = SCAN_VMA_CHECK
        if freed_lately(m, page_of(m, table_pfn(m, pmd[0])), scan.none):
            result = SCAN_FREED
    if result == SCAN_QUADRUPLE:
        return quadruple_active(m, vma, pmd, haddr)
    if result == SCAN_BEST_FIT:
        return best_fit(m, vma, pmd, haddr, &scan)
    if result == SCAN_SUCCEED:
        result = collapse_huge_page(m, vma, pmd, haddr, &scan)
    return result


# ---- MADV_COLLAPSE ----

cdef int madvise_collapse_errno(int result) noexcept nogil:
    if result == SCAN_ALLOC_HUGE_PAGE_FAIL:
        return -ENOMEM
    if result == SCAN_PAGE_COUNT or result == SCAN_PAGE_LRU or result == SCAN_PAGE_LOCK:
        return -EAGAIN
    return -EINVAL


cdef bint may_continue(int result) noexcept nogil:
    """After these failures the next block is tried."""
    return (result == SCAN_PMD_NULL or result == SCAN_PTE_NON_PRESENT or result == SCAN_PAGE_NULL
            or result == SCAN_PAGE_COUNT or result == SCAN_PAGE_COMPOUND or result == SCAN_PAGE_LRU
            or result == SCAN_PAGE_LOCK)


cdef int collapse_block(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil:
    cdef int result
    if vma.file == NULL:
        return hpage_collapse_scan_pmd(m, vma, haddr, False, 1U << FS_HPAGE_PMD_ORDER)
    result = hpage_collapse_scan_file(m, vma, haddr)
    return collapse_pte_mapped_thp(m, vma, haddr) if result == SCAN_PTE_MAPPED_HUGEPAGE else result


cdef int madvise_collapse(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Follows madvise_collapse.  A range inside one block fails, an empty one at its edge does not."""
    cdef uint64_t first = (start + FS_PMD_SIZE - 1) & ~(FS_PMD_SIZE - 1), last = end & ~(FS_PMD_SIZE - 1)
    cdef uint64_t haddr = first
    cdef int result, last_fail = SCAN_SUCCEED if first <= last else SCAN_FAIL
    if not thp_vma_allowable_orders(m, vma, TVA_FORCED_COLLAPSE, 1U << FS_HPAGE_PMD_ORDER):
        return -EINVAL
    lru_add_drain(m)
    while haddr < last:
        if fatal_signal_pending(m):
            return -EINTR
        result = collapse_block(m, vma, haddr)
        if result < 0:
            return result
        if result != SCAN_SUCCEED and result != SCAN_PMD_MAPPED:
            last_fail = result
            if not may_continue(result):
                break
        haddr += FS_PMD_SIZE
    return 0 if last_fail == SCAN_SUCCEED else madvise_collapse_errno(last_fail)


# ---- khugepaged ----

cdef uint32_t collapse_allowable_orders(machine_t *m, const vma_t *vma) noexcept nogil:
    """What khugepaged may make in a VMA: huge folios, and what the policy may find to fit (P18)."""
    cdef bint huge = vma.file != NULL or policy_is_linux(m, POINT_COLLAPSE_RULE)
    return thp_vma_allowable_orders(m, vma, TVA_KHUGEPAGED, 1U << FS_HPAGE_PMD_ORDER if huge else FS_ORDERS_ANON)


cdef int64_t scan_vma(machine_t *m, vma_t *vma, uint64_t *address, int64_t pages) noexcept nogil:
    """Blocks of a VMA from `*address` on, which moves; the progress that counts, in pages."""
    cdef uint64_t start = (vma.start + FS_PMD_SIZE - 1) & ~(FS_PMD_SIZE - 1), end = vma.end & ~(FS_PMD_SIZE - 1)
    cdef int64_t progress = 0
    cdef int result
    cdef uint32_t orders = collapse_allowable_orders(m, vma)
    if not orders or address[0] > end:
        return 1
    if address[0] < start:
        address[0] = start
    while address[0] < end and progress < pages:
        if fatal_signal_pending(m):
            return -EINTR
        result = hpage_collapse_scan_pmd(m, vma, address[0], True, orders) if vma.file == NULL \
            else collapse_block(m, vma, address[0])
        if result < 0:
            return result
        m.khugepaged.pages_collapsed += result == SCAN_SUCCEED
        address[0] += FS_PMD_SIZE
        progress += FS_HPAGE_PMD_NR
    return progress


cdef int64_t khugepaged_scan_mm(machine_t *m, mm_t *mm, uint64_t *address, int64_t pages) noexcept nogil:
    cdef vma_t *vma = find_vma(mm, address[0])
    cdef int64_t progress = 1, more
    lru_add_drain(m)
    while vma != NULL and progress < pages and mm.thp_disable != 1:
        more = scan_vma(m, vma, address, pages - progress)
        if more < 0:
            return more
        progress += more
        if progress < pages or address[0] >= (vma.end & ~(FS_PMD_SIZE - 1)):
            vma = vma.next
    if vma == NULL or mm.thp_disable == 1:
        address[0] = 0
    return progress


cdef int khugepaged_do_scan(machine_t *m, int64_t pages) noexcept nogil:
    """Follows khugepaged_do_scan: processes in turn, from the cursor on; all of them once, at most."""
    cdef mm_t *mm = m.mm_first
    cdef int64_t progress = 0, more
    while mm != NULL and mm.pid < m.khugepaged.pid:
        mm = mm.next
    if mm == NULL or mm.pid != m.khugepaged.pid:
        m.khugepaged.address = 0
    while mm != NULL and progress < pages:
        more = khugepaged_scan_mm(m, mm, &m.khugepaged.address, pages - progress)
        if more < 0:
            return <int>more
        progress += more
        if m.khugepaged.address == 0:
            mm = mm.next
    m.khugepaged.pid = mm.pid if mm != NULL else 0
    m.khugepaged.full_scans += mm == NULL
    return 0
