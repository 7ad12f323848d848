# cython: language_level=3
"""What a page walk on x86-64 is made of.  Source: Intel SDM vol. 3 ch. 4 (paging), 4-level and 5-level paging.

Fidelity: identical in translation, rights, error codes and accessed/dirty updates of completed walks.  No TLB, no
protection keys, no memory types.
"""
from libc.stdint cimport int8_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.arch.x86_64 cimport *

cdef extern from *:
    """
    /* the processor's state */
    #define WALK_NXE  0x0100U
    #define WALK_WP   0x0200U
    #define WALK_SMEP 0x0400U
    #define WALK_SMAP 0x0800U
    #define WALK_AC   0x1000U
    """
    const uint32_t WALK_NXE, WALK_WP, WALK_SMEP, WALK_SMAP, WALK_AC

cdef inline const char *walk_flag_names() noexcept nogil:
    """Names of the processor's state for Python, from bit 8 on."""
    return b"nxe wp smep smap ac"

cdef inline uint32_t walk_linux_flags(const machine_t *m) noexcept nogil:
    return WALK_NXE | WALK_WP | WALK_SMEP | WALK_SMAP

cdef inline int walk_pa_bits(const machine_t *m) noexcept nogil:
    """MAXPHYADDR."""
    return 46

cdef inline bint walk_address_ok(const walk_mmu_t *mmu, uint64_t va) noexcept nogil:
    """Canonical: all bits from the highest translated one on are equal."""
    return (va + (1ULL << (mmu.va_bits - 1))) >> mmu.va_bits == 0

cdef inline uint64_t walk_translated(uint64_t va) noexcept nogil:
    """The bits of an address that tables are indexed by, at most."""
    return va

cdef inline void walk_bad_address(const walk_mmu_t *mmu, walk_result_t *out) noexcept nogil:
    out.pa = 0
    out.error = WALK_GP
    out.level = -1
    out.rights = 0

cdef inline uint64_t walk_reserved(const walk_mmu_t *mmu) noexcept nogil:
    """Bits that no present entry may have."""
    cdef uint64_t bits = X86_PFN_MASK & ~((1ULL << mmu.pa_bits) - 1)
    return bits if mmu.flags & WALK_NXE else bits | X86_NX

cdef inline uint32_t walk_entry(const walk_mmu_t *mmu, uint64_t e, int level, uint64_t reserved) noexcept nogil:
    """WALK_TABLE, WALK_LEAF, or why the walk ends here: the bits of the error code that the entry gives."""
    if not e & X86_PRESENT:
        return WALK_STOP
    if e & reserved:
        return WALK_STOP | X86_PF_PROT | X86_PF_RSVD
    if level == 0:
        return WALK_LEAF
    if not e & X86_PSE:
        return WALK_TABLE
    if level > 2 or e & ((1ULL << (FS_PAGE_SHIFT + FS_TABLE_SHIFT * level)) - 1) & X86_PFN_MASK & ~X86_PAT_LARGE:
        return WALK_STOP | X86_PF_PROT | X86_PF_RSVD
    return WALK_LEAF

cdef inline uint32_t walk_entries(uint64_t ored, uint64_t anded, int level, uint64_t reserved) noexcept nogil:
    """What walk_entry says of all entries with this OR and AND; WALK_STOP: perhaps not the same of each."""
    if not anded & X86_PRESENT or ored & (reserved | X86_PSE if level else reserved):
        return WALK_STOP
    return WALK_TABLE if level else WALK_LEAF

cdef inline uint64_t walk_output(uint64_t e) noexcept nogil:
    """The address in an entry."""
    return e & X86_PFN_MASK

cdef inline uint64_t walk_taken(uint64_t e) noexcept nogil:
    """What an entry takes from all that lies below it: bits that are set in an OR over the walk."""
    return e ^ (X86_RW | X86_USER)

cdef inline uint32_t walk_rights(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken) noexcept nogil:
    """Of a whole walk, from its leaf and what its table entries take."""
    taken |= walk_taken(leaf)
    return (WALK_RIGHT_R | (0 if taken & X86_RW else WALK_RIGHT_W) | (0 if taken & X86_USER else WALK_RIGHT_U)
            | (0 if taken & X86_NX else WALK_RIGHT_X))

cdef inline uint32_t walk_refusal(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken, uint32_t rights,
                                  uint32_t access) noexcept nogil:
    """X86_PF_PROT if the rights of a completed walk do not allow the access, else 0."""
    cdef bint allowed = True, user = (access & WALK_USER) != 0
    if user and not rights & WALK_RIGHT_U:
        allowed = False
    elif access & WALK_FETCH:
        allowed = (rights & WALK_RIGHT_X) != 0
        if not user and rights & WALK_RIGHT_U and mmu.flags & WALK_SMEP:
            allowed = False
    else:
        if access & WALK_WRITE and not rights & WALK_RIGHT_W:
            allowed = not user and not mmu.flags & WALK_WP
        if not user and rights & WALK_RIGHT_U and mmu.flags & WALK_SMAP and not mmu.flags & WALK_AC:
            allowed = False
    return 0 if allowed else X86_PF_PROT

cdef inline uint32_t walk_fault_code(const walk_mmu_t *mmu, uint32_t why, int level, uint32_t access) noexcept nogil:
    """The error code of a page fault."""
    cdef uint32_t code = (why & ~WALK_STOP) | (access & (WALK_WRITE | WALK_USER))
    return code | X86_PF_INSTR if access & WALK_FETCH and mmu.flags & (WALK_NXE | WALK_SMEP) else code

cdef inline void walk_set_used(const walk_mmu_t *mmu, uint64_t **entries, int level, bint write) noexcept nogil:
    """Accessed in every entry of the walk, dirty in the leaf."""
    cdef int at = mmu.top_level
    while at >= level:
        if not entries[at][0] & X86_ACCESSED:
            entries[at][0] |= X86_ACCESSED
        at -= 1
    if write and not entries[level][0] & X86_DIRTY:
        entries[level][0] |= X86_DIRTY
