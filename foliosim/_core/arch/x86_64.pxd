# cython: language_level=3
"""x86-64 page-table entries as Linux 6.18 uses them (4 KiB pages; 4 levels, or 5 with LA57).

The bit table below is the only place with bit numbers; source: Intel SDM vol. 3 ch. 4 and, for the software bits,
arch/x86/include/asm/pgtable_types.h.

    bit  name        4 KiB entry             2 MiB, 1 GiB leaf      table
    0    PRESENT     present                 same                   same
    1    RW          writable                same                   ANDed over the walk
    2    USER        user page               same                   ANDed over the walk
    3,4  PWT, PCD    memory type             same                   of the table
    5    ACCESSED    set on use              same                   set on use
    6    DIRTY       set on write            same                   ignored
    7    PSE         (PAT)                   1: leaf                0
    8    GLOBAL      with PRESENT 0: PROT_NONE marker
    9    SPECIAL     no folio behind it (zero pages)
    10   UFFD_WP     userfaultfd write-protected
    11   SOFT_DIRTY  soft-dirty
    12   PAT_LARGE   -                       memory type
    58   SAVED_DIRTY dirty while not writable
    63   NX          no execute

Entries that are not zero and have PRESENT 0 hold their physical address inverted (protnone_mask); a 2 MiB leaf's
address is bits 51:21.
"""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define X86_PRESENT     (1ULL << 0)
    #define X86_RW          (1ULL << 1)
    #define X86_USER        (1ULL << 2)
    #define X86_PWT         (1ULL << 3)
    #define X86_PCD         (1ULL << 4)
    #define X86_ACCESSED    (1ULL << 5)
    #define X86_DIRTY       (1ULL << 6)
    #define X86_PSE         (1ULL << 7)
    #define X86_GLOBAL      (1ULL << 8)
    #define X86_PROTNONE    X86_GLOBAL
    #define X86_SPECIAL     (1ULL << 9)
    #define X86_UFFD_WP     (1ULL << 10)
    #define X86_SOFT_DIRTY  (1ULL << 11)
    #define X86_PAT_LARGE   (1ULL << 12)
    #define X86_SAVED_DIRTY (1ULL << 58)
    #define X86_NX          (1ULL << 63)
    #define X86_PFN_MASK    0x000ffffffffff000ULL
    #define X86_PMD_PFN_MASK 0x000fffffffe00000ULL
    #define X86_PUD_PFN_MASK 0x000fffffc0000000ULL
    #define X86_TABLE       (X86_PRESENT | X86_RW | X86_USER | X86_ACCESSED | X86_DIRTY)
    /* _PAGE_CHG_MASK: what pte_modify keeps */
    #define X86_CHG_MASK    (X86_PFN_MASK | X86_PCD | X86_PWT | X86_SPECIAL | X86_ACCESSED | X86_DIRTY | \\
                             X86_SAVED_DIRTY | X86_SOFT_DIRTY | X86_UFFD_WP)
    #define X86_GUARD       0xfffffffffffff600ULL
    #define X86_SWP_SOFT_DIRTY (1ULL << 1)   /* soft-dirty bit of entries that are neither empty nor present */
    #define X86_SWP_EXCLUSIVE  (1ULL << 3)
    #define X86_PF_PROT  0x01U
    #define X86_PF_WRITE 0x02U
    #define X86_PF_USER  0x04U
    #define X86_PF_RSVD  0x08U
    #define X86_PF_INSTR 0x10U
    """
    const uint64_t X86_PRESENT, X86_RW, X86_USER, X86_PWT, X86_PCD, X86_ACCESSED, X86_DIRTY, X86_PSE, X86_GLOBAL
    const uint64_t X86_PROTNONE, X86_SPECIAL, X86_UFFD_WP, X86_SOFT_DIRTY, X86_PAT_LARGE, X86_SAVED_DIRTY, X86_NX
    const uint64_t X86_PMD_PFN_MASK, X86_PUD_PFN_MASK
    const uint64_t X86_PFN_MASK, X86_TABLE, X86_CHG_MASK, X86_GUARD
    const uint64_t X86_SWP_SOFT_DIRTY, X86_SWP_EXCLUSIVE
    const uint32_t X86_PF_PROT, X86_PF_WRITE, X86_PF_USER, X86_PF_RSVD, X86_PF_INSTR

cdef inline uint64_t x86_64_protection(uint64_t vm_flags) noexcept nogil:
    """protection_map: entry bits of a VMA's pages.  Private writable memory is mapped read-only; faults add RW."""
    cdef uint64_t prot
    if not vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        return X86_PROTNONE | X86_ACCESSED
    prot = X86_PRESENT | X86_USER | X86_ACCESSED
    if not vm_flags & VM_EXEC:
        prot |= X86_NX
    if vm_flags & VM_WRITE and vm_flags & VM_SHARED:
        prot |= X86_RW
    return prot

cdef inline uint64_t x86_64_addr_mask(uint64_t e) noexcept nogil:
    return X86_PMD_PFN_MASK if e & X86_PSE else X86_PFN_MASK

cdef inline uint64_t x86_64_invert(uint64_t e) noexcept nogil:
    """protnone_mask: what the address bits of a non-present entry are XORed with."""
    return x86_64_addr_mask(e) if e and not e & X86_PRESENT else 0

cdef inline uint64_t x86_64_mk(uint64_t pfn, uint64_t prot) noexcept nogil:
    return ((pfn << 12) ^ x86_64_invert(prot)) & x86_64_addr_mask(prot) | prot

cdef inline uint64_t x86_64_pfn(uint64_t e) noexcept nogil:
    return ((e ^ x86_64_invert(e)) & x86_64_addr_mask(e)) >> 12

cdef inline bint x86_64_none(uint64_t e) noexcept nogil:
    """pte_none: nothing but possibly A and D (a CPU erratum)."""
    return not e & ~(X86_ACCESSED | X86_DIRTY)

cdef inline bint x86_64_present(uint64_t e) noexcept nogil:
    return (e & (X86_PRESENT | X86_PROTNONE)) != 0 and e != X86_GUARD

cdef inline bint x86_64_dirty(uint64_t e) noexcept nogil:
    return (e & (X86_DIRTY | X86_SAVED_DIRTY)) != 0

cdef inline uint64_t x86_64_save_dirty(uint64_t e) noexcept nogil:
    """pte_mksaveddirty, pte_clear_saveddirty: D of a read-only entry is kept in bit 58."""
    if e & X86_RW:
        return (e & ~X86_SAVED_DIRTY) | ((e & X86_SAVED_DIRTY) >> 52)
    return (e & ~X86_DIRTY) | ((e & X86_DIRTY) << 52)

cdef inline uint64_t x86_64_wrprotect(uint64_t e) noexcept nogil:
    return x86_64_save_dirty(e & ~X86_RW)

cdef inline uint64_t x86_64_mkwrite(uint64_t e) noexcept nogil:
    return x86_64_save_dirty(e | X86_RW)

cdef inline uint64_t x86_64_mkdirty(uint64_t e, bint soft_dirty) noexcept nogil:
    return x86_64_save_dirty(e | X86_DIRTY | (X86_SOFT_DIRTY if soft_dirty else 0))

cdef inline uint64_t x86_64_mkclean(uint64_t e) noexcept nogil:
    return e & ~(X86_DIRTY | X86_SAVED_DIRTY)

cdef inline uint64_t x86_64_modify(uint64_t e, uint64_t prot, uint64_t keep) noexcept nogil:
    """pte_modify, pmd_modify: new protection; address, accessed, dirty and software bits stay."""
    cdef uint64_t new = (e & keep) | (prot & ~keep)
    if (x86_64_invert(e) ^ x86_64_invert(new)) != 0:
        new ^= x86_64_addr_mask(new)
    return x86_64_save_dirty(new)

# ---- accessors: PTEs, and PMDs where the name says so ----

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

cdef inline uint64_t pte_clear_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~X86_SOFT_DIRTY

cdef inline bint pte_swp_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    """Soft-dirty bit of an entry that is neither empty nor present."""
    return (e & X86_SWP_SOFT_DIRTY) != 0

cdef inline uint64_t pte_swp_clear_soft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~X86_SWP_SOFT_DIRTY

# Swap entries of the one device: not present; they keep whether the page was exclusive, and soft-dirty.  The slot is
# in bits 58:9, inverted; the device, 0, in bits 63:59.

cdef inline uint64_t mk_swap(const machine_t *m, uint64_t slot) noexcept nogil:
    """swp_entry_to_pte: neither exclusive nor soft-dirty."""
    return (~slot << 14) >> 5

cdef inline bint pte_swap(const machine_t *m, uint64_t e) noexcept nogil:
    """is_swap_pte, of a device: not empty, not present, not a marker."""
    return e != 0 and not e & (X86_PRESENT | X86_PROTNONE) and not e >> 59

cdef inline uint32_t swp_slot(const machine_t *m, uint64_t e) noexcept nogil:
    """swp_offset."""
    return <uint32_t>((~e << 5) >> 14)

cdef inline bint pte_swp_exclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_SWP_EXCLUSIVE) != 0

cdef inline uint64_t pte_swp_mkexclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return e | X86_SWP_EXCLUSIVE

cdef inline uint64_t pte_swp_clear_exclusive(const machine_t *m, uint64_t e) noexcept nogil:
    return e & ~X86_SWP_EXCLUSIVE

cdef inline uint64_t pte_swp_mksoft_dirty(const machine_t *m, uint64_t e) noexcept nogil:
    return e | X86_SWP_SOFT_DIRTY

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

cdef inline uint64_t pud_modify(const machine_t *m, uint64_t e, uint64_t prot) noexcept nogil:
    """Of a 1 GiB leaf: fewer address bits are inverted."""
    cdef uint64_t keep = X86_CHG_MASK | X86_PSE | X86_PAT_LARGE
    cdef uint64_t new = (e & keep) | (prot & ~keep)
    if (e ^ new) & X86_PRESENT:
        new ^= X86_PUD_PFN_MASK
    return x86_64_save_dirty(new)

cdef inline uint32_t pud_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>(((e ^ (0 if e & X86_PRESENT else X86_PUD_PFN_MASK)) & X86_PUD_PFN_MASK) >> 12)

cdef inline uint64_t pgprot_noncached(uint64_t prot) noexcept nogil:
    """UC-: not cached, unless an MTRR says write-combining."""
    return prot | X86_PCD

cdef inline uint64_t pte_hw_access(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """What the CPU makes of a present entry when it is used: accessed, and dirty for a store."""
    return e | X86_ACCESSED | (X86_DIRTY if write else 0)

cdef inline bint user_read_error(const machine_t *m, bint present) noexcept nogil:
    """A read of a page that is there and still faulted is refused in any case (access_error, arch/x86/mm/fault.c)."""
    return present

cdef inline bint pte_hw_allows(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """May a user-mode load or store go through the leaf entry?"""
    cdef uint64_t need = X86_PRESENT | X86_USER | (X86_RW if write else 0)
    return (e & need) == need

cdef inline bint pte_access_permitted(const machine_t *m, uint64_t e, bint write) noexcept nogil:
    """For those who look without the MMU (gup_fast)."""
    return pte_hw_allows(m, e, write)

cdef inline bint pte_hw_present(const machine_t *m, uint64_t e) noexcept nogil:
    """Present for the MMU (a PROT_NONE entry is not)."""
    return (e & X86_PRESENT) != 0

cdef inline uint64_t pte_advance(const machine_t *m) noexcept nogil:
    """Difference of two present entries whose frames follow each other."""
    return FS_PAGE_SIZE

cdef inline uint64_t pte_bits(const machine_t *m, uint64_t e) noexcept nogil:
    """A 4 KiB entry without its address."""
    return e & ~X86_PFN_MASK

cdef inline uint64_t pmd_bits(const machine_t *m, uint64_t e) noexcept nogil:
    """A leaf PMD without its address."""
    return e & ~X86_PMD_PFN_MASK

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

cdef inline bint pmd_leaf(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & X86_PSE) != 0

cdef inline bint pmd_table(const machine_t *m, uint64_t e) noexcept nogil:
    return (e & (X86_PRESENT | X86_PSE)) == X86_PRESENT

cdef inline uint64_t mk_table(const machine_t *m, uint32_t pfn) noexcept nogil:
    return (<uint64_t>pfn << FS_PAGE_SHIFT) | X86_TABLE

cdef inline uint32_t table_pfn(const machine_t *m, uint64_t e) noexcept nogil:
    return <uint32_t>((e & X86_PFN_MASK) >> FS_PAGE_SHIFT)

# ---- what the architecture has ----

cdef inline void arch_address_space(machine_t *m) noexcept nogil:
    """Half of m.va_bits are the user's; what lies above 47 bits only if asked for (LA57)."""
    m.task_size = (1ULL << (m.va_bits - 1)) - FS_PAGE_SIZE
    m.map_window = (1ULL << 47) - FS_PAGE_SIZE

cdef enum:
    FS_CONT_PTES = 1             # entries of a contiguous block; 1: there are none
    FS_BREAK_BEFORE_MAKE = 0     # must a valid entry be cleared before it becomes another?
    FS_PUD_PFNMAP = 1            # may a PUD entry map a device's memory (CONFIG_ARCH_SUPPORTS_PUD_PFNMAP)?

cdef inline bint entry_may_become(uint64_t old, uint64_t new) noexcept nogil:
    """Without an invalid step in between."""
    return True

cdef inline bint read_sets_young(const machine_t *m) noexcept nogil:
    """ptep_set_access_flags and pmdp_set_access_flags only write entries that become dirty too."""
    return False

cdef inline bint pte_old_prefaulted(const machine_t *m) noexcept nogil:
    """arch_wants_old_prefaulted_pte."""
    return False

cdef inline uint64_t pte_merge_access(uint64_t old, uint64_t entry) noexcept nogil:
    """The old entry with the accessed, dirty and write bits of another that is like it otherwise."""
    return entry

# There is no contiguous bit.

cdef inline bint pte_cont(uint64_t e) noexcept nogil:
    return False

cdef inline bint pte_valid_cont(uint64_t e) noexcept nogil:
    return False

cdef inline uint64_t pte_mkcont(uint64_t e) noexcept nogil:
    return e

cdef inline uint64_t pte_mknoncont(uint64_t e) noexcept nogil:
    return e
