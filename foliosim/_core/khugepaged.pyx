# cython: language_level=3
"""khugepaged, MADV_COLLAPSE, and the collapse of anonymous memory.  Follows mm/khugepaged.c; the page cache is in
collapse_file.

Nobody else runs between the scan of a block and its collapse, so what the kernel checks twice is checked once.
"""
from libc.errno cimport EAGAIN, EINVAL, ENOMEM
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.collapse_file cimport collapse_pte_mapped_thp, hpage_collapse_scan_file
from foliosim._core.collapse_quadruple cimport quadruple_active
from foliosim._core.content cimport content_copy, content_is_zero, content_page
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.folio cimport folio_materialize
from foliosim._core.huge_memory cimport *
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.memcontrol cimport MEMCG_TABLES, mem_cgroup_margin
from foliosim._core.mlock cimport folio_add_lru_vma, lru_add_drain
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport folio_add_new_anon_rmap, folio_remove_rmap_ptes
from foliosim._core.split_folio cimport folio_expected_ref_count
from foliosim._core.stat cimport count_op
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.swap_fault cimport do_swap_page
from foliosim._core.swap_state cimport free_swap_cache
from foliosim._core.vmscan cimport folio_isolate_lru, folio_putback_lru, mem_cgroup_charge
from foliosim._core.zap cimport folio_pte_batch

cdef struct compound_list_t:     # large folios that were isolated
    int nr
    uint32_t head[FS_HPAGE_PMD_NR]


cdef struct scan_t:              # what the entries of a block hold (P18)
    bint khugepaged              # the daemon looks, not madvise: its limits count
    int none, zero_filled        # empty entries or zero page; pages of zeros, if the policy wants to know
    int unmapped                 # swapped out
    int shared, referenced


# ---- anonymous memory ----

cdef inline bint pte_none_or_zero(const machine_t *m, uint64_t pte) noexcept nogil:
    return pte_none(m, pte) or (pte_present(m, pte) and pte_special(m, pte))


cdef bint page_wanted(machine_t *m, uint64_t pte, page_t *folio) noexcept nogil:
    """Was the page used since the last look?"""
    return pte_young(m, pte) or (folio.flags & PG_referenced) != 0


cdef int scan_ptes(machine_t *m, const uint64_t *pte, scan_t *scan) noexcept nogil:
    """Follows hpage_collapse_scan_pmd: may all pages of the table be moved?"""
    cdef page_t *folio
    cdef bint zeros = scan.khugepaged and not policy_is_linux(m, POINT_COLLAPSE_RULE)
    cdef uint32_t pfn
    cdef int i
    scan.none = scan.zero_filled = scan.unmapped = scan.shared = scan.referenced = 0
    for i in range(FS_PTRS_PER_PTE):
        if pte_none_or_zero(m, pte[i]):
            scan.none += 1
            continue
        if not pte_present(m, pte[i]):
            scan.unmapped += 1
            continue
        pfn = pte_pfn(m, pte[i])
        folio = folio_of(m, pfn)
        if not folio.flags & PG_anon:
            return SCAN_PAGE_ANON
        scan.shared += folio_maybe_mapped_shared(folio)
        if not folio.flags & PG_lru:
            return SCAN_PAGE_LRU
        if folio.flags & PG_locked:
            return SCAN_PAGE_LOCK
        if folio_expected_ref_count(folio) != folio.refcount:
            return SCAN_PAGE_COUNT
        scan.referenced += page_wanted(m, pte[i], folio)
        scan.zero_filled += zeros and content_is_zero(m, pfn)
    return SCAN_SUCCEED


cdef int copy_contents(machine_t *m, uint32_t head, const uint64_t *pte) noexcept nogil:
    cdef uint32_t i, pfn
    for i in range(FS_HPAGE_PMD_NR):
        if pte_none_or_zero(m, pte[i]):
            continue
        pfn = pte_pfn(m, pte[i])
        if content_page(m, pfn).flags & PG_CONTENT_MASK:
            folio_materialize(m, head)
            if content_copy(m, head + i, pfn) < 0:
                return -FS_EHOSTMEM
    return 0


cdef void add_compound(machine_t *m, compound_list_t *compound, uint32_t head) noexcept nogil:
    cdef int i
    for i in range(compound.nr):
        if compound.head[i] == head:
            return
    folio_isolate_lru(m, head)
    compound.head[compound.nr] = head
    compound.nr += 1


cdef void isolate_sources(machine_t *m, const uint64_t *pte, compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_isolate: every folio leaves the LRU once."""
    cdef uint32_t head
    cdef int i
    compound.nr = 0
    for i in range(FS_PTRS_PER_PTE):
        if pte_none_or_zero(m, pte[i]):
            continue
        head = head_of(m, pte_pfn(m, pte[i]))
        if folio_test_large(page_of(m, head)):
            add_compound(m, compound, head)
        else:
            folio_isolate_lru(m, head)


cdef void release_sources(machine_t *m, vma_t *vma, uint64_t *pte, const compound_list_t *compound) noexcept nogil:
    """Follows __collapse_huge_page_copy_succeeded: small folios go back to the LRU before they are unmapped, large
    ones when all are."""
    cdef uint32_t i = 0, n, pfn, head, k
    while i < FS_PTRS_PER_PTE:
        n = 1
        if pte_none_or_zero(m, pte[i]):
            vma.mm.rss_anon += 1
            clear_ptes(m, pte + i, 1)
            m.ledger.zero_bytes += FS_PAGE_SIZE
        else:
            pfn = pte_pfn(m, pte[i])
            head = head_of(m, pfn)
            if folio_test_large(page_of(m, head)):
                n = folio_pte_batch(m, pte + i, pfn, FS_PTRS_PER_PTE - i)
            else:
                folio_putback_lru(m, head)
            clear_ptes(m, pte + i, n)
            count_op(m, OP_PTE_SET, n)
            count_op(m, OP_REF, 1)
            folio_remove_rmap_ptes(m, pfn, n, vma)
            free_swap_cache(m, head)
            folio_put_refs(m, head, n)
        i += n
    for k in range(<uint32_t>compound.nr):
        folio_putback_lru(m, compound.head[k])


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
    result = scan_ptes(m, pte, scan)
    return SCAN_FAIL if result == SCAN_SUCCEED and scan.unmapped else result


cdef int collapse_huge_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, scan_t *scan) noexcept nogil:
    """Follows collapse_huge_page: the old table becomes the one that is deposited."""
    cdef uint32_t head = FS_NO_PFN, table = table_pfn(m, pmd[0])
    cdef uint64_t *pte = table_of(m, table)
    cdef compound_list_t compound
    cdef int result = alloc_charge_folio(m, &head)
    if result != SCAN_SUCCEED:
        return result
    result = prepare_block(m, vma, pte, haddr, scan)
    if result != SCAN_SUCCEED:
        folio_put(m, head)
        return result
    if copy_contents(m, head, pte) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    pmd_clear_flush(m, pmd)
    isolate_sources(m, pte, &compound)
    release_sources(m, vma, pte, &compound)
    folio_add_new_anon_rmap(m, head, vma, haddr)
    folio_add_lru_vma(m, head, vma)
    page_of(m, table).index = 0
    pgtable_deposit(m, pmd, table)
    store_entry(m, pmd, maybe_mkwrite(m, vma, pte_mkdirty(m, mk_pmd_leaf(m, head, vma.page_prot))))
    count_op(m, OP_PTE_SET, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    deferred_split_offer(m, head, DEFERRED_NEW)
    return SCAN_SUCCEED


cdef int check_limits(machine_t *m, const scan_t *scan) noexcept nogil:
    """P18, and what khugepaged wants in any case: that the block is in use."""
    cdef int64_t arg[7]
    cdef int answer
    arg[0], arg[1], arg[2], arg[3] = scan.none, scan.zero_filled, scan.unmapped, scan.shared
    arg[4], arg[5] = m.khugepaged.max_ptes_none, m.khugepaged.max_ptes_swap
    arg[6] = m.khugepaged.max_ptes_shared
    answer = ask_collapse_rule(m, arg)
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
    return SCAN_SUCCEED


cdef bint freed_lately(machine_t *m, page_t *table, int none) noexcept nogil:
    """P19: pages of the block were freed by the program.  The table's record counts the looks since then."""
    if policy_is_linux(m, POINT_COLLAPSE_VS_FREE) or not table.index:
        return False
    table.index += 1
    return ask_collapse_vs_free(m, table.index - 1, none) == COLLAPSE_FREED_NOT


cdef int hpage_collapse_scan_pmd(machine_t *m, vma_t *vma, uint64_t haddr, bint khugepaged) noexcept nogil:
    """Look, and collapse.  If there is no room for a huge folio, what reclaim left is looked at."""
    cdef uint64_t *pmd = NULL
    cdef scan_t scan
    cdef int result
    if m.pressure and mem_cgroup_margin(m) < FS_HPAGE_PMD_NR + MEMCG_TABLES:
        mem_cgroup_charge(m, FS_HPAGE_PMD_NR + MEMCG_TABLES)
    result = find_pmd_or_thp_or_none(m, vma.mm, haddr, &pmd)
    scan.khugepaged = khugepaged
    if result == SCAN_SUCCEED:
        result = scan_ptes(m, pte_offset(m, pmd[0], haddr), &scan)
    if result == SCAN_SUCCEED and khugepaged:
        result = check_limits(m, &scan)
        if freed_lately(m, page_of(m, table_pfn(m, pmd[0])), scan.none):
            result = SCAN_FREED
    if result == SCAN_QUADRUPLE:
        return quadruple_active(m, vma, pmd, haddr)
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
        return hpage_collapse_scan_pmd(m, vma, haddr, False)
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

cdef int64_t scan_vma(machine_t *m, vma_t *vma, uint64_t *address, int64_t pages) noexcept nogil:
    """Blocks of a VMA from `*address` on, which moves; the progress that counts, in pages."""
    cdef uint64_t start = (vma.start + FS_PMD_SIZE - 1) & ~(FS_PMD_SIZE - 1), end = vma.end & ~(FS_PMD_SIZE - 1)
    cdef int64_t progress = 0
    cdef int result
    if not thp_vma_allowable_orders(m, vma, TVA_KHUGEPAGED, 1U << FS_HPAGE_PMD_ORDER) or address[0] > end:
        return 1
    if address[0] < start:
        address[0] = start
    while address[0] < end and progress < pages:
        result = hpage_collapse_scan_pmd(m, vma, address[0], True) if vma.file == NULL \
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
