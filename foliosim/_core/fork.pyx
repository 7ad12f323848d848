# cython: language_level=3
"""Copying page tables at fork, table by table.  Follows copy_pte_range and copy_huge_pmd."""
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport INT32_MAX
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.content cimport content_copy
from foliosim._core.folio cimport folio_alloc
from foliosim._core.ledger cimport count_fork_copy
from foliosim._core.huge_memory cimport pgtable_deposit, pgtables_deposit, split_huge_pmd
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.pfnmap cimport copy_device_range
from foliosim._core.pgalloc cimport pmd_alloc, pte_alloc
from foliosim._core.memcontrol cimport MEMCG_TABLES
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.page_alloc cimport table_alloc, table_free
from foliosim._core.rmap cimport *
from foliosim._core.swap cimport folio_put
from foliosim._core.swapfile cimport swap_duplicate
from foliosim._core.vmscan cimport mem_cgroup_charge
from foliosim._core.zap cimport folio_pte_batch


cdef inline bint is_cow_mapping(const vma_t *vma) noexcept nogil:
    return (vma.flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE


cdef int copy_present_page(machine_t *m, vma_t *dst, uint64_t *to_pte, uint64_t old, uint64_t addr) noexcept nogil:
    """Follows copy_present_page: a page that may be pinned stays the parent's; the child gets a copy now."""
    cdef uint32_t pfn = pte_pfn(m, old), head = folio_alloc(m, 0)
    cdef uint64_t entry
    if head == FS_NO_PFN:
        return -ENOMEM
    if content_copy(m, head, pfn) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    count_fork_copy(m)
    count_op(m, OP_PTE_SET, 1)
    folio_add_new_anon_rmap(m, head, dst, addr)
    folio_add_lru_vma(m, head, dst)
    dst.mm.rss_anon += 1
    entry = pte_mkdirty(m, mk_pte(m, head, dst.page_prot))
    set_pte(m, to_pte, pte_mkwrite(m, entry) if dst.flags & VM_WRITE else entry)
    return 0


cdef void copy_entries(machine_t *m, const vma_t *src, uint64_t *to_pte, uint64_t *from_pte, uint32_t n) noexcept nogil:
    """Parent: read-only if COW.  Child: n times what the first entry says (so dirty as it is), old; clean if shared."""
    cdef bint cow = is_cow_mapping(src)
    cdef uint64_t child = ptep_get(m, from_pte)
    if cow:
        wrprotect_ptes(m, from_pte, n)
        if pte_write(m, child):
            child = pte_wrprotect(m, child)
    if src.flags & VM_SHARED:
        child = pte_mkclean(m, child)
    child = pte_mkold(m, child)
    set_ptes(m, to_pte, child, n)
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, 1)


cdef void share_entries(machine_t *m, uint64_t *to_pte, uint64_t *from_pte, uint32_t n) noexcept nogil:
    """Entries of a run: the parent's become read-only, the child's say the same, but old."""
    cdef uint64_t entry = pte_wrprotect(m, from_pte[0]), child = pte_mkold(m, entry), step = pte_step(m, entry)
    cdef int64_t i
    if pte_write(m, from_pte[0]):
        for i in range(n):
            store_entry(m, from_pte + i, entry + <uint64_t>i * step)
    for i in range(n):
        store_entry(m, to_pte + i, child + <uint64_t>i * step)


cdef uint32_t dup_small(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *src) noexcept nogil:
    """Order-0 anonymous folios in a row that cannot be pinned get one more mapping; how many of n."""
    cdef int32_t most = FS_GUP_PIN_COUNTING_BIAS - 1 if src.mm.has_pinned else INT32_MAX
    cdef uint32_t k, left
    cdef page_t *page
    if in_huge_folio(m, pfn):
        return 0
    k = left = page_contiguous(pfn, n)
    page = page_of(m, pfn)
    while left and is_small(page) and page.flags & PG_anon and page.refcount <= most:
        page.flags &= ~PG_anon_exclusive
        page.mapcount += 1
        page.refcount += 1
        page += 1
        left -= 1
    k -= left
    count_op(m, OP_REF, k)
    count_op(m, OP_RMAP_CALL, k)
    count_op(m, OP_MAPCOUNT, k)
    return k


cdef uint32_t dup_large(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *dst, const vma_t *src) noexcept nogil:
    """The same for the rest of a large folio, if it is not longer than n; not where entries are folded per folio."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t k = head + folio_nr_pages(folio) - pfn
    if FS_CONT_PTES > 1 or k > n or not folio.flags & PG_anon:
        return 0
    if src.mm.has_pinned and folio_maybe_dma_pinned(folio):
        return 0
    folio_try_dup_anon_rmap_ptes(m, pfn, k, dst, src)
    folio.refcount += <int32_t>k
    count_op(m, OP_REF, 1)
    return k


cdef uint32_t copy_run(machine_t *m, vma_t *dst, const vma_t *src, uint64_t *to_pte, uint64_t *from_pte,
                       uint32_t n) noexcept nogil:
    """Entries that are equal and map anonymous folios in a row that are shared from now on; how many."""
    cdef uint32_t pfn = pte_pfn(m, from_pte[0]), i = 0, k = 1, run
    if not pte_present(m, from_pte[0]) or pte_special(m, from_pte[0]) or not folio_of(m, pfn).flags & PG_anon:
        return 0
    run = pte_run(m, from_pte, n, PTES_EQUAL)
    while i < run and k:
        k = dup_small(m, pfn + i, run - i, src) or dup_large(m, pfn + i, run - i, dst, src)
        i += k
    if i:
        share_entries(m, to_pte, from_pte, i)
    dst.mm.rss_anon += i
    count_op(m, OP_PTE_SET, i)
    return i


cdef uint32_t alike(machine_t *m, const vma_t *src, const uint64_t *pte, uint32_t n) noexcept nogil:
    """How many of n entries a private child may take together: those as dirty (and soft-dirty) as the first."""
    cdef bint dirty = pte_dirty(m, ptep_get(m, pte)), soft = pte_soft_dirty(m, pte[0])
    cdef bint respect_soft = m.soft_dirty and not src.flags & VM_SOFTDIRTY
    cdef uint32_t i
    if src.flags & VM_SHARED and not respect_soft:
        return n
    for i in range(same_bits(m, pte, n), n):
        if not src.flags & VM_SHARED and pte_dirty(m, ptep_get(m, pte + i)) != dirty:
            return i
        if respect_soft and pte_soft_dirty(m, pte[i]) != soft:
            return i
    return n


cdef int copy_present(machine_t *m, vma_t *dst, vma_t *src, uint64_t *to_pte, uint64_t *from_pte, uint64_t addr,
                      uint32_t max_nr) noexcept nogil:
    """Follows copy_present_ptes: entries copied, or a negative errno.

    A batch of a folio that may be pinned and has an exclusive page is taken page by page.
    """
    cdef uint32_t pfn = pte_pfn(m, from_pte[0]), n
    cdef page_t *folio
    cdef int result
    if pte_special(m, from_pte[0]):
        copy_entries(m, src, to_pte, from_pte, 1)
        return 1
    n = alike(m, src, from_pte, folio_pte_batch(m, from_pte, pfn, max_nr))
    folio = folio_of(m, pfn)
    if folio.flags & PG_anon:
        if n > 1 and folio_try_dup_anon_rmap_ptes(m, pfn, n, dst, src) == 0:
            pass
        else:
            n = 1
            if folio_try_dup_anon_rmap_ptes(m, pfn, 1, dst, src) < 0:
                result = copy_present_page(m, dst, to_pte, from_pte[0], addr)
                return result if result < 0 else 1
        dst.mm.rss_anon += n
    else:
        folio_add_rmap_ptes(m, pfn, n, dst)
        add_mm_counter(dst.mm, folio, n)
    folio.refcount += n
    copy_entries(m, src, to_pte, from_pte, n)
    return n


cdef void copy_swap(machine_t *m, vma_t *dst, uint64_t *pte) noexcept nogil:
    """Follows copy_nonpresent_pte: one more holds the slot, and nobody owns it."""
    swap_duplicate(m, swp_slot(m, pte[0]))
    set_pte(m, pte, pte_swp_clear_exclusive(m, pte[0]))
    dst.mm.swapents += 1


cdef int copy_pte_range(machine_t *m, vma_t *dst, vma_t *src, uint64_t *to_pmd, uint64_t *from_pmd, uint64_t addr,
                        uint64_t end) noexcept nogil:
    cdef uint64_t *from_pte = pte_offset(m, from_pmd[0], addr)
    cdef uint64_t *to_pte
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0
    cdef bint cow = is_cow_mapping(src)
    cdef int n
    if pte_alloc(m, dst.mm, to_pmd) < 0:
        return -ENOMEM
    to_pte = pte_offset(m, to_pmd[0], addr)
    while i < left:
        if not from_pte[i]:
            i += 1
            continue
        if cow:
            n = copy_run(m, dst, src, to_pte + i, from_pte + i, left - i)
            i += n
            if n:
                continue
        if not pte_present(m, from_pte[i]):
            if pte_swap(m, from_pte[i]):
                copy_swap(m, dst, from_pte + i)
            set_pte(m, to_pte + i, from_pte[i])
            i += 1
            continue
        n = copy_present(m, dst, src, to_pte + i, from_pte + i, addr + (<uint64_t>i << FS_PAGE_SHIFT), left - i)
        if n < 0:
            return n
        i += n
    return 0


cdef int copy_huge_pmd(machine_t *m, vma_t *dst, vma_t *src, uint64_t *to_pmd, uint64_t *from_pmd,
                       uint64_t addr) noexcept nogil:
    """0: copied; 1: the leaf was split, go on with its PTEs; -ENOMEM."""
    cdef uint64_t old = from_pmd[0]
    cdef uint32_t head = pte_pfn(m, old), table
    if src.file != NULL:
        return 0
    table = table_alloc(m)
    if table == FS_NO_PFN:
        return -ENOMEM
    if head != m.huge_zero_pfn:
        if folio_try_dup_anon_rmap_pmd(m, head, dst, src) < 0:
            table_free(m, table)
            split_huge_pmd(m, src, from_pmd, addr)
            return 1
        page_of(m, head).refcount += 1
        dst.mm.rss_anon += FS_HPAGE_PMD_NR
    else:
        dst.mm.huge_zero = True
    pgtable_deposit(m, to_pmd, table)
    dst.mm.nr_ptes += 1
    old = pte_wrprotect(m, old)
    if head != m.huge_zero_pfn:
        store_entry(m, from_pmd, old)
    store_entry(m, to_pmd, pte_mkold(m, old))
    count_op(m, OP_PTE_SET, 1)
    count_op(m, OP_REF, 1)
    return 0


cdef inline uint32_t leaves_ahead(uint64_t addr, uint64_t end) noexcept nogil:
    """Entries of the PMD table from that of the address on that lie before end as a whole."""
    cdef uint64_t n = (end - addr) >> FS_PMD_SHIFT, left = FS_PTRS_PER_PTE - pmd_index(addr)
    return <uint32_t>(n if n < left else left)


cdef uint32_t leaves_to_share(machine_t *m, const vma_t *src, const uint64_t *pmd, uint32_t n) noexcept nogil:
    """How many leaves in a row map folios that cannot be pinned."""
    cdef uint32_t i = 0, head
    while i < n and pmd[i] and pmd_leaf(m, pmd[i]):
        head = pte_pfn(m, pmd[i])
        if head == m.huge_zero_pfn or src.mm.has_pinned and folio_maybe_dma_pinned(page_of(m, head)):
            break
        i += 1
    return i


cdef uint32_t copy_huge_run(machine_t *m, vma_t *dst, const vma_t *src, uint64_t *to_pmd, uint64_t *from_pmd,
                            uint32_t max_nr) noexcept nogil:
    """copy_huge_pmd for leaves in a row of a process that is short of nothing; how many."""
    cdef uint64_t entry
    cdef uint32_t i, n
    if m.pressure or m.fail.armed or src.file != NULL:
        return 0
    n = pgtables_deposit(m, to_pmd, leaves_to_share(m, src, from_pmd, max_nr))
    if n == 0:
        return 0
    folios_dup_anon_rmap_pmd(m, from_pmd, n, dst)
    for i in range(n):
        entry = pte_wrprotect(m, from_pmd[i])
        store_entry(m, from_pmd + i, entry)
        store_entry(m, to_pmd + i, pte_mkold(m, entry))
    dst.mm.nr_ptes += n
    dst.mm.rss_anon += <int64_t>n << FS_HPAGE_PMD_ORDER
    count_op(m, OP_PTE_SET, n)
    return n


cdef bint charge_table(machine_t *m, const mm_t *src) noexcept nogil:
    """Room for what the copy of one PTE table's span may need."""
    if src.has_pinned:
        mem_cgroup_charge(m, FS_HPAGE_PMD_NR + MEMCG_TABLES)
    return mem_cgroup_charge(m, MEMCG_TABLES)


cdef int copy_page_range(machine_t *m, vma_t *dst, vma_t *src) noexcept nogil:
    cdef uint64_t addr = src.start, next
    cdef uint64_t *from_pmd = NULL
    cdef uint64_t *to_pmd = NULL
    cdef uint32_t n
    cdef int result
    if vma_is_device(src):
        return copy_device_range(m, dst, src)
    while addr < src.end:
        if fatal_signal_pending(m):
            return -EINTR
        if m.pressure and not charge_table(m, src.mm):
            return -ENOMEM
        from_pmd = next_pmd(m, src.mm, from_pmd, addr)
        if from_pmd == NULL:
            addr = next_pmd_addr(m, src.mm, addr, src.end)
            continue
        to_pmd = to_pmd + 1 if to_pmd != NULL and pmd_index(addr) else pmd_alloc(m, dst.mm, addr)
        if to_pmd == NULL:
            return -ENOMEM
        n = copy_huge_run(m, dst, src, to_pmd, from_pmd, leaves_ahead(addr, src.end))
        if n:
            addr += <uint64_t>n << FS_PMD_SHIFT
            from_pmd += n - 1
            to_pmd += n - 1
            continue
        next = pmd_addr_end(addr, src.end)
        result = 1
        if from_pmd[0] and pmd_leaf(m, from_pmd[0]):
            result = copy_huge_pmd(m, dst, src, to_pmd, from_pmd, addr)
        if result == 1 and from_pmd[0]:
            result = copy_pte_range(m, dst, src, to_pmd, from_pmd, addr, next)
        if result < 0:
            return result
        addr = next
    return 0
