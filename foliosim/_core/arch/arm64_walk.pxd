# cython: language_level=3
"""What a page walk on arm64 is made of: stage 1 of the EL1&0 regime through TTBR0.  Source: Arm ARM D8.2 to D8.5.

Fidelity: identical in translation, rights, fault status codes with their level, and hardware updates of access flag
and dirty state (FEAT_HAFDBS).  No TLB, no memory types, no 52-bit addresses, no permission overlays.
"""
from libc.stdint cimport int8_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.arch.arm64 cimport *

cdef extern from *:
    """
    /* the processor's state */
    #define WALK_HA  0x0100U    /* TCR.HA: sets the access flag */
    #define WALK_HD  0x0200U    /* TCR.HD: manages the dirty state */
    #define WALK_PAN 0x0400U    /* PSTATE.PAN */
    #define WALK_WXN 0x0800U    /* SCTLR.WXN */
    /* fault status; the level is added */
    #define ARM_FSC_ADDRESS     0x00U
    #define ARM_FSC_TRANSLATION 0x04U
    #define ARM_FSC_ACCESS      0x08U
    #define ARM_FSC_PERMISSION  0x0cU
    """
    const uint32_t WALK_HA, WALK_HD, WALK_PAN, WALK_WXN
    const uint32_t ARM_FSC_ADDRESS, ARM_FSC_TRANSLATION, ARM_FSC_ACCESS, ARM_FSC_PERMISSION

cdef inline const char *walk_flag_names() noexcept nogil:
    """Names of the processor's state for Python, from bit 8 on."""
    return b"ha hd pan wxn"

cdef inline uint32_t walk_linux_flags(const machine_t *m) noexcept nogil:
    return WALK_HA | WALK_HD | WALK_PAN if m.hw_afdbm else WALK_PAN

cdef inline int walk_pa_bits(const machine_t *m) noexcept nogil:
    return 48

cdef inline uint64_t walk_translated(uint64_t va) noexcept nogil:
    """The bits of an address that are looked at: the top byte is ignored (TBI0)."""
    return va & 0x00ffffffffffffffULL

cdef inline bint walk_address_ok(const walk_mmu_t *mmu, uint64_t va) noexcept nogil:
    """In TTBR0's range."""
    return walk_translated(va) >> mmu.va_bits == 0

cdef inline void walk_bad_address(const walk_mmu_t *mmu, walk_result_t *out) noexcept nogil:
    """A translation fault at level 0, whatever level walks start at."""
    out.pa = 0
    out.error = WALK_PF | ARM_FSC_TRANSLATION
    out.level = 3
    out.rights = 0

cdef inline uint64_t walk_reserved(const walk_mmu_t *mmu) noexcept nogil:
    """Address bits that the processor does not have."""
    return ARM_ADDR & ~((1ULL << mmu.pa_bits) - 1)

cdef inline bint walk_block_allowed(int level) noexcept nogil:
    """Blocks of 2 MiB and 1 GiB; with granules of 16 and 64 KiB only one size."""
    return level == 1 or (level == 2 and FS_PAGE_SHIFT == 12)

cdef inline uint32_t walk_entry(const walk_mmu_t *mmu, uint64_t e, int level, uint64_t reserved) noexcept nogil:
    """WALK_TABLE, WALK_LEAF, or the fault that the entry gives."""
    cdef uint32_t kind = WALK_TABLE
    if level == 0:
        if (e & ARM_TYPE) != ARM_TYPE:
            return WALK_STOP | ARM_FSC_TRANSLATION
        kind = WALK_LEAF
    elif (e & ARM_TYPE) == ARM_VALID:
        if not walk_block_allowed(level):
            return WALK_STOP | ARM_FSC_TRANSLATION
        kind = WALK_LEAF
    elif not e & ARM_VALID:
        return WALK_STOP | ARM_FSC_TRANSLATION
    if e & reserved:
        return WALK_STOP | ARM_FSC_ADDRESS
    return kind

cdef inline uint32_t walk_entries(uint64_t ored, uint64_t anded, int level, uint64_t reserved) noexcept nogil:
    """What walk_entry says of all entries with this OR and AND; WALK_STOP: perhaps not the same of each."""
    if (anded & ARM_TYPE) != ARM_TYPE or ored & reserved:
        return WALK_STOP
    return WALK_TABLE if level else WALK_LEAF

cdef inline uint64_t walk_output(uint64_t e) noexcept nogil:
    """The address in an entry."""
    return e & ARM_ADDR

cdef inline uint64_t walk_taken(uint64_t e) noexcept nogil:
    """What a table entry takes from all that lies below it: bits that are set in an OR over the walk."""
    return e

cdef inline bint walk_writable(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken) noexcept nogil:
    """AP[2] is clear, or the processor clears it for a writable clean entry."""
    if taken & ARM_APTABLE_RDONLY:
        return False
    return not leaf & ARM_RDONLY or (mmu.flags & WALK_HD and leaf & ARM_WRITE)

cdef inline uint32_t walk_rights(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken) noexcept nogil:
    """Of a whole walk, from its leaf and the OR over what its table entries take; X is EL0's right to execute."""
    cdef uint32_t rights = WALK_RIGHT_R
    if walk_writable(mmu, leaf, taken):
        rights |= WALK_RIGHT_W
    if leaf & ARM_USER and not taken & ARM_APTABLE_NO_EL0:
        rights |= WALK_RIGHT_U
    if not leaf & ARM_UXN and not taken & ARM_UXNTABLE:
        if not (rights & WALK_RIGHT_W and rights & WALK_RIGHT_U and mmu.flags & WALK_WXN):
            rights |= WALK_RIGHT_X
    return rights

cdef inline bint walk_el1_executable(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken,
                                     uint32_t rights) noexcept nogil:
    """What EL0 may write EL1 must not execute."""
    if leaf & ARM_PXN or taken & ARM_PXNTABLE:
        return False
    return not rights & WALK_RIGHT_W or not (rights & WALK_RIGHT_U or mmu.flags & WALK_WXN)

cdef inline bint walk_allowed(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken, uint32_t rights,
                              uint32_t access) noexcept nogil:
    cdef bint user = (access & WALK_USER) != 0
    if access & WALK_FETCH:
        return (rights & WALK_RIGHT_X) != 0 if user else walk_el1_executable(mmu, leaf, taken, rights)
    if user and not rights & WALK_RIGHT_U:
        return False
    if not user and rights & WALK_RIGHT_U and mmu.flags & WALK_PAN:
        return False
    return not access & WALK_WRITE or (rights & WALK_RIGHT_W) != 0

cdef inline uint32_t walk_refusal(const walk_mmu_t *mmu, uint64_t leaf, uint64_t taken, uint32_t rights,
                                  uint32_t access) noexcept nogil:
    """0, or the fault of a walk that found its leaf: access flag before permission."""
    if not leaf & ARM_AF and not mmu.flags & WALK_HA:
        return ARM_FSC_ACCESS
    return 0 if walk_allowed(mmu, leaf, taken, rights, access) else ARM_FSC_PERMISSION

cdef inline uint32_t walk_fault_code(const walk_mmu_t *mmu, uint32_t why, int level, uint32_t access) noexcept nogil:
    """Fault status code: bits 5:0 of ESR_EL1.ISS; its last two bits are the level, 3 for PTEs."""
    return (why & ~WALK_STOP) | <uint32_t>(3 - level)

cdef inline void walk_set_used(const walk_mmu_t *mmu, uint64_t **entries, int level, bint write) noexcept nogil:
    """The access flag of the leaf; a store makes a writable clean one dirty."""
    if mmu.flags & WALK_HA:
        entries[level][0] |= ARM_AF
    if write and mmu.flags & WALK_HD and entries[level][0] & ARM_WRITE:
        entries[level][0] &= ~ARM_RDONLY
