# cython: language_level=3
"""PMD mappings of huge folios.  Follows mm/huge_memory.c; splitting the folio itself is in split_folio.pyx."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.content cimport content_copy
from foliosim._core.folio cimport folio_alloc, folio_materialize
from foliosim._core.ledger cimport count_copy
from foliosim._core.mapping cimport shmem_mapping, vma_is_device
from foliosim._core.memcontrol cimport mem_cgroup_full
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.page_alloc cimport table_alloc, table_free, tables_alloc, tables_free
from foliosim._core.rmap cimport *
from foliosim._core.shmem cimport shmem_allowable_huge_orders
from foliosim._core.policy cimport *
from foliosim._core.swap cimport folio_put, folio_mark_accessed
from foliosim._core.swap_state cimport folio_free_swap


# ---- which orders ----

cdef bint vma_thp_disabled(const vma_t *vma, bint forced_collapse) noexcept nogil:
    """Follows vma_thp_disabled: madvise, then prctl.  To ask for a collapse is an advice too."""
    if vma.flags & VM_NOHUGEPAGE:
        return True
    if vma.mm.thp_disable == 1:
        return True
    return vma.mm.thp_disable == 2 and not vma.flags & VM_HUGEPAGE and not forced_collapse


cdef bint thp_vma_suitable_order(const vma_t *vma, uint64_t addr, int order) noexcept nogil:
    cdef uint64_t size = FS_PAGE_SIZE << order
    cdef uint64_t at = addr & ~(size - 1)
    if vma.file != NULL and ((vma.start >> FS_PAGE_SHIFT) - vma.pgoff) & ((1ULL << order) - 1):
        return False
    return at >= vma.start and at + size <= vma.end


cdef uint32_t enabled_orders(machine_t *m, const vma_t *vma) noexcept nogil:
    """sysfs: the sizes that are on for an anonymous VMA."""
    cdef thp_settings_t *thp = &m.thp
    cdef bint advised = (vma.flags & VM_HUGEPAGE) != 0
    cdef uint32_t mask = thp.always
    if advised:
        mask |= thp.madvise
    if thp.enabled == THP_ALWAYS or (advised and thp.enabled != THP_NEVER):
        mask |= thp.inherit
    return mask


cdef uint32_t anon_orders(machine_t *m, const vma_t *vma, int type) noexcept nogil:
    """P14: the sizes that a fault, or khugepaged, may use."""
    cdef uint32_t sysfs = enabled_orders(m, vma)
    cdef int answer
    if (type != TVA_PAGEFAULT and type != TVA_KHUGEPAGED) or policy_is_linux(m, POINT_FAULT_ORDER):
        return sysfs
    answer = ask_fault_order(m, type == TVA_KHUGEPAGED, (vma.flags & VM_HUGEPAGE) != 0, sysfs,
                             (vma.end - vma.start) >> FS_PAGE_SHIFT)
    if answer == FAULT_ORDER_NEVER:
        return 0
    if answer == FAULT_ORDER_PMD:
        return 1U << FS_HPAGE_PMD_ORDER
    if answer & 0xff == FAULT_ORDER_UP_TO:
        return (2U << min(answer_number(answer), FS_HPAGE_PMD_ORDER)) - 1
    return sysfs


cdef bint special_huge_allowed(const machine_t *m, const vma_t *vma) noexcept nogil:
    """Follows hugepage_global_enabled and hugepage_global_always, which rule what is no anonymous memory."""
    if vma_thp_disabled(vma, False):
        return False
    return m.thp.enabled == THP_ALWAYS or (m.thp.enabled == THP_MADVISE and (vma.flags & VM_HUGEPAGE) != 0)


cdef uint32_t special_orders(const machine_t *m, const vma_t *vma, int type) noexcept nogil:
    """THP_ORDERS_ALL_SPECIAL_DAX: those of whole leaves.  Nothing is there to be collapsed."""
    cdef int pud_order = FS_HPAGE_PMD_ORDER + FS_TABLE_SHIFT
    if type != TVA_SMAPS or not special_huge_allowed(m, vma):
        return 0
    if FS_PUD_PFNMAP and thp_vma_suitable_order(vma, vma.end - (FS_PAGE_SIZE << pud_order), pud_order):
        return 1U << pud_order
    if thp_vma_suitable_order(vma, vma.end - FS_PMD_SIZE, FS_HPAGE_PMD_ORDER):
        return 1U << FS_HPAGE_PMD_ORDER
    return 0


cdef uint32_t thp_vma_allowable_orders(machine_t *m, const vma_t *vma, int type, uint32_t orders) noexcept nogil:
    """Follows thp_vma_allowable_orders and __thp_vma_allowable_orders.  Forced collapse ignores the sizes that sysfs
    gives to anonymous memory, but wants memory that has been written to."""
    cdef bint forced = type == TVA_FORCED_COLLAPSE, collapse = forced or type == TVA_KHUGEPAGED
    cdef int order = FS_HPAGE_PMD_ORDER
    if vma_is_device(vma):
        return special_orders(m, vma, type)
    if vma.file == NULL:
        orders &= FS_ORDERS_ANON if forced else FS_ORDERS_ANON & anon_orders(m, vma, type)
    else:
        orders &= FS_ORDERS_FILE
    if vma.flags & VM_GROWSDOWN and vma.flags & VM_STACK_INCOMPLETE_SETUP == VM_STACK_INCOMPLETE_SETUP:
        return 0
    if not orders or vma_thp_disabled(vma, forced) or (collapse and vma.flags & (VM_SPECIAL | VM_HUGETLB)):
        return 0
    if type != TVA_PAGEFAULT:
        while orders:
            if orders & (1U << order):
                if thp_vma_suitable_order(vma, vma.end - (FS_PAGE_SIZE << order), order):
                    break
                orders &= ~(1U << order)
            order -= 1
    if vma.file != NULL:
        if type == TVA_PAGEFAULT or not shmem_mapping(vma.file):
            return 0
        return orders & shmem_allowable_huge_orders(m, vma.file, vma, vma.pgoff, 0, forced)
    return 0 if collapse and vma.anon_vma == NULL else orders


# ---- deposited tables ----

cdef inline page_t *pmd_table_page(machine_t *m, uint64_t *pmd) noexcept nogil:
    """Record of the PMD table that holds the entry."""
    return page_of(m, <uint32_t>((<uint8_t *>pmd - m.phys) >> FS_PAGE_SHIFT))


cdef void pgtable_deposit(machine_t *m, uint64_t *pmd, uint32_t table) noexcept nogil:
    cdef page_t *page = pmd_table_page(m, pmd)
    page_of(m, table).next = page.prev
    page.prev = table


cdef uint32_t pgtable_withdraw(machine_t *m, uint64_t *pmd) noexcept nogil:
    cdef page_t *page = pmd_table_page(m, pmd)
    cdef uint32_t table = page.prev
    page.prev = page_of(m, table).next
    page_of(m, table).next = FS_NO_PFN
    return table


cdef uint32_t pgtables_deposit(machine_t *m, uint64_t *pmd, uint32_t n) noexcept nogil:
    return tables_alloc(m, n, &pmd_table_page(m, pmd).prev)


cdef void pgtables_free(machine_t *m, uint64_t *pmd, uint32_t n) noexcept nogil:
    cdef page_t *page = pmd_table_page(m, pmd)
    page.prev = tables_free(m, page.prev, n)


# ---- faults ----

cdef uint64_t maybe_mkwrite(machine_t *m, const vma_t *vma, uint64_t entry) noexcept nogil:
    return pte_mkwrite(m, entry) if vma.flags & VM_WRITE else entry


cdef void map_anon_folio_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint32_t head, uint64_t addr) noexcept nogil:
    cdef uint64_t entry = mk_pmd_leaf(m, head, vma.page_prot)
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    store_entry(m, pmd, maybe_mkwrite(m, vma, pte_mkdirty(m, pte_mkyoung(m, entry))))
    vma.mm.rss_anon += FS_HPAGE_PMD_NR
    count_op(m, OP_PTE_SET, 1)
    count_vm_events(m, THP_FAULT_ALLOC, 1)
    mod_mthp_stat(m, FS_HPAGE_PMD_ORDER, ANON_FAULT_ALLOC, 1)
    deferred_split_offer(m, head, DEFERRED_NEW)


cdef uint32_t alloc_huge(machine_t *m) noexcept nogil:
    """A huge folio for a fault, or FS_NO_PFN and the fallback is counted."""
    cdef uint32_t head = folio_alloc(m, FS_HPAGE_PMD_ORDER)
    if head == FS_NO_PFN:
        count_vm_events(m, THP_FAULT_FALLBACK, 1)
        mod_mthp_stat(m, FS_HPAGE_PMD_ORDER, ANON_FAULT_FALLBACK, 1)
        if mem_cgroup_full(m, FS_HPAGE_PMD_NR):
            count_vm_events(m, THP_FAULT_FALLBACK_CHARGE, 1)
            mod_mthp_stat(m, FS_HPAGE_PMD_ORDER, ANON_FAULT_FALLBACK_CHARGE, 1)
    return head


cdef int do_huge_pmd_anonymous_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr,
                                    uint32_t flags) noexcept nogil:
    cdef uint64_t haddr = addr & ~(FS_PMD_SIZE - 1)
    cdef uint32_t table, head = m.huge_zero_pfn
    cdef bint read = not flags & FAULT_FLAG_WRITE, zero = read and m.thp.use_zero_page
    if read and not policy_is_linux(m, POINT_ZERO_PAGE) and ask_zero_page(m, False) == ZERO_SMALL:
        return VM_FAULT_FALLBACK
    if not thp_vma_suitable_order(vma, haddr, FS_HPAGE_PMD_ORDER):
        return VM_FAULT_FALLBACK
    if anon_vma_prepare(m, vma) < 0:
        return VM_FAULT_OOM
    if not zero:
        head = alloc_huge(m)
        if head == FS_NO_PFN:
            return VM_FAULT_FALLBACK | VM_FAULT_NO_HUGE
    table = table_alloc(m)
    if table == FS_NO_PFN:
        if not zero:
            folio_put(m, head)
        return VM_FAULT_OOM
    pgtable_deposit(m, pmd, table)
    vma.mm.nr_ptes += 1
    if zero:
        vma.mm.huge_zero = True
        store_entry(m, pmd, pte_mkspecial(m, mk_pmd_leaf(m, m.huge_zero_pfn, vma.page_prot)))
        count_op(m, OP_PTE_SET, 1)
        count_fault(m, FAULT_ZERO)
    else:
        map_anon_folio_pmd(m, vma, pmd, head, haddr)
        m.ledger.zero_bytes += FS_PMD_SIZE
    return 0


cdef bint copy_huge_pmd_leaf(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr, uint32_t flags) noexcept nogil:
    cdef uint32_t head, i, old = pte_pfn(m, pmd[0])
    if anon_vma_prepare(m, vma) < 0:
        return False
    head = alloc_huge(m)
    if head == FS_NO_PFN:
        return False
    if not page_of(m, old).flags & PG_tails_implicit:
        folio_materialize(m, head)
    for i in range(FS_HPAGE_PMD_NR if not page_of(m, head).flags & PG_tails_implicit else 1):
        if content_copy(m, head + i, old + i) < 0:
            folio_put(m, head)
            return False
    count_copy(m, vma, old, FS_HPAGE_PMD_NR, flags)
    count_op(m, OP_TLB_FLUSH, 1)
    vma.mm.rss_anon -= FS_HPAGE_PMD_NR
    pmd_clear_flush(m, pmd)
    map_anon_folio_pmd(m, vma, pmd, head, haddr)
    folio_remove_rmap_pmd(m, old, vma)
    folio_put(m, old)
    return True


cdef bint cow_huge(machine_t *m, vma_t *vma, uint64_t *pmd, page_t *folio, uint64_t haddr) noexcept nogil:
    """P06: copy a shared huge folio whole and map the copy; False: that is not wanted, or cannot be."""
    if ask_cow_order(m, FS_HPAGE_PMD_ORDER, True) != FS_HPAGE_PMD_ORDER:
        return False
    if folio_maybe_dma_pinned(folio) or (m.soft_dirty and not vma.flags & VM_SOFTDIRTY):
        return False
    if not copy_huge_pmd_leaf(m, vma, pmd, haddr, FAULT_FLAG_USER):
        return False
    count_fault(m, FAULT_COW)
    return True


cdef bint may_reuse_pmd(machine_t *m, page_t *folio, uint32_t head) noexcept nogil:
    """P07 for a folio that a PMD maps."""
    if folio.flags & PG_anon_exclusive and (folio_maybe_dma_pinned(folio) or policy_is_linux(m, POINT_COW_REUSE)):
        return True
    return ask_cow_reuse(m, folio, head, True)


cdef int do_huge_pmd_wp_page(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    """A write (or unshare) fault on a read-only PMD leaf of private memory."""
    cdef uint64_t haddr = addr & ~(FS_PMD_SIZE - 1)
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio
    if head == m.huge_zero_pfn:
        if ask_zero_page(m, True) == ZERO_HUGE:
            head = alloc_huge(m)
            if head != FS_NO_PFN:
                pmd_clear_flush(m, pmd)
                map_anon_folio_pmd(m, vma, pmd, head, haddr)
                m.ledger.zero_bytes += FS_PMD_SIZE
                count_op(m, OP_TLB_FLUSH, 1)
                count_fault(m, FAULT_COW)
                return 0
        split_huge_pmd(m, vma, pmd, addr)
        return VM_FAULT_FALLBACK
    folio = page_of(m, head)
    if folio.refcount == 1 + FS_HPAGE_PMD_NR:
        folio_free_swap(m, head)
    if not folio.flags & PG_anon or not may_reuse_pmd(m, folio, head):
        if folio.flags & PG_anon and not flags & FAULT_FLAG_UNSHARE and cow_huge(m, vma, pmd, folio, haddr):
            return 0
        split_huge_pmd(m, vma, pmd, addr)
        return VM_FAULT_FALLBACK
    if not folio.flags & PG_anon_exclusive:
        if folio.refcount == 1:
            folio_move_anon_rmap(folio, vma)
        folio.flags |= PG_anon_exclusive
    if flags & FAULT_FLAG_UNSHARE:
        count_fault(m, FAULT_UNSHARE)
        return 0
    store_entry(m, pmd, maybe_mkwrite(m, vma, pte_mkdirty(m, pte_mkyoung(m, pmd[0]))))
    count_op(m, OP_PTE_SET, 1)
    count_fault(m, FAULT_REUSE)
    return 0


# ---- splitting the PMD ----

cdef void split_huge_zero_pmd(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    """Entries of the small zero page."""
    cdef uint32_t table = pgtable_withdraw(m, pmd)
    cdef uint64_t entry = pte_mkspecial(m, mk_pte(m, m.zero_pfn, vma.page_prot))
    cdef uint64_t *pte = table_of(m, table)
    cdef int i
    pmd_clear_flush(m, pmd)
    for i in range(FS_PTRS_PER_PTE):
        set_pte(m, pte + i, entry)
    store_entry(m, pmd, mk_table(m, table))
    count_op(m, OP_PTE_SET, FS_PTRS_PER_PTE)


cdef void split_file_pmd(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    """File memory is not remapped: later faults find it in the page cache."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    if pte_dirty(m, pmd[0]):
        folio.flags |= PG_dirty
    if pte_young(m, pmd[0]):
        folio.flags |= PG_referenced
    store_entry(m, pmd, 0)
    folio_remove_rmap_pmd(m, head, vma)
    add_mm_counter(vma.mm, folio, -FS_HPAGE_PMD_NR)
    folio_put(m, head)


cdef void fill_split_table(machine_t *m, vma_t *vma, uint64_t *pmd, bint freeze) noexcept nogil:
    """Put the deposited table, with entries that say what the leaf said, in place of an anonymous leaf.  With freeze
    they stand for migration entries, which nobody folds."""
    cdef uint64_t old = pmd_clear_flush(m, pmd)
    cdef uint64_t *pte
    cdef uint32_t i
    cdef uint64_t entry = mk_pte(m, pte_pfn(m, old), vma.page_prot)
    cdef uint32_t table = pgtable_withdraw(m, pmd)
    if pte_write(m, old):
        entry = pte_mkwrite(m, entry)
    entry = pte_mkyoung(m, entry) if pte_young(m, old) else pte_mkold(m, entry)
    if pte_dirty(m, old):
        entry = pte_mkdirty(m, entry)
    entry = pte_copy_soft_dirty(m, entry, old)
    pte = table_of(m, table)
    if not freeze:
        set_ptes(m, pte, entry, FS_PTRS_PER_PTE)
    else:
        for i in range(FS_PTRS_PER_PTE):
            store_entry(m, pte + i, entry + i * pte_step(m, entry))
    store_entry(m, pmd, mk_table(m, table))
    count_op(m, OP_PTE_SET, FS_PTRS_PER_PTE)
    count_op(m, OP_REF, 1)


cdef void split_huge_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """Follows __split_huge_pmd_locked, not freezing: the folio stays whole."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio
    count_vm_events(m, THP_SPLIT_PMD, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    if head == m.huge_zero_pfn:
        split_huge_zero_pmd(m, vma, pmd)
        return
    if pte_special(m, pmd[0]):      # mapped by frame number: faults will map the parts anew
        store_entry(m, pmd, 0)
        return
    folio = page_of(m, head)
    if not folio.flags & PG_anon:
        split_file_pmd(m, vma, pmd)
        return
    if pte_dirty(m, pmd[0]):
        folio.flags |= PG_dirty
    folio.refcount += FS_HPAGE_PMD_NR - 1
    folio_split_rmap_pmd(m, head, vma)
    fill_split_table(m, vma, pmd, False)
    folio_remove_rmap_pmd(m, head, vma)


cdef void split_huge_pmd_frozen(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    """The same with freeze: the mapping goes in one step, the entries wait for the pieces of the folio."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    count_vm_events(m, THP_SPLIT_PMD, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    if pte_dirty(m, pmd[0]):
        folio.flags |= PG_dirty
    pages_exclusive_as_head(m, head)
    fill_split_table(m, vma, pmd, True)
    folio_remove_rmap_pmd(m, head, vma)
    folio.refcount -= 1


cdef void split_huge_pmd_address(machine_t *m, vma_t *vma, uint64_t addr) noexcept nogil:
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    if pmd != NULL and pmd_leaf(m, pmd[0]):
        split_huge_pmd(m, vma, pmd, addr)


cdef void split_huge_pmd_if_needed(machine_t *m, vma_t *vma, uint64_t addr) noexcept nogil:
    cdef uint64_t haddr = addr & ~(FS_PMD_SIZE - 1)
    if haddr != addr and haddr >= vma.start and haddr + FS_PMD_SIZE <= vma.end:
        split_huge_pmd_address(m, vma, addr)


cdef void vma_adjust_trans_huge(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, vma_t *next) noexcept nogil:
    split_huge_pmd_if_needed(m, vma, start)
    split_huge_pmd_if_needed(m, vma, end)
    if next != NULL:
        split_huge_pmd_if_needed(m, next, end)


cdef void zap_huge_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """Follows zap_huge_pmd: the whole mapping goes, with its deposited table."""
    cdef uint64_t old = pmd[0]
    cdef uint32_t head = pte_pfn(m, old)
    cdef page_t *folio = page_of(m, head)
    store_entry(m, pmd, 0)
    count_op(m, OP_PTE_SET, 1)
    if head == m.huge_zero_pfn or folio.flags & PG_anon:
        table_free(m, pgtable_withdraw(m, pmd))
        vma.mm.nr_ptes -= 1
    if head == m.huge_zero_pfn:
        return
    if folio.flags & PG_anon:
        vma.mm.rss_anon -= FS_HPAGE_PMD_NR
    else:
        if pte_dirty(m, old):
            folio.flags |= PG_dirty
        if pte_young(m, old) and not vma.flags & (VM_SEQ_READ | VM_RAND_READ):
            folio_mark_accessed(m, head)
        add_mm_counter(vma.mm, folio, -FS_HPAGE_PMD_NR)
    folio_remove_rmap_pmd(m, head, vma)
    count_op(m, OP_REF, 1)
    folio_put(m, head)
