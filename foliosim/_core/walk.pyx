# cython: language_level=3
"""Page walks as the MMU makes them; what an entry says and whom it lets through is the architecture's."""
from libc.stdint cimport int8_t, int64_t
from foliosim._core.pgtable cimport level_shift, level_size, table_index, top_level_of
from foliosim._core.arch.x86_64_walk cimport *

cdef enum:
    WALK_GROUP = 16
    MAX_LEVELS = 5


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


cdef inline uint64_t entry_address(uint64_t table, uint64_t va, int level) noexcept nogil:
    return table + (<uint64_t>table_index(walk_translated(va), level) << 3)


cdef inline uint64_t *entry_at(const walk_mmu_t *mmu, uint64_t table, uint64_t va, int level) noexcept nogil:
    """NULL if the table lies beyond the memory."""
    cdef uint64_t pa = entry_address(table, va, level)
    return <uint64_t *>(mmu.phys + pa) if pa + 8 <= mmu.size else NULL


cdef void fault(const walk_mmu_t *mmu, uint32_t why, int level, uint32_t access, walk_result_t *out) noexcept nogil:
    out.pa = 0
    out.level = <int8_t>level
    out.rights = 0
    out.error = WALK_PF | walk_fault_code(mmu, why, level, access)


cdef inline void finish(const walk_mmu_t *mmu, uint64_t va, uint32_t access, uint64_t leaf, int level, uint64_t taken,
                        walk_result_t *out) noexcept nogil:
    """The leaf was found: check the rights, give the address."""
    cdef uint64_t mask = level_size(level) - 1
    cdef uint32_t rights = walk_rights(mmu, leaf, taken)
    cdef uint32_t why = walk_refusal(mmu, leaf, taken, rights, access)
    if why:
        fault(mmu, why, level, access, out)
        return
    out.pa = (walk_output(leaf) & ~mask) | (va & mask)
    out.error = 0
    out.level = <int8_t>level
    out.rights = <uint8_t>rights


cdef void walk(const walk_mmu_t *mmu, uint64_t va, uint32_t access, walk_result_t *out) noexcept nogil:
    cdef uint64_t *entries[MAX_LEVELS]
    cdef uint64_t e, taken = 0, table = mmu.root, reserved = walk_reserved(mmu)
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
        taken |= walk_taken(e)
        table = walk_output(e)
        level -= 1
    finish(mmu, va, access, e, level, taken, out)
    if mmu.flags & WALK_SET_AD and not out.error:
        walk_set_used(mmu, entries, level, (access & WALK_WRITE) != 0)


# ---- many at once: their loads overlap ----

cdef struct walk_group_t:    # walks that are under way, at the same level
    int n
    uint64_t tables              # OR over the addresses of the tables: none lies above it
    uint64_t differ              # bits that the entries do not have in common
    uint64_t va[WALK_GROUP]
    uint64_t e[WALK_GROUP]       # address of the table; then the entry in it
    uint64_t taken[WALK_GROUP]
    walk_result_t *out[WALK_GROUP]


cdef void begin_group(const walk_mmu_t *mmu, walk_group_t *group, const uint64_t *va, int n,
                      walk_result_t *out) noexcept nogil:
    cdef int i
    group.n = 0
    group.tables = mmu.root
    for i in range(n):
        group.va[group.n] = va[i]
        group.e[group.n] = mmu.root
        group.taken[group.n] = 0
        group.out[group.n] = out + i
        if walk_address_ok(mmu, va[i]):
            group.n += 1
        else:
            walk_bad_address(mmu, out + i)


cdef inline uint32_t read_entries(const walk_mmu_t *mmu, walk_group_t *group, int level,
                                  uint64_t reserved) noexcept nogil:
    """The entries of a level; what all of them are (walk_entries)."""
    cdef const uint8_t *phys = mmu.phys
    cdef uint64_t ored = 0, anded = ~0ULL, size = mmu.size, pa
    cdef bint inside = group.tables + FS_PAGE_SIZE <= size
    cdef int64_t i
    for i in range(group.n):
        pa = entry_address(group.e[i], group.va[i], level)
        group.e[i] = (<const uint64_t *>(phys + pa))[0] if inside or pa + 8 <= size else 0
        ored |= group.e[i]
        anded &= group.e[i]
    group.tables = walk_output(ored)
    group.differ = ored ^ anded
    return walk_entries(ored, anded, level, reserved)


cdef void end_walks(const walk_mmu_t *mmu, walk_group_t *group, int level, uint64_t reserved,
                    uint32_t access) noexcept nogil:
    """Those whose entry is no table end; the others move up."""
    cdef int i, n = 0
    cdef uint32_t kind
    for i in range(group.n):
        kind = walk_entry(mmu, group.e[i], level, reserved)
        if kind == WALK_LEAF:
            finish(mmu, group.va[i], access, group.e[i], level, group.taken[i], group.out[i])
        elif kind & WALK_STOP:
            fault(mmu, kind, level, access, group.out[i])
        else:
            group.va[n], group.e[n], group.out[n] = group.va[i], group.e[i], group.out[i]
            group.taken[n] = group.taken[i]
            n += 1
    group.n = n


cdef bint finish_alike(const walk_mmu_t *mmu, walk_group_t *group, uint32_t access) noexcept nogil:
    """All have found pages that differ in nothing but their addresses, and may be used: the usual case."""
    cdef uint64_t differ = group.differ
    cdef uint32_t rights
    cdef int i
    for i in range(1, group.n):
        differ |= group.taken[i] ^ group.taken[0]
    rights = walk_rights(mmu, group.e[0], group.taken[0])
    if walk_output(differ) != differ or walk_refusal(mmu, group.e[0], group.taken[0], rights, access):
        return False
    for i in range(group.n):
        group.out[i].pa = walk_output(group.e[i]) | (group.va[i] & (FS_PAGE_SIZE - 1))
        group.out[i].error = 0
        group.out[i].level = 0
        group.out[i].rights = <uint8_t>rights
    return True


cdef inline void go_down(walk_group_t *group) noexcept nogil:
    """To the tables that the entries point to; free places come along, so that the loop has a fixed length."""
    cdef int i
    for i in range(WALK_GROUP):
        group.taken[i] |= walk_taken(group.e[i])
        group.e[i] = walk_output(group.e[i])


cdef void walk_group(const walk_mmu_t *mmu, walk_group_t *group, uint32_t access) noexcept nogil:
    """Up to 16 walks, level by level."""
    cdef uint64_t reserved = walk_reserved(mmu)
    cdef int level = mmu.top_level
    cdef uint32_t kind
    while group.n:
        kind = read_entries(mmu, group, level, reserved)
        if kind == WALK_LEAF and finish_alike(mmu, group, access):
            return
        if kind != WALK_TABLE:
            end_walks(mmu, group, level, reserved, access)
        if group.n:
            go_down(group)
        level -= 1


cdef void walk_batch(const walk_mmu_t *mmu, const uint64_t *va, int64_t n, uint32_t access,
                     walk_result_t *out) noexcept nogil:
    cdef walk_group_t group
    cdef int64_t i = 0
    cdef int k
    if mmu.flags & WALK_SET_AD:
        for i in range(n):
            walk(mmu, va[i], access, out + i)
        return
    while i < n:
        k = WALK_GROUP if n - i > WALK_GROUP else <int>(n - i)
        begin_group(mmu, &group, va + i, k, out + i)
        walk_group(mmu, &group, access)
        i += k
