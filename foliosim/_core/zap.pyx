# cython: language_level=3
"""Taking mappings away, table by table and run by run.  Follows zap_pte_range and free_pgd_range in mm/memory.c."""
from libc.errno cimport EINTR
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.huge_memory cimport split_huge_pmd, zap_huge_pmd
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.page_alloc cimport table_free
from foliosim._core.pfnmap cimport zap_device_range
from foliosim._core.policy cimport policy_is_linux
from foliosim._core.rmap cimport folio_remove_rmap_ptes, vma_address
from foliosim._core.swap cimport folio_mark_accessed, folio_put_refs
from foliosim._core.swap_state cimport free_swap_and_cache, free_swap_cache
from foliosim._core.zap_run cimport zap_huge_run, zap_small_run

cdef struct zap_details_t:
    bint reclaim_pt      # free PTE tables that a whole span's zap emptied
    bint keep_markers    # guard regions survive
    bint skip_cows       # private copies of file pages survive
    bint killable        # a signal ends it


cdef inline uint32_t pte_batch(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr,
                               int alike) noexcept nogil:
    cdef uint32_t head = head_of(m, pfn), left = head + folio_nr_pages(page_of(m, head)) - pfn
    return pte_run(m, pte, left if left < max_nr else max_nr, alike) if left > 1 else 1


cdef uint32_t folio_pte_batch(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr) noexcept nogil:
    """Accessed, dirty, soft-dirty and write bits may differ within a batch."""
    return pte_batch(m, pte, pfn, max_nr, PTES_BATCH)


cdef uint32_t folio_pte_batch_write(machine_t *m, const uint64_t *pte, uint32_t pfn, uint32_t max_nr) noexcept nogil:
    """Only accessed and dirty bits may differ: entries can be put back as they were."""
    return pte_batch(m, pte, pfn, max_nr, PTES_BATCH_WRITE)


cdef uint32_t zap_present(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, uint32_t max_nr,
                          const zap_details_t *details) noexcept nogil:
    """Zap the batch of present entries that starts at pte; its length.  Follows zap_present_ptes."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), n, head
    cdef uint64_t entry
    cdef page_t *folio
    if pte_special(m, pte[0]):
        clear_ptes(m, pte, 1)
        count_op(m, OP_PTE_SET, 1)
        return 1
    n = folio_pte_batch(m, pte, pfn, max_nr)
    head = head_of(m, pfn)
    folio = page_of(m, head)
    if details.skip_cows and folio.flags & PG_anon:
        return n
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_REF, 1)
    if folio.flags & PG_anon:
        clear_ptes(m, pte, n)
    else:
        entry = get_and_clear_ptes(m, pte, n)
        if pte_dirty(m, entry):
            folio.flags |= PG_dirty
        if pte_young(m, entry) and not vma.flags & (VM_SEQ_READ | VM_RAND_READ):
            folio_mark_accessed(m, head)
    add_mm_counter(vma.mm, folio, -<int64_t>n)
    folio_remove_rmap_ptes(m, pfn, n, vma)
    free_swap_cache(m, head)
    folio_put_refs(m, head, n)
    return n


cdef void zap_swap(machine_t *m, vma_t *vma, uint64_t *pte, const zap_details_t *details) noexcept nogil:
    """Follows zap_nonpresent_ptes: what is in swap is anonymous."""
    cdef uint32_t slot = swp_slot(m, pte[0])
    if details.skip_cows:
        return
    clear_ptes(m, pte, 1)
    vma.mm.swapents -= 1
    free_swap_and_cache(m, slot)


cdef void zap_pte_range(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t end,
                        const zap_details_t *details) noexcept nogil:
    cdef uint64_t *pte = pte_offset(m, pmd[0], addr)
    cdef uint64_t *table = table_of(m, table_pfn(m, pmd[0]))
    cdef uint64_t start = addr
    cdef uint32_t n
    while addr < end:
        if not pte[0]:
            n = 1
        elif pte_present(m, pte[0]):
            n = zap_small_run(m, vma, pte, <uint32_t>((end - addr) >> FS_PAGE_SHIFT))
            if n == 0:
                n = zap_present(m, vma, pte, addr, <uint32_t>((end - addr) >> FS_PAGE_SHIFT), details)
        else:
            n = 1
            if pte_swap(m, pte[0]):
                zap_swap(m, vma, pte, details)
            elif not details.keep_markers:
                clear_ptes(m, pte, 1)
        pte += n
        addr += <uint64_t>n << FS_PAGE_SHIFT
    if details.reclaim_pt and m.pt_reclaim and end - start == FS_PMD_SIZE:
        try_to_free_pte(m, vma.mm, pmd, table)


cdef void try_to_free_pte(machine_t *m, mm_t *mm, uint64_t *pmd, uint64_t *table) noexcept nogil:
    """Follows try_to_free_pte (mm/pt_reclaim.c): a table that is empty from end to end goes."""
    cdef int i
    for i in range(FS_PTRS_PER_PTE):
        if table[i]:
            return
    free_pte_table(m, mm, pmd)


cdef void free_pte_table(machine_t *m, mm_t *mm, uint64_t *pmd) noexcept nogil:
    table_free(m, table_pfn(m, pmd[0]))
    store_entry(m, pmd, 0)
    mm.nr_ptes -= 1


cdef bint zap_range(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end, const zap_details_t *details) noexcept nogil:
    """Follows unmap_page_range: a leaf that is cut is split first.  False: a signal ended it."""
    cdef uint64_t *pmd = NULL
    cdef uint64_t next
    cdef uint32_t n
    cdef int64_t entries = m.ledger.ops[<int>OP_PTE_SET]
    update_hiwater_rss(vma.mm)
    if vma_is_device(vma):
        zap_device_range(m, vma, addr, end)
        addr = end
    while addr < end and not (details.killable and fatal_signal_pending(m)):
        pmd = next_pmd(m, vma.mm, pmd, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd[0] and pmd_leaf(m, pmd[0]):
            n = zap_huge_run(m, vma, pmd, pmds_from(addr, end))
            if n:
                pmd += n - 1
                addr += n * FS_PMD_SIZE
                continue
            if next - addr == FS_PMD_SIZE:
                zap_huge_pmd(m, vma, pmd, addr)
            else:
                split_huge_pmd(m, vma, pmd, addr)
        if pmd[0]:
            zap_pte_range(m, vma, pmd, addr, next, details)
        addr = next
    if m.ledger.ops[<int>OP_PTE_SET] != entries:
        count_op(m, OP_TLB_FLUSH, 1)
    return addr >= end


cdef bint unmap_vma_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, bint killable) noexcept nogil:
    cdef zap_details_t details
    details.reclaim_pt = details.keep_markers = details.skip_cows = False
    details.killable = killable
    return zap_range(m, vma, start, end, &details)


cdef void note_freed(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t addr = start
    cdef uint64_t *pmd
    if policy_is_linux(m, POINT_COLLAPSE_VS_FREE):
        return
    while addr < end:
        pmd = pmd_offset(m, mm, addr)
        if pmd != NULL and pmd_table(m, pmd[0]):
            page_of(m, table_pfn(m, pmd[0])).index = 1
        addr = pmd_addr_end(addr, end)


cdef int madvise_dontneed(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Follows madvise_dontneed_single_vma.  A signal ends it, which it cannot in the kernel."""
    cdef zap_details_t details
    details.reclaim_pt = details.keep_markers = details.killable = True
    details.skip_cows = False
    if not zap_range(m, vma, start, end, &details):
        return -EINTR
    note_freed(m, vma.mm, start, end)
    return 0


cdef void zap_page_range_single(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Follows zap_page_range_single without details."""
    cdef zap_details_t details
    details.reclaim_pt = details.skip_cows = details.killable = False
    details.keep_markers = True
    zap_range(m, vma, start, end, &details)


# ---- pages of a file ----

cdef void unmap_mapping_tree(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end,
                             const zap_details_t *details) noexcept nogil:
    """Zap pages first..end-1 of the file in every VMA.  Follows unmap_mapping_range_tree."""
    cdef vma_t *vma = mapping.i_mmap
    cdef uint64_t low, high
    while vma != NULL:
        low = first if first > vma.pgoff else vma.pgoff
        high = vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT)
        if end < high:
            high = end
        if low < high:
            zap_range(m, vma, vma_address(vma, low),
                      vma_address(vma, high), details)
        vma = vma.i_mmap_next


cdef void unmap_mapping_pages(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end,
                              bint even_cows) noexcept nogil:
    cdef zap_details_t details
    details.reclaim_pt = details.killable = False
    details.keep_markers = True
    details.skip_cows = not even_cows
    unmap_mapping_tree(m, mapping, first, end, &details)


cdef void unmap_mapping_folio(machine_t *m, mapping_t *mapping, const page_t *folio) noexcept nogil:
    cdef zap_details_t details
    cdef uint64_t index = folio_index(folio)
    details.reclaim_pt = details.keep_markers = details.killable = False
    details.skip_cows = True
    unmap_mapping_tree(m, mapping, index, index + folio_nr_pages(folio), &details)


# ---- page tables ----

cdef bint clamp_range(uint64_t *addr, uint64_t *end, uint64_t floor, uint64_t *ceiling, uint64_t size) noexcept nogil:
    """The whole tables of this size that [addr, end) covers and no neighbour needs; False: none."""
    addr[0] &= ~(size - 1)
    if addr[0] < floor:
        addr[0] += size
        if not addr[0]:
            return False
    if ceiling[0]:
        ceiling[0] &= ~(size - 1)
        if not ceiling[0]:
            return False
    if end[0] - 1 > ceiling[0] - 1:
        end[0] -= size
    return addr[0] <= end[0] - 1


cdef bint alone(uint64_t start, uint64_t end, uint64_t floor, uint64_t ceiling, uint64_t size) noexcept nogil:
    """May the table that maps the span of this size around start go?"""
    start &= ~(size - 1)
    if start < floor:
        return False
    if ceiling:
        ceiling &= ~(size - 1)
        if not ceiling:
            return False
    return end - 1 <= ceiling - 1


cdef void free_table_range(machine_t *m, mm_t *mm, uint64_t *table, int level, uint64_t addr, uint64_t end,
                           uint64_t floor, uint64_t ceiling) noexcept nogil:
    """Follows free_pmd_range and its like above: the tables that entries of this table point to, and what is below."""
    cdef uint64_t next
    cdef uint64_t *entry
    while addr < end:
        next = level_addr_end(addr, end, level)
        entry = table + table_index(addr, level)
        if level == 1:
            if entry[0] and not pmd_leaf(m, entry[0]):
                free_pte_table(m, mm, entry)
        elif entry[0]:
            free_table_range(m, mm, table_of(m, table_pfn(m, entry[0])), level - 1, addr, next, floor, ceiling)
            if alone(addr, next, floor, ceiling, level_size(level)):
                table_free(m, table_pfn(m, entry[0]))
                store_entry(m, entry, 0)
                nr_tables_of(mm, level - 1)[0] -= 1
        addr = next


cdef void free_pgtables(machine_t *m, mm_t *mm, uint64_t addr, uint64_t end, uint64_t floor,
                        uint64_t ceiling) noexcept nogil:
    """Follows free_pgd_range."""
    cdef uint64_t top = ceiling
    if clamp_range(&addr, &end, floor, &top, FS_PMD_SIZE):
        free_table_range(m, mm, table_of(m, mm.pgd), m.top_level, addr, end, floor, top)
