# cython: language_level=3
"""Page walks as the MMU makes them; what an entry says and whom it lets through is the architecture's."""
from libc.stdint cimport int8_t
from foliosim._core.pgtable cimport level_shift, level_size, table_index, top_level_of
from foliosim._core.arch.x86_64_walk cimport *

cdef enum:
    WALK_GROUP = 16
    MAX_LEVELS = 5
    UNDER_WAY = MAX_LEVELS


cdef void walk_mmu_levels(walk_mmu_t *mmu) noexcept nogil:
    mmu.top_level = top_level_of(mmu.va_bits)


cdef void walk_mmu_init(walk_mmu_t *mmu, const machine_t *m, const mm_t *mm) noexcept nogil:
    mmu.phys = m.phys
    mmu.size = m.nr_pages << FS_PAGE_SHIFT
    mmu.root = <uint64_t>mm.pgd << FS_PAGE_SHIFT
    mmu.flags = walk_linux_flags(m)
    mmu.va_bits = m.va_bits
    mmu.top_level = m.top_level
    mmu.pa_bits = walk_pa_bits(m)


cdef inline uint64_t *entry_at(const walk_mmu_t *mmu, uint64_t table, uint64_t va, int level) noexcept nogil:
    """NULL if the table lies beyond the memory."""
    cdef uint64_t pa = table + (<uint64_t>table_index(walk_translated(va), level) << 3)
    return <uint64_t *>(mmu.phys + pa) if pa + 8 <= mmu.size else NULL


cdef void fault(const walk_mmu_t *mmu, uint32_t why, int level, uint32_t access, walk_result_t *out) noexcept nogil:
    out.pa = 0
    out.level = <int8_t>level
    out.rights = 0
    out.error = WALK_PF | walk_fault_code(mmu, why, level, access)


cdef inline void finish(const walk_mmu_t *mmu, uint64_t va, uint32_t access, uint64_t leaf, int level, uint64_t ored,
                        uint64_t anded, walk_result_t *out) noexcept nogil:
    """The leaf was found: check the rights, give the address."""
    cdef uint64_t mask = level_size(level) - 1
    cdef uint32_t rights = walk_rights(mmu, leaf, ored, anded)
    cdef uint32_t why = walk_refusal(mmu, leaf, ored, rights, access)
    if why:
        fault(mmu, why, level, access, out)
        return
    out.pa = (walk_output(leaf) & ~mask) | (va & mask)
    out.error = 0
    out.level = <int8_t>level
    out.rights = <uint8_t>rights


cdef void walk(const walk_mmu_t *mmu, uint64_t va, uint32_t access, walk_result_t *out) noexcept nogil:
    cdef uint64_t *entries[MAX_LEVELS]
    cdef uint64_t e, ored = 0, anded = ~0ULL, table = mmu.root, reserved = walk_reserved(mmu)
    cdef int level = mmu.top_level
    cdef uint32_t kind
    if not walk_address_ok(mmu, va):
        walk_bad_address(mmu, out)
        return
    while True:
        entries[level] = entry_at(mmu, table, va, level)
        e = entries[level][0] if entries[level] != NULL else 0
        kind = walk_entry(mmu, e, level, reserved)
        if kind & WALK_STOP:
            fault(mmu, kind, level, access, out)
            return
        if kind == WALK_LEAF:
            break
        ored |= e
        anded &= e
        table = walk_output(e)
        level -= 1
    finish(mmu, va, access, e, level, ored, anded, out)
    if mmu.flags & WALK_SET_AD and not out.error:
        walk_set_used(mmu, entries, level, (access & WALK_WRITE) != 0)


cdef void step_group(const walk_mmu_t *mmu, const uint64_t *va, int n, int level, uint64_t reserved, uint64_t *e,
                     uint64_t *ored, uint64_t *anded, int8_t *leaf) noexcept nogil:
    """One level for n addresses.  leaf: UNDER_WAY, else the leaf's level, or -1 for a walk that stopped."""
    cdef uint64_t *entry
    cdef uint32_t kind
    cdef int i
    for i in range(n):
        if leaf[i] != UNDER_WAY:
            continue
        entry = entry_at(mmu, e[i], va[i], level)
        e[i] = entry[0] if entry != NULL else 0
        kind = walk_entry(mmu, e[i], level, reserved)
        if kind == WALK_TABLE:
            ored[i] |= e[i]
            anded[i] &= e[i]
            e[i] = walk_output(e[i])
        else:
            leaf[i] = <int8_t>level if kind == WALK_LEAF else -1


cdef void walk_group(const walk_mmu_t *mmu, const uint64_t *va, int n, uint32_t access,
                     walk_result_t *out) noexcept nogil:
    """Up to 16 walks level by level; those that stop early are made again one by one."""
    cdef uint64_t e[WALK_GROUP]
    cdef uint64_t ored[WALK_GROUP]
    cdef uint64_t anded[WALK_GROUP]
    cdef int8_t leaf[WALK_GROUP]
    cdef uint64_t reserved = walk_reserved(mmu)
    cdef int i, level
    for i in range(n):
        e[i] = mmu.root
        ored[i] = 0
        anded[i] = ~0ULL
        leaf[i] = UNDER_WAY if walk_address_ok(mmu, va[i]) else -1
    level = mmu.top_level
    while level >= 0:
        step_group(mmu, va, n, level, reserved, e, ored, anded, leaf)
        level -= 1
    for i in range(n):
        if leaf[i] < 0:
            walk(mmu, va[i], access, out + i)
        else:
            finish(mmu, va[i], access, e[i], leaf[i], ored[i], anded[i], out + i)


cdef void walk_batch(const walk_mmu_t *mmu, const uint64_t *va, int64_t n, uint32_t access,
                     walk_result_t *out) noexcept nogil:
    cdef int64_t i = 0
    cdef int k
    if mmu.flags & WALK_SET_AD:
        for i in range(n):
            walk(mmu, va[i], access, out + i)
        return
    while i < n:
        k = WALK_GROUP if n - i > WALK_GROUP else <int>(n - i)
        walk_group(mmu, va + i, k, access, out + i)
        i += k
