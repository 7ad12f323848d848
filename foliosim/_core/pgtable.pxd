# cython: language_level=3
"""Page tables: entry accessors that name no architecture, and the way from an address to its entries.

To add an architecture: write arch/<name>.pxd with the bit table and the accessors below, add its number here, extend
each accessor, and parametrise tests/arch.  Loops read ``m.arch`` once; the compiler hoists the test.
"""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.arch.x86_64 cimport *

cdef enum:
    ARCH_X86_64 = 0

# ---- leaf entries: PTEs, and PMDs where the name says so ----

cdef inline uint64_t vm_get_page_prot(const machine_t *m, uint64_t vm_flags) noexcept nogil:
    return x86_64_protection(vm_flags)

cdef inline uint64_t mk_pte(const machine_t *m, uint64_t pfn, uint64_t prot) noexcept nogil:
    return x86_64_mk(pfn, prot)

cdef inline uint64_t mk_pmd_leaf(const machine_t *m, uint64_t pfn, uint64_t prot) noexcept nogil:
    return x86_64_mk(pfn, prot | X86_PSE)

cdef inline bint pte_none(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_none(e)

cdef inline bint pte_present(const machine_t *m, uint64_t e) noexcept nogil:
    """Present for software: a PROT_NONE entry too."""
    return x86_64_present(e)

cdef inline uint32_t pte_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>x86_64_pfn(e)

cdef inline bint pte_write(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_RW) != 0

cdef inline bint pte_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_dirty(e)

cdef inline bint pte_young(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_ACCESSED) != 0

cdef inline bint pte_special(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_SPECIAL) != 0

cdef inline bint pte_protnone(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & (X86_PRESENT | X86_PROTNONE)) == X86_PROTNONE

cdef inline bint pte_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_SOFT_DIRTY) != 0

cdef inline uint64_t pte_copy_soft_dirty(const machine_t *m, uint64_t e, uint64_t old) noexcept nogil:
    return e | (old & X86_SOFT_DIRTY)

cdef inline bint pte_guard(const machine_t *m, uint64_t e) noexcept nogil:
    """A guard marker, also one that a move made soft-dirty."""
    return e & ~X86_SWP_SOFT_DIRTY == X86_GUARD

cdef inline uint64_t pte_mksoft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    """The same for an entry that is not empty, present (leaf PMDs too) or not."""
    return e | (X86_SOFT_DIRTY if x86_64_present(e) else X86_SWP_SOFT_DIRTY)

cdef inline uint64_t mk_guard(const machine_t *m) noexcept nogil:
    return X86_GUARD

cdef inline uint64_t pte_mkwrite(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_mkwrite(e)

cdef inline uint64_t pte_wrprotect(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_wrprotect(e)

cdef inline uint64_t pte_mkdirty(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_mkdirty(e, m.soft_dirty)

cdef inline uint64_t pte_mkclean(const machine_t *m, uint64_t e) noexcept nogil:
    return x86_64_mkclean(e)

cdef inline uint64_t pte_mkyoung(const machine_t *m, uint64_t e) noexcept nogil:
    return e | X86_ACCESSED

cdef inline uint64_t pte_mkold(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~X86_ACCESSED

cdef inline uint64_t pte_mkspecial(const machine_t *m, uint64_t e) noexcept nogil:
    return e | X86_SPECIAL

cdef inline uint64_t pte_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    return x86_64_modify(e, prot, X86_CHG_MASK)

cdef inline uint64_t pmd_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    cdef uint64_t keep = X86_CHG_MASK | X86_PSE | X86_PAT_LARGE
    return x86_64_modify(e, prot, keep if m.pmd_modify_keeps_dirty else keep & ~X86_DIRTY)

cdef inline uint64_t pte_hw_access(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """What the CPU makes of a present entry when it is used: accessed, and dirty for a store."""
    return e | X86_ACCESSED | (X86_DIRTY if write else 0)

cdef inline bint pte_hw_allows(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """May a user-mode load or store go through the leaf entry?"""
    cdef uint64_t need = X86_PRESENT | X86_USER | (X86_RW if write else 0)
    return (e & need) == need

cdef inline bint pte_hw_present(const machine_t *m, uint64_t e) noexcept nogil:
    """Present for the MMU (a PROT_NONE entry is not)."""
    return (e & X86_PRESENT) != 0

cdef inline uint64_t pte_advance(const machine_t *m) noexcept nogil:
    """Difference of two present entries whose frames follow each other."""
    return FS_PAGE_SIZE

cdef inline uint64_t pte_bits(const machine_t *m, uint64_t e) noexcept nogil:
    """A 4 KiB entry without its address."""
    return e & ~X86_PFN_MASK

cdef inline uint64_t pte_with_bits(const machine_t *m, uint64_t e, uint64_t bits, bint invert) noexcept nogil:
    """The entry with other bits; invert: its address changes between plain and inverted."""
    return (e & X86_PFN_MASK ^ (X86_PFN_MASK if invert else 0)) | bits

cdef inline uint64_t pte_batch_key(const machine_t *m, uint64_t e) noexcept nogil:
    """An entry without the bits that may differ between the entries of a batch."""
    return e & ~(X86_ACCESSED | X86_DIRTY | X86_SAVED_DIRTY | X86_SOFT_DIRTY | X86_RW)

cdef inline uint64_t pte_batch_key_write(const machine_t *m, uint64_t e) noexcept nogil:
    """The same for batches that end where write permission or soft-dirty change."""
    return e & ~(X86_ACCESSED | X86_DIRTY | X86_SAVED_DIRTY)

cdef inline uint64_t pte_step(const machine_t *m, uint64_t e) noexcept nogil:
    """pte_advance of this entry: a PROT_NONE entry holds its address inverted."""
    return 0 - pte_advance(m) if pte_protnone(m, e) else pte_advance(m)

cdef inline void set_ptes(const machine_t *m, uint64_t *pte, uint64_t entry, uint32_t n) noexcept nogil:
    """Write n entries that map frames in a row, the first one being entry."""
    cdef uint64_t step = pte_step(m, entry)
    cdef uint32_t i
    for i in range(n):
        pte[i] = entry + i * step

cdef inline uint64_t pte_merge_batch(const machine_t *m, const uint64_t *pte, uint32_t n) noexcept nogil:
    """The first of n entries, accessed, or dirty, if any of them is (get_and_clear_ptes)."""
    cdef uint64_t entry = pte[0]
    cdef uint32_t i
    for i in range(1, n):
        if pte_dirty(m, pte[i]):
            entry = pte_mkdirty(m, entry)
        if pte_young(m, pte[i]):
            entry = pte_mkyoung(m, entry)
    return entry

cdef inline bint pmd_leaf(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_PSE) != 0

cdef inline bint pmd_table(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & (X86_PRESENT | X86_PSE)) == X86_PRESENT

# ---- tables ----

cdef inline uint64_t mk_table(const machine_t *m, uint32_t pfn) noexcept nogil:
    return (<uint64_t>pfn << 12) | X86_TABLE

cdef inline uint32_t table_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>((e & X86_PFN_MASK) >> 12)

cdef inline uint64_t *table_of(const machine_t *m, uint32_t pfn) noexcept nogil:
    """The 512 entries of a table, in emulated physical memory."""
    return <uint64_t *>(m.phys + (<uint64_t>pfn << 12))

cdef inline uint32_t pgd_index(uint64_t addr) noexcept nogil:
    return <uint32_t>(addr >> FS_PGDIR_SHIFT) & 511

cdef inline uint32_t pud_index(uint64_t addr) noexcept nogil:
    return <uint32_t>(addr >> FS_PUD_SHIFT) & 511

cdef inline uint32_t pmd_index(uint64_t addr) noexcept nogil:
    return <uint32_t>(addr >> FS_PMD_SHIFT) & 511

cdef inline uint32_t pte_index(uint64_t addr) noexcept nogil:
    return <uint32_t>(addr >> FS_PAGE_SHIFT) & 511

cdef inline uint64_t *pud_offset(const machine_t *m, const mm_t *mm, uint64_t addr) noexcept nogil:
    """The PUD entry of an address; NULL if its table is missing."""
    cdef uint64_t e = table_of(m, mm.pgd)[pgd_index(addr)]
    return table_of(m, table_pfn(m, e)) + pud_index(addr) if e else NULL

cdef inline uint64_t *pmd_offset(const machine_t *m, const mm_t *mm, uint64_t addr) noexcept nogil:
    """The PMD entry of an address; NULL if an upper table is missing."""
    cdef uint64_t *pud = pud_offset(m, mm, addr)
    if pud == NULL or not pud[0]:
        return NULL
    return table_of(m, table_pfn(m, pud[0])) + pmd_index(addr)

cdef inline uint64_t *pte_offset(const machine_t *m, uint64_t pmd, uint64_t addr) noexcept nogil:
    """The PTE of an address in the table that a PMD entry points to."""
    return table_of(m, table_pfn(m, pmd)) + pte_index(addr)

cdef inline uint64_t pmd_addr_end(uint64_t addr, uint64_t end) noexcept nogil:
    cdef uint64_t next = (addr + FS_PMD_SIZE) & ~(FS_PMD_SIZE - 1)
    return next if next < end else end

cdef inline uint64_t next_pmd_addr(const machine_t *m, const mm_t *mm, uint64_t addr, uint64_t end) noexcept nogil:
    """Where to go on when pmd_offset gave NULL: past the missing upper table, at most end."""
    cdef uint64_t size = 1ULL << FS_PUD_SHIFT
    cdef uint64_t next
    if not table_of(m, mm.pgd)[pgd_index(addr)]:
        size = 1ULL << FS_PGDIR_SHIFT
    next = (addr + size) & ~(size - 1)
    return next if next < end else end
