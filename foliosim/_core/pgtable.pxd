# cython: language_level=3
"""Page tables: the way from an address to its entries, and every write to one.

What an entry's bits mean, and all that differs between architectures, is in arch/: the core is built once for each
architecture and page size (setup.py), so nothing here or above asks which one it is.  docs/architectures.md says how
to add one.

Levels are numbered from the leaves: 0 PTE, 1 PMD, 2 PUD, 3 P4D or PGD.  ``m.top_level`` is the root's, which depends
on how many bits a virtual address has.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.debug cimport BUG_ON
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.arch.x86_64 cimport *

# ---- writing ----

cdef inline void count_table_op(machine_t *m, int op) noexcept nogil:
    m.table_ops[op] += 1

cdef inline void store_entry(machine_t *m, uint64_t *at, uint64_t entry) noexcept nogil:
    """Every write to a table that the MMU may be walking goes through here."""
    if FS_BREAK_BEFORE_MAKE and not entry_may_become(at[0], entry):
        count_table_op(m, BBM_VIOLATION)
        BUG_ON(True)
    at[0] = entry

cdef inline uint64_t pte_merge_batch(const machine_t *m, const uint64_t *pte, uint32_t n) noexcept nogil:
    """The first of n entries, accessed, or dirty, if any of them is."""
    cdef uint64_t entry = pte[0]
    cdef uint32_t i
    for i in range(1, n):
        if pte_dirty(m, pte[i]):
            entry = pte_mkdirty(m, entry)
        if pte_young(m, pte[i]):
            entry = pte_mkyoung(m, entry)
    return entry

# ---- entries in a row ----

cdef enum pte_run_e:         # how alike the entries of a run are
    PTES_BATCH               # accessed, dirty, soft-dirty and write bits may differ
    PTES_BATCH_WRITE         # accessed and dirty may
    PTES_EQUAL               # nothing but the address does

cdef enum:
    PTE_CHUNK = 16           # entries that are looked at together

cdef inline uint32_t empty_run(const uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """How many entries from the first on are empty."""
    cdef const uint64_t *at = pte
    cdef const uint64_t *end = pte + max_nr
    cdef uint64_t any
    cdef int i
    while end - at >= PTE_CHUNK:
        any = 0
        for i in range(PTE_CHUNK):
            any |= at[i]
        if any:
            break
        at += PTE_CHUNK
    while at < end and not at[0]:
        at += 1
    return <uint32_t>(at - pte)

cdef inline uint64_t run_key(const machine_t *m, uint64_t e, int alike) noexcept nogil:
    return e if alike == PTES_EQUAL else pte_batch_key_write(m, e) if alike == PTES_BATCH_WRITE else pte_batch_key(m, e)

cdef inline uint32_t pte_run(const machine_t *m, const uint64_t *pte, uint32_t max_nr, int alike) noexcept nogil:
    """How many present entries from the first on map frames in a row and are alike."""
    cdef const uint64_t *at = pte + 1
    cdef const uint64_t *end = pte + max_nr
    cdef uint64_t step = pte_step(m, pte[0]), expected = run_key(m, pte[0], alike) + step, differ
    cdef int64_t i
    if max_nr < 2 or run_key(m, at[0], alike) != expected:
        return 1
    while end - at >= PTE_CHUNK:
        differ = 0
        for i in range(PTE_CHUNK):
            differ |= run_key(m, at[i], alike) ^ (expected + <uint64_t>i * step)
        if differ:
            break
        at += PTE_CHUNK
        expected += PTE_CHUNK * step
    while at < end and run_key(m, at[0], alike) == expected:
        at += 1
        expected += step
    return <uint32_t>(at - pte)

cdef inline uint32_t same_bits(const machine_t *m, const uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """How many entries from the first on differ from it in their address only, wherever that is."""
    cdef const uint64_t *at = pte + 1
    cdef const uint64_t *end = pte + max_nr
    cdef uint64_t bits = pte_bits(m, pte[0]), differ
    cdef int i
    while end - at >= PTE_CHUNK:
        differ = 0
        for i in range(PTE_CHUNK):
            differ |= pte_bits(m, at[i]) ^ bits
        if differ:
            break
        at += PTE_CHUNK
    while at < end and pte_bits(m, at[0]) == bits:
        at += 1
    return <uint32_t>(at - pte)

# ---- tables ----

cdef inline int top_level_of(int va_bits) noexcept nogil:
    """Level of the root table for addresses of va_bits."""
    return (va_bits - FS_PAGE_SHIFT + FS_TABLE_SHIFT - 1) // FS_TABLE_SHIFT - 1

cdef inline void address_space_init(machine_t *m, int va_bits) noexcept nogil:
    """How many levels addresses of va_bits need, and where the user's end."""
    m.va_bits = va_bits
    m.top_level = top_level_of(va_bits)
    m.pgd_shift = level_shift(m.top_level)
    arch_address_space(m)

cdef inline uint64_t *table_of(const machine_t *m, uint32_t pfn) noexcept nogil:
    """The FS_PTRS_PER_PTE entries of a table, in emulated physical memory."""
    return <uint64_t *>(m.phys + (<uint64_t>pfn << FS_PAGE_SHIFT))

cdef inline int level_shift(int level) noexcept nogil:
    return FS_PAGE_SHIFT + level * FS_TABLE_SHIFT

cdef inline uint64_t level_size(int level) noexcept nogil:
    """Bytes that an entry of the level translates."""
    return 1ULL << level_shift(level)

cdef inline uint32_t table_index(uint64_t addr, int level) noexcept nogil:
    return <uint32_t>(addr >> level_shift(level)) & (FS_PTRS_PER_PTE - 1)

cdef inline uint32_t pmd_index(uint64_t addr) noexcept nogil:
    return table_index(addr, 1)

cdef inline uint32_t pte_index(uint64_t addr) noexcept nogil:
    return table_index(addr, 0)

cdef inline uint64_t *lower_entry(const machine_t *m, const uint64_t *entry, uint64_t addr, int level) noexcept nogil:
    """The entry of the level in the table that an entry one level up points to; NULL if it points to none."""
    return table_of(m, table_pfn(m, entry[0])) + table_index(addr, level) if pmd_table(m, entry[0]) else NULL

cdef inline uint64_t *pgd_offset(const machine_t *m, const mm_t *mm, uint64_t addr) noexcept nogil:
    return table_of(m, mm.pgd) + (<uint32_t>(addr >> m.pgd_shift) & (FS_PTRS_PER_PTE - 1))

cdef inline uint64_t *entry_offset(const machine_t *m, const mm_t *mm, uint64_t addr, int level) noexcept nogil:
    """The entry of an address at a level above the PTEs and not above the root's; NULL if an upper table is missing."""
    cdef uint64_t *entry = pgd_offset(m, mm, addr)
    cdef int at = m.top_level
    while at > level and entry != NULL:
        at -= 1
        entry = lower_entry(m, entry, addr, at)
    return entry

cdef inline uint64_t *pmd_offset(const machine_t *m, const mm_t *mm, uint64_t addr) noexcept nogil:
    """The PMD entry of an address; NULL if an upper table is missing, or an upper entry is a leaf."""
    cdef uint64_t *entry
    if m.top_level != 3:
        return entry_offset(m, mm, addr, 1)
    entry = lower_entry(m, pgd_offset(m, mm, addr), addr, 2)
    return lower_entry(m, entry, addr, 1) if entry != NULL else NULL

cdef inline uint64_t *leaf_offset(const machine_t *m, const mm_t *mm, uint64_t addr, int *level) noexcept nogil:
    """The entry that maps an address, or the empty one under which nothing is mapped, and its level."""
    cdef uint64_t *entry = pgd_offset(m, mm, addr)
    level[0] = m.top_level
    while level[0] and pmd_table(m, entry[0]):
        level[0] -= 1
        entry = table_of(m, table_pfn(m, entry[0])) + table_index(addr, level[0])
    return entry

cdef inline uint64_t *next_pmd(const machine_t *m, const mm_t *mm, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """pmd_offset in a loop over an address range: pmd is the entry before that of addr, NULL if it is not known."""
    return pmd + 1 if pmd != NULL and pmd_index(addr) else pmd_offset(m, mm, addr)

cdef inline uint64_t *pte_offset(const machine_t *m, uint64_t pmd, uint64_t addr) noexcept nogil:
    """The PTE of an address in the table that a PMD entry points to."""
    return table_of(m, table_pfn(m, pmd)) + pte_index(addr)

cdef inline uint64_t level_addr_end(uint64_t addr, uint64_t end, int level) noexcept nogil:
    """Where the entry of an address ends, at most end."""
    cdef uint64_t size = level_size(level), next = (addr + size) & ~(size - 1)
    return next if next < end else end

cdef inline uint64_t pmd_addr_end(uint64_t addr, uint64_t end) noexcept nogil:
    return level_addr_end(addr, end, 1)

cdef inline uint32_t pmds_from(uint64_t addr, uint64_t end) noexcept nogil:
    """How many entries, from that of addr to the end of its PMD table, translate nothing outside [addr, end)."""
    cdef uint64_t n = (end - addr) >> FS_PMD_SHIFT
    cdef uint32_t left = FS_PTRS_PER_PTE - pmd_index(addr)
    if addr & (FS_PMD_SIZE - 1):
        return 0
    return left if left < n else <uint32_t>n

cdef inline uint64_t next_pmd_addr(const machine_t *m, const mm_t *mm, uint64_t addr, uint64_t end) noexcept nogil:
    """Where to go on when pmd_offset gave NULL: past the missing upper table, at most end."""
    cdef int level
    leaf_offset(m, mm, addr, &level)
    return level_addr_end(addr, end, level)

cdef inline int64_t *nr_tables_of(mm_t *mm, int level) noexcept nogil:
    """The count of an mm's tables of a level below the root's."""
    if level == 0:
        return &mm.nr_ptes
    if level == 1:
        return &mm.nr_pmds
    return &mm.nr_puds if level == 2 else &mm.nr_p4ds
