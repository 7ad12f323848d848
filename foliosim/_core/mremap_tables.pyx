# cython: language_level=3
"""Moving page tables for mremap: whole tables where both sides are aligned, else entry by entry.

Follows move_page_tables (mm/mremap.c) and move_huge_pmd (mm/huge_memory.c).  The folios do not notice: mapcounts,
references and rss stay.
"""
from libc.string cimport memcpy, memset
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport count_op
from foliosim._core.huge_memory cimport pgtable_deposit, pgtable_withdraw, split_huge_pmd
from foliosim._core.maple_tree cimport vma_find
from foliosim._core.memcontrol cimport MEMCG_TABLES
from foliosim._core.pgalloc cimport pmd_alloc, pte_alloc, pud_alloc
from foliosim._core.vmscan cimport mem_cgroup_charge
from foliosim._core.zap cimport folio_pte_batch_write

cdef extern from *:
    """
    #define MOVE_FAILED (~0ULL)
    """
    const uint64_t MOVE_FAILED

cdef struct pmc_t:           # pagetable_move_control
    mm_t *mm
    vma_t *old
    vma_t *new
    uint64_t old_addr, old_end
    uint64_t new_addr


cdef inline uint64_t get_extent(const pmc_t *pmc, uint64_t size) noexcept nogil:
    """Bytes up to where an entry of this size ends on either side, or the range does."""
    cdef uint64_t extent = size - (pmc.old_addr & (size - 1))
    cdef uint64_t other = size - (pmc.new_addr & (size - 1))
    if other < extent:
        extent = other
    other = pmc.old_end - pmc.old_addr
    return other if other < extent else extent


cdef inline bint move_table(machine_t *m, uint64_t *old, uint64_t *new) noexcept nogil:
    """Follows move_normal_pmd, move_normal_pud: the table as it is, if none is in its place."""
    if new[0]:
        return False
    store_entry(m, new, old[0])
    store_entry(m, old, 0)
    return True


cdef bint move_huge_pmd(machine_t *m, const vma_t *vma, uint64_t *old, uint64_t *new) noexcept nogil:
    """The deposited table of anonymous memory goes along."""
    if new[0]:
        return False
    if vma.file == NULL:
        pgtable_deposit(m, new, pgtable_withdraw(m, old))
    store_entry(m, new, pte_mksoft_dirty(m, old[0]) if m.soft_dirty else old[0])
    store_entry(m, old, 0)
    count_op(m, OP_PTE_SET, 1)
    count_op(m, OP_TLB_FLUSH, 1)
    return True


cdef uint32_t mremap_batch(machine_t *m, const uint64_t *pte, uint64_t entry, uint32_t max_nr) noexcept nogil:
    """Follows mremap_folio_pte_batch: only entries that are contiguous already are moved together."""
    if max_nr == 1 or not pte_present(m, entry) or pte_batch_hint(pte, entry) == 1:
        return 1
    return folio_pte_batch_write(m, pte, pte_pfn(m, entry), max_nr)


cdef void move_batches(machine_t *m, uint64_t *old, uint64_t *new, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0, k
    while i < n:
        k = 1
        if not pte_none(m, old[i]):
            k = mremap_batch(m, old + i, old[i], n - i)
            set_ptes(m, new + i, get_and_clear_ptes(m, old + i, k), k)
        i += k


cdef void move_ptes(machine_t *m, const pmc_t *pmc, uint64_t old_pmd, uint64_t new_pmd, uint64_t extent) noexcept nogil:
    """Those of the new place are empty."""
    cdef uint64_t *old = pte_offset(m, old_pmd, pmc.old_addr)
    cdef uint64_t *new = pte_offset(m, new_pmd, pmc.new_addr)
    cdef uint32_t n = <uint32_t>(extent >> FS_PAGE_SHIFT), i
    if FS_CONT_PTES > 1:
        move_batches(m, old, new, n)
        return
    memcpy(new, old, n * sizeof(uint64_t))
    memset(old, 0, n * sizeof(uint64_t))
    count_op(m, OP_PTE_SET, n)
    count_op(m, OP_TLB_FLUSH, 1)
    if not m.soft_dirty:
        return
    for i in range(n):
        if not pte_none(m, new[i]):
            new[i] = pte_mksoft_dirty(m, new[i])


cdef uint64_t move_pud(machine_t *m, const pmc_t *pmc) noexcept nogil:
    """Bytes moved or found empty by one PUD entry; 0: go on below it; or MOVE_FAILED: no frame for a table."""
    cdef uint64_t extent = get_extent(pmc, FS_PUD_SIZE)
    cdef uint64_t *old = entry_offset(m, pmc.mm, pmc.old_addr, 2)
    cdef uint64_t *new
    if old == NULL or not old[0]:
        return extent
    new = pud_alloc(m, pmc.mm, pmc.new_addr)
    if new == NULL:
        return MOVE_FAILED
    return extent if extent == FS_PUD_SIZE and move_table(m, old, new) else 0


cdef uint64_t move_step(machine_t *m, const pmc_t *pmc) noexcept nogil:
    """Move what one entry of the highest possible table maps.  The bytes it maps, or 0: no frame for a table."""
    cdef uint64_t extent
    cdef uint64_t *old
    cdef uint64_t *new
    if not mem_cgroup_charge(m, MEMCG_TABLES):
        return 0
    extent = move_pud(m, pmc) if m.top_level > 1 else 0
    if extent:
        return 0 if extent == MOVE_FAILED else extent
    extent = get_extent(pmc, FS_PMD_SIZE)
    old = pmd_offset(m, pmc.mm, pmc.old_addr)
    if not old[0]:
        return extent
    new = pmd_alloc(m, pmc.mm, pmc.new_addr)
    if new == NULL:
        return 0
    if pmd_leaf(m, old[0]):
        if extent == FS_PMD_SIZE and move_huge_pmd(m, pmc.old, old, new):
            return extent
        split_huge_pmd(m, pmc.old, old, pmc.old_addr)
    elif extent == FS_PMD_SIZE and move_table(m, old, new):
        return extent
    if not old[0]:
        return extent
    if pte_alloc(m, pmc.mm, new) < 0:
        return 0
    move_ptes(m, pmc, old[0], new[0], extent)
    return extent


cdef inline bint can_align_down(const vma_t *vma, uint64_t addr) noexcept nogil:
    """The VMA starts at addr, and the rest of the 2 MiB below is free."""
    cdef uint64_t aligned = addr & ~(FS_PMD_SIZE - 1)
    return vma.start == addr and (aligned == addr or vma_find(vma.mm, aligned, addr) == NULL)


cdef void try_realign_addr(pmc_t *pmc) noexcept nogil:
    """Start lower, where a PTE table starts, if that lets the whole table move."""
    cdef uint64_t into = pmc.old_addr & (FS_PMD_SIZE - 1)
    if not into or into != pmc.new_addr & (FS_PMD_SIZE - 1) or pmc.old_end - pmc.old_addr < FS_PMD_SIZE - into:
        return
    if can_align_down(pmc.old, pmc.old_addr) and can_align_down(pmc.new, pmc.new_addr):
        pmc.old_addr -= into
        pmc.new_addr -= into


cdef uint64_t move_page_tables(machine_t *m, vma_t *old, vma_t *new, uint64_t old_addr, uint64_t new_addr,
                               uint64_t len) noexcept nogil:
    cdef pmc_t pmc
    cdef uint64_t extent
    pmc.mm = old.mm
    pmc.old = old
    pmc.new = new
    pmc.old_addr = old_addr
    pmc.old_end = old_addr + len
    pmc.new_addr = new_addr
    if not len:
        return 0
    try_realign_addr(&pmc)
    while pmc.old_addr < pmc.old_end:
        extent = move_step(m, &pmc)
        if not extent:
            break
        pmc.old_addr += extent
        pmc.new_addr += extent
    return pmc.old_addr - old_addr if pmc.old_addr > old_addr else 0
