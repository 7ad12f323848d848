# cython: language_level=3
"""VMSAv8-64 page-table entries as Linux 6.18 uses them (granules of 4, 16 and 64 KiB; 48-bit physical addresses).

The bit table below is the only place with bit numbers; source: Arm ARM D8.3 and, for the software bits,
arch/arm64/include/asm/pgtable-hwdef.h and pgtable-prot.h.

    bit  name        page (level 3), block             table
    0    VALID       valid                             same
    1    PAGE        1 in a page, 0 in a block         1
    4:2  AttrIndx    memory type: 0 normal, 3 device   ignored
    6    USER        AP[1]: EL0 may access             ignored
    7    RDONLY      AP[2]: read-only                  ignored
    9:8  SHARED      inner shareable                   ignored
    10   AF          accessed                          accessed (FEAT_HAFT)
    11   NG          not global; with VALID 0: present-invalid (PROT_NONE)
    51   WRITE       DBM: writable, once dirty         ignored
    52   CONT        one of an aligned group           ignored
    53   PXN         no execute at EL1                 ignored
    54   UXN         no execute at EL0                 ignored
    55   DIRTY       dirty, software's                 ignored
    56   SPECIAL     no folio behind it (zero pages)   ignored
    59   -           -                                 PXNTable
    60   -           -                                 UXNTable
    62:61 -          -                                 APTable: 61 no EL0 access, 62 read-only below

An entry is dirty if DIRTY is set, or WRITE is and RDONLY is not: that is how the CPU marks it (FEAT_HAFDBS).
"""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define ARM_VALID    (1ULL << 0)
    #define ARM_PAGE     (1ULL << 1)
    #define ARM_TYPE     3ULL
    #define ARM_ATTRINDX (7ULL << 2)
    #define ARM_DEVICE_NGNRNE (3ULL << 2)
    #define ARM_USER     (1ULL << 6)
    #define ARM_RDONLY   (1ULL << 7)
    #define ARM_SHARED   (3ULL << 8)
    #define ARM_AF       (1ULL << 10)
    #define ARM_NG       (1ULL << 11)
    #define ARM_GP       (1ULL << 50)
    #define ARM_WRITE    (1ULL << 51)
    #define ARM_CONT     (1ULL << 52)
    #define ARM_PXN      (1ULL << 53)
    #define ARM_UXN      (1ULL << 54)
    #define ARM_DIRTY    (1ULL << 55)
    #define ARM_SPECIAL  (1ULL << 56)
    #define ARM_PXNTABLE (1ULL << 59)
    #define ARM_UXNTABLE (1ULL << 60)
    #define ARM_APTABLE_NO_EL0 (1ULL << 61)
    #define ARM_APTABLE_RDONLY (1ULL << 62)
    #define ARM_ADDR     (((1ULL << 48) - 1) & ~(FS_PAGE_SIZE - 1))
    #define ARM_PMD_ADDR (((1ULL << 48) - 1) & ~(FS_PMD_SIZE - 1))
    #define ARM_TABLE    (ARM_VALID | ARM_PAGE | ARM_AF | ARM_PXNTABLE)
    /* what pte_modify replaces */
    #define ARM_PROT_MASK (ARM_USER | ARM_PXN | ARM_UXN | ARM_RDONLY | ARM_NG | ARM_VALID | ARM_WRITE | ARM_GP | \\
                           ARM_ATTRINDX | (7ULL << 60))
    #define ARM_SWP_EXCLUSIVE (1ULL << 2)
    #define ARM_SWP_TYPE      (31ULL << 6)
    #define ARM_GUARD         (31ULL << 6 | 4ULL << 12)   /* a PTE marker, value 4 */
    #define FS_CONT_PTES (FS_PAGE_SHIFT == 12 ? 16 : FS_PAGE_SHIFT == 14 ? 128 : 32)
    """
    const uint64_t ARM_VALID, ARM_PAGE, ARM_TYPE, ARM_USER, ARM_RDONLY, ARM_SHARED, ARM_AF, ARM_NG, ARM_ATTRINDX
    const uint64_t ARM_DEVICE_NGNRNE
    const uint64_t ARM_WRITE, ARM_CONT, ARM_PXN, ARM_UXN, ARM_DIRTY, ARM_SPECIAL, ARM_PXNTABLE, ARM_UXNTABLE
    const uint64_t ARM_APTABLE_NO_EL0, ARM_APTABLE_RDONLY
    const uint64_t ARM_ADDR, ARM_PMD_ADDR, ARM_TABLE, ARM_PROT_MASK, ARM_SWP_EXCLUSIVE, ARM_SWP_TYPE, ARM_GUARD
    enum:
        FS_CONT_PTES             # entries of a contiguous block

cdef enum:
    FS_BREAK_BEFORE_MAKE = 1     # must a valid entry be cleared before it becomes another?
    FS_PUD_PFNMAP = 0            # may a PUD entry map a device's memory (CONFIG_ARCH_SUPPORTS_PUD_PFNMAP)?

cdef inline uint64_t arm64_protection(uint64_t vm_flags) noexcept nogil:
    """protection_map: entry bits of a VMA's pages.  Private writable memory is mapped read-only; faults add WRITE."""
    cdef uint64_t prot = ARM_PAGE | ARM_SHARED | ARM_AF | ARM_NG | ARM_RDONLY | ARM_PXN | ARM_UXN
    if not vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        return prot
    prot |= ARM_VALID | ARM_USER
    if vm_flags & VM_EXEC:
        prot &= ~ARM_UXN
    if vm_flags & VM_WRITE and vm_flags & VM_SHARED:
        prot |= ARM_WRITE
    return prot

cdef inline bint arm64_hw_dirty(uint64_t e) noexcept nogil:
    return (e & (ARM_WRITE | ARM_RDONLY)) == ARM_WRITE

cdef inline uint64_t arm64_mkdirty(uint64_t e) noexcept nogil:
    return (e | ARM_DIRTY) & ~ARM_RDONLY if e & ARM_WRITE else e | ARM_DIRTY

cdef inline uint64_t arm64_modify(uint64_t e, uint64_t prot) noexcept nogil:
    """pte_modify: new protection; what the CPU says of dirtiness is kept as software's bit."""
    if arm64_hw_dirty(e):
        e |= ARM_DIRTY
    e = (e & ~ARM_PROT_MASK) | (prot & ARM_PROT_MASK)
    return arm64_mkdirty(e) if e & ARM_DIRTY else e

# ---- accessors: PTEs, and PMDs where the name says so ----

cdef inline uint64_t vm_get_page_prot(const machine_t *m, uint64_t vm_flags) noexcept nogil:
    return arm64_protection(vm_flags)

cdef inline uint64_t mk_pte(const machine_t *m, uint64_t pfn, uint64_t prot) noexcept nogil:
    return pfn << FS_PAGE_SHIFT | prot

cdef inline uint64_t mk_pmd_leaf(const machine_t *m, uint64_t pfn, uint64_t prot) noexcept nogil:
    return pfn << FS_PAGE_SHIFT | prot & ~ARM_PAGE

cdef inline bint pte_none(const machine_t *m, uint64_t e) noexcept nogil:
    return e == 0

cdef inline bint pte_present(const machine_t *m, uint64_t e) noexcept nogil:
    """Present for software: a PROT_NONE entry (present-invalid) too."""
    return (e & (ARM_VALID | ARM_NG)) != 0

cdef inline uint32_t pte_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>((e & ARM_ADDR) >> FS_PAGE_SHIFT)

cdef inline bint pte_write(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_WRITE) != 0

cdef inline bint pte_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_DIRTY) != 0 or arm64_hw_dirty(e)

cdef inline bint pte_young(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_AF) != 0

cdef inline bint pte_special(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_SPECIAL) != 0

cdef inline bint pte_protnone(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & (ARM_VALID | ARM_NG)) == ARM_NG

# There is no soft-dirty bit.

cdef inline bint pte_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return False

cdef inline uint64_t pte_copy_soft_dirty(const machine_t *m, uint64_t e, uint64_t old) noexcept nogil:
    return e

cdef inline uint64_t pte_mksoft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e

cdef inline uint64_t pte_clear_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e

cdef inline bint pte_swp_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return False

cdef inline uint64_t pte_swp_clear_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e

cdef inline uint64_t pte_swp_mksoft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e

# Swap entries: neither VALID nor NG; device in bits 10:6, slot in bits 61:12.

cdef inline bint pte_guard(const machine_t *m, uint64_t e) noexcept nogil:
    return e == ARM_GUARD

cdef inline uint64_t mk_guard(const machine_t *m) noexcept nogil:
    return ARM_GUARD

cdef inline uint64_t mk_swap(const machine_t *m, uint64_t slot) noexcept nogil:
    """swp_entry_to_pte of device 0, not exclusive."""
    return slot << 12

cdef inline bint pte_swap(const machine_t *m, uint64_t e) noexcept nogil:
    """is_swap_pte, of a device: not empty, not present, not a marker."""
    return e != 0 and not e & (ARM_VALID | ARM_NG | ARM_SWP_TYPE)

cdef inline uint32_t swp_slot(const machine_t *m, uint64_t e) noexcept nogil:
    """swp_offset."""
    return <uint32_t>(e >> 12)

cdef inline bint pte_swp_exclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_SWP_EXCLUSIVE) != 0

cdef inline uint64_t pte_swp_mkexclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return e | ARM_SWP_EXCLUSIVE

cdef inline uint64_t pte_swp_clear_exclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~ARM_SWP_EXCLUSIVE

cdef inline uint64_t pte_mkwrite(const machine_t *m, uint64_t e) noexcept nogil:
    return (e | ARM_WRITE) & ~ARM_RDONLY if e & ARM_DIRTY else e | ARM_WRITE

cdef inline uint64_t pte_wrprotect(const machine_t *m, uint64_t e) noexcept nogil:
    if arm64_hw_dirty(e):
        e |= ARM_DIRTY
    return (e & ~ARM_WRITE) | ARM_RDONLY

cdef inline uint64_t pte_mkdirty(const machine_t *m, uint64_t e) noexcept nogil:
    return arm64_mkdirty(e)

cdef inline uint64_t pte_mkclean(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ~ARM_DIRTY) | ARM_RDONLY

cdef inline uint64_t pte_mkyoung(const machine_t *m, uint64_t e) noexcept nogil:
    return e | ARM_AF

cdef inline uint64_t pte_mkold(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~ARM_AF

cdef inline uint64_t pte_mkspecial(const machine_t *m, uint64_t e) noexcept nogil:
    return e | ARM_SPECIAL

cdef inline uint64_t pte_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    return arm64_modify(e, prot)

cdef inline uint64_t pmd_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    return arm64_modify(e, prot)

cdef inline uint64_t pud_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    return arm64_modify(e, prot)

cdef inline uint32_t pud_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return pte_pfn(m, e)

cdef inline uint64_t pgprot_noncached(uint64_t prot) noexcept nogil:
    """MT_DEVICE_nGnRnE, and nothing to be executed."""
    return (prot & ~ARM_ATTRINDX) | ARM_DEVICE_NGNRNE | ARM_PXN | ARM_UXN

cdef inline uint64_t pte_hw_access(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """What the CPU makes of a valid entry when it is used: AF; for a store to a writable clean one, RDONLY goes."""
    if not m.hw_afdbm:
        return e
    return e & ~ARM_RDONLY | ARM_AF if write and e & ARM_WRITE else e | ARM_AF

cdef inline bint pte_hw_allows(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """May a user-mode load or store go through the leaf entry?"""
    if (e & (ARM_VALID | ARM_USER)) != (ARM_VALID | ARM_USER):
        return False
    if not m.hw_afdbm and not e & ARM_AF:
        return False
    return not write or not e & ARM_RDONLY or (m.hw_afdbm and (e & ARM_WRITE) != 0)

cdef inline bint pte_access_permitted(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """For those who look without the MMU (gup_fast): neither age nor dirtiness matters."""
    return (e & (ARM_VALID | ARM_USER)) == (ARM_VALID | ARM_USER) and (not write or (e & ARM_WRITE) != 0)

cdef inline bint pte_hw_present(const machine_t *m, uint64_t e) noexcept nogil:
    """Valid for the MMU (a PROT_NONE entry is not)."""
    return (e & ARM_VALID) != 0

cdef inline bint user_read_error(const machine_t *m, bint present) noexcept nogil:
    """Reads are judged by the VMA alone (do_page_fault, arch/arm64/mm/fault.c)."""
    return False

cdef inline uint64_t pte_advance(const machine_t *m) noexcept nogil:
    """Difference of two present entries whose frames follow each other."""
    return FS_PAGE_SIZE

cdef inline uint64_t pte_step(const machine_t *m, uint64_t e) noexcept nogil:
    return FS_PAGE_SIZE

cdef inline uint64_t pte_bits(const machine_t *m, uint64_t e) noexcept nogil:
    """A PTE without its address."""
    return e & ~ARM_ADDR

cdef inline uint64_t pmd_bits(const machine_t *m, uint64_t e) noexcept nogil:
    """A leaf PMD without its address."""
    return e & ~ARM_PMD_ADDR

cdef inline uint64_t pte_with_bits(const machine_t *m, uint64_t e, uint64_t bits, bint invert) noexcept nogil:
    """The entry with other bits; addresses are never inverted."""
    return e & ARM_ADDR | bits

cdef inline uint64_t pte_batch_key(const machine_t *m, uint64_t e) noexcept nogil:
    """An entry without the bits that may differ between the entries of a batch; CONT may not."""
    return e & ~(ARM_AF | ARM_DIRTY | ARM_WRITE) | ARM_RDONLY

cdef inline uint64_t pte_batch_key_write(const machine_t *m, uint64_t e) noexcept nogil:
    """The same for batches that end where write permission changes."""
    return e & ~(ARM_AF | ARM_DIRTY) | ARM_RDONLY

cdef inline bint pmd_leaf(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & (ARM_VALID | ARM_NG)) != 0 and not e & ARM_PAGE

cdef inline bint pmd_table(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & ARM_TYPE) == ARM_TYPE

cdef inline uint64_t mk_table(const machine_t *m, uint32_t pfn) noexcept nogil:
    return (<uint64_t>pfn << FS_PAGE_SHIFT) | ARM_TABLE

cdef inline uint32_t table_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>((e & ARM_ADDR) >> FS_PAGE_SHIFT)

# ---- what the architecture has ----

cdef inline void arch_address_space(machine_t *m) noexcept nogil:
    """TTBR0 holds all m.va_bits."""
    m.task_size = 1ULL << m.va_bits
    m.map_window = m.task_size

cdef inline bint read_sets_young(const machine_t *m) noexcept nogil:
    """ptep_set_access_flags and pmdp_set_access_flags write entries that only become young."""
    return True

cdef inline bint pte_old_prefaulted(const machine_t *m) noexcept nogil:
    """arch_wants_old_prefaulted_pte: the CPU will set the access flag of what is used."""
    return m.hw_afdbm

cdef inline bint entry_may_become(uint64_t old, uint64_t new) noexcept nogil:
    """Without an invalid step in between: only rights, accessed and dirty may change (break before make)."""
    cdef uint64_t fixed = ARM_ADDR | ARM_PAGE | ARM_ATTRINDX | ARM_SHARED | ARM_NG | ARM_CONT
    return not old & new & ARM_VALID or not (old ^ new) & fixed

cdef inline uint64_t pte_merge_access(uint64_t old, uint64_t entry) noexcept nogil:
    """The old entry with accessed, dirty and write of another; RDONLY only if both have it.  Follows
    __ptep_set_access_flags."""
    return (old | entry & (ARM_AF | ARM_WRITE | ARM_DIRTY)) & ~(ARM_RDONLY & ~entry)

cdef inline bint pte_cont(uint64_t e) noexcept nogil:
    return (e & ARM_CONT) != 0

cdef inline bint pte_valid_cont(uint64_t e) noexcept nogil:
    return (e & (ARM_VALID | ARM_CONT)) == (ARM_VALID | ARM_CONT)

cdef inline uint64_t pte_mkcont(uint64_t e) noexcept nogil:
    return e | ARM_CONT

cdef inline uint64_t pte_mknoncont(uint64_t e) noexcept nogil:
    return e & ~ARM_CONT
