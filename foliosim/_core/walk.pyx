# cython: language_level=3
"""Page walks as the MMU makes them.  Source: Intel SDM vol. 3 ch. 4 (paging), 4-level paging.

Fidelity: identical in translation, rights, error codes and accessed/dirty updates of completed walks.  No TLB, no
protection keys, no memory types.
"""
from foliosim._core.arch.x86_64 cimport *

cdef enum:
    WALK_GROUP = 16
    LEVEL_PTE = 0
    LEVEL_PGD = 3


cdef void walk_mmu_init(walk_mmu_t *mmu, const machine_t *m, const mm_t *mm) noexcept nogil:
    mmu.phys = m.phys
    mmu.size = m.nr_pages << 12
    mmu.root = mm.pgd
    mmu.flags = WALK_LINUX
    mmu.maxphyaddr = 46


cdef inline uint64_t level_size(int level) noexcept nogil:
    return 1ULL << (12 + 9 * level)


cdef inline bint canonical(uint64_t va) noexcept nogil:
    """Bits 63:47 are equal."""
    return (va + (1ULL << 47)) >> 48 == 0


cdef inline uint64_t reserved_bits(const walk_mmu_t *mmu) noexcept nogil:
    """Bits that no present entry may have."""
    cdef uint64_t bits = X86_PFN_MASK & ~((1ULL << mmu.maxphyaddr) - 1)
    return bits if mmu.flags & WALK_NXE else bits | X86_NX


cdef inline bint entry_reserved(uint64_t e, int level, uint64_t reserved) noexcept nogil:
    if e & reserved:
        return True
    if level == LEVEL_PTE or not e & X86_PSE:
        return False
    if level == LEVEL_PGD:
        return True
    return (e & (level_size(level) - 1) & X86_PFN_MASK & ~X86_PAT_LARGE) != 0


cdef inline uint64_t *entry_at(const walk_mmu_t *mmu, uint64_t table, uint64_t va, int level) noexcept nogil:
    """NULL if the table lies beyond the memory."""
    cdef uint64_t pa = table + (((va >> (12 + 9 * level)) & 511) << 3)
    return <uint64_t *>(mmu.phys + pa) if pa + 8 <= mmu.size else NULL


cdef uint32_t access_fault(uint32_t rights, uint32_t access, uint32_t flags) noexcept nogil:
    """X86_PF_PROT if the rights of a completed walk do not allow the access, else 0."""
    cdef bint allowed = True
    if access & WALK_USER and not rights & WALK_RIGHT_U:
        allowed = False
    elif access & WALK_FETCH:
        allowed = (rights & WALK_RIGHT_X) != 0
        if not access & WALK_USER and rights & WALK_RIGHT_U and flags & WALK_SMEP:
            allowed = False
    else:
        if access & WALK_WRITE and not rights & WALK_RIGHT_W:
            allowed = not access & WALK_USER and not flags & WALK_WP
        if not access & WALK_USER and rights & WALK_RIGHT_U and flags & WALK_SMAP and not flags & WALK_AC:
            allowed = False
    return 0 if allowed else X86_PF_PROT


cdef void page_fault(const walk_mmu_t *mmu, uint32_t why, int level, uint32_t access,
                     walk_result_t *out) noexcept nogil:
    """Fill the result in; why: the bits of the error code that do not follow from the access."""
    out.pa = 0
    out.level = <int8_t>level
    out.rights = 0
    out.error = WALK_PF | why | (access & (WALK_WRITE | WALK_USER))
    if access & WALK_FETCH and mmu.flags & (WALK_NXE | WALK_SMEP):
        out.error |= X86_PF_INSTR


cdef inline uint32_t rights_of(uint64_t ored, uint64_t anded) noexcept nogil:
    """Rights from the OR and the AND over all entries of a walk."""
    cdef uint32_t rights = WALK_RIGHT_R
    if anded & X86_RW:
        rights |= WALK_RIGHT_W
    if anded & X86_USER:
        rights |= WALK_RIGHT_U
    if not ored & X86_NX:
        rights |= WALK_RIGHT_X
    return rights


cdef void set_accessed_dirty(uint64_t **entries, int level, bint write) noexcept nogil:
    """Accessed in every entry of the walk, dirty in the leaf."""
    cdef int at = LEVEL_PGD
    while at >= level:
        if not entries[at][0] & X86_ACCESSED:
            entries[at][0] |= X86_ACCESSED
        at -= 1
    if write and not entries[level][0] & X86_DIRTY:
        entries[level][0] |= X86_DIRTY


cdef void walk(const walk_mmu_t *mmu, uint64_t va, uint32_t access, walk_result_t *out) noexcept nogil:
    cdef uint64_t *entries[4]
    cdef uint64_t e, ored = 0, anded = ~0ULL, reserved = reserved_bits(mmu)
    cdef uint64_t table = <uint64_t>mmu.root << 12
    cdef int level = LEVEL_PGD
    if not canonical(va):
        out.pa = 0
        out.error = WALK_GP
        out.level = -1
        out.rights = 0
        return
    while True:
        entries[level] = entry_at(mmu, table, va, level)
        e = entries[level][0] if entries[level] != NULL else 0
        if not e & X86_PRESENT:
            page_fault(mmu, 0, level, access, out)
            return
        if entry_reserved(e, level, reserved):
            page_fault(mmu, X86_PF_PROT | X86_PF_RSVD, level, access, out)
            return
        ored |= e
        anded &= e
        if level == LEVEL_PTE or e & X86_PSE:
            break
        table = e & X86_PFN_MASK
        level -= 1
    finish(mmu, va, access, e, level, rights_of(ored, anded), out)
    if mmu.flags & WALK_SET_AD and not out.error:
        set_accessed_dirty(entries, level, (access & WALK_WRITE) != 0)


cdef inline void finish(const walk_mmu_t *mmu, uint64_t va, uint32_t access, uint64_t leaf, int level, uint32_t rights,
                        walk_result_t *out) noexcept nogil:
    """All entries were present and well formed: check the rights, give the address."""
    cdef uint64_t mask = level_size(level) - 1
    cdef uint32_t why = access_fault(rights, access, mmu.flags)
    if why:
        page_fault(mmu, why, level, access, out)
        return
    out.pa = (leaf & X86_PFN_MASK & ~mask) | (va & mask)
    out.error = 0
    out.level = <int8_t>level
    out.rights = <uint8_t>rights


cdef void step_group(const walk_mmu_t *mmu, const uint64_t *va, int n, int level, uint64_t reserved, uint64_t *e,
                     uint64_t *ored, uint64_t *anded, int8_t *leaf) noexcept nogil:
    """One level for n addresses.  leaf: 4 while under way, else the leaf's level, or -1 for a walk that stopped."""
    cdef uint64_t *entry
    cdef int i
    for i in range(n):
        if leaf[i] <= LEVEL_PGD:
            continue
        entry = entry_at(mmu, e[i] & X86_PFN_MASK, va[i], level)
        e[i] = entry[0] if entry != NULL else 0
        ored[i] |= e[i]
        anded[i] &= e[i]
        if not e[i] & X86_PRESENT or entry_reserved(e[i], level, reserved):
            leaf[i] = -1
        elif level == LEVEL_PTE or e[i] & X86_PSE:
            leaf[i] = <int8_t>level


cdef void walk_group(const walk_mmu_t *mmu, const uint64_t *va, int n, uint32_t access,
                     walk_result_t *out) noexcept nogil:
    """Up to 16 walks level by level; those that stop early are made again one by one."""
    cdef uint64_t e[WALK_GROUP]
    cdef uint64_t ored[WALK_GROUP]
    cdef uint64_t anded[WALK_GROUP]
    cdef int8_t leaf[WALK_GROUP]
    cdef uint64_t reserved = reserved_bits(mmu)
    cdef int i, level
    for i in range(n):
        e[i] = <uint64_t>mmu.root << 12
        ored[i] = 0
        anded[i] = ~0ULL
        leaf[i] = LEVEL_PGD + 1 if canonical(va[i]) else -1
    level = LEVEL_PGD
    while level >= LEVEL_PTE:
        step_group(mmu, va, n, level, reserved, e, ored, anded, leaf)
        level -= 1
    for i in range(n):
        if leaf[i] < 0:
            walk(mmu, va[i], access, out + i)
        else:
            finish(mmu, va[i], access, e[i], leaf[i], rights_of(ored[i], anded[i]), out + i)


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
