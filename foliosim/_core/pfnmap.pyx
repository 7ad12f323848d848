# cython: language_level=3
"""Device memory in page tables.  Follows vfio_pci_mmap_huge_fault (drivers/vfio/pci/vfio_pci_core.c), which maps a BAR
by the largest leaves that fit, and what mm/huge_memory.c and mm/memory.c do to entries without a folio.

A leaf that is cut is not replaced by a table: it goes, and later faults map its parts anew.
"""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.stat cimport *
from foliosim._core.huge_memory cimport special_huge_allowed
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.pgalloc cimport entry_alloc, pte_alloc


cdef inline bint whole(uint64_t addr, uint64_t next, int level) noexcept nogil:
    return next - addr == level_size(level)


# ---- faults ----

cdef int allowed_level(machine_t *m, const vma_t *vma) noexcept nogil:
    """Follows __thp_vma_allowable_orders: sysfs decides about huge leaves here too."""
    if not special_huge_allowed(m, vma):
        return 0
    return 2 if FS_PUD_PFNMAP else 1


cdef int fitting_level(const vma_t *vma, uint64_t addr, int level) noexcept nogil:
    """The largest leaf, up to a level, that lies in the VMA and begins at a frame of its alignment."""
    cdef uint64_t size, start
    while level:
        size = level_size(level)
        start = addr & ~(size - 1)
        if start >= vma.start and start + size <= vma.end:
            if not device_pfn(vma, start) & ((size >> FS_PAGE_SHIFT) - 1):
                return level
        level -= 1
    return 0


cdef uint64_t *leaf_alloc(machine_t *m, mm_t *mm, uint64_t addr, int level) noexcept nogil:
    """The entry of an address at a level, tables made; NULL: no frame for a table."""
    cdef uint64_t *entry = entry_alloc(m, mm, addr, level if level else 1)
    if level or entry == NULL:
        return entry
    return pte_offset(m, entry[0], addr) if pte_alloc(m, mm, entry) == 0 else NULL


cdef int do_device_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil:
    cdef bint write = (flags & FAULT_FLAG_WRITE) != 0
    cdef int level, largest = allowed_level(m, vma)
    cdef uint64_t *entry = leaf_offset(m, vma.mm, addr, &level)
    count_op(m, OP_PTE_SET, 1)
    if entry[0]:    # huge_pud_set_accessed and its like: the CPU left that to us
        store_entry(m, entry, pte_mkyoung(m, pte_mkdirty(m, entry[0]) if write else entry[0]))
        return 0
    level = fitting_level(vma, addr, level if level < largest else largest)
    entry = leaf_alloc(m, vma.mm, addr, level)
    if entry == NULL:
        return VM_FAULT_OOM
    addr &= ~(level_size(level) - 1)
    if level:
        store_entry(m, entry, pte_mkspecial(m, mk_pmd_leaf(m, device_pfn(vma, addr), vma.page_prot)))
    else:
        store_entry(m, entry, pte_mkspecial(m, mk_pte(m, device_pfn(vma, addr), vma.page_prot)))
    return 0


# ---- ranges ----

cdef void clear_leaf(machine_t *m, uint64_t *entry, uint64_t addr, uint64_t next, int level) noexcept nogil:
    """Follows zap_huge_pud; __split_huge_pud_locked and __split_huge_pmd_locked, where the leaf is cut."""
    if level and not whole(addr, next, level):
        count_vm_events(m, THP_SPLIT_PUD if level == 2 else THP_SPLIT_PMD, 1)
    store_entry(m, entry, 0)
    count_op(m, OP_PTE_SET, 1)


cdef void zap_device_range(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end) noexcept nogil:
    cdef uint64_t next
    cdef uint64_t *entry
    cdef int level
    while addr < end:
        entry = leaf_offset(m, vma.mm, addr, &level)
        next = level_addr_end(addr, end, level)
        if entry[0]:
            clear_leaf(m, entry, addr, next, level)
        addr = next


cdef void change_device_range(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end) noexcept nogil:
    """Follows change_pud_range and those below it."""
    cdef uint64_t next
    cdef uint64_t *entry
    cdef int level
    while addr < end:
        entry = leaf_offset(m, vma.mm, addr, &level)
        next = level_addr_end(addr, end, level)
        if entry[0] and not whole(addr, next, level):
            clear_leaf(m, entry, addr, next, level)
        elif entry[0]:
            if level == 2:
                store_entry(m, entry, pud_modify(m, entry[0], vma.page_prot))
            elif level == 1:
                store_entry(m, entry, pmd_modify(m, entry[0], vma.page_prot))
            else:
                store_entry(m, entry, pte_modify(m, entry[0], vma.page_prot))
            count_op(m, OP_PTE_SET, 1)
        addr = next


cdef int copy_device_range(machine_t *m, vma_t *dst, const vma_t *src) noexcept nogil:
    """Follows copy_huge_pud, copy_huge_pmd and __copy_present_ptes: shared memory stays writable, PTEs become clean."""
    cdef uint64_t addr = src.start
    cdef uint64_t *entry
    cdef uint64_t *to
    cdef int level
    while addr < src.end:
        entry = leaf_offset(m, src.mm, addr, &level)
        to = leaf_alloc(m, dst.mm, addr, level)
        if to == NULL:
            return -ENOMEM
        if entry[0]:
            store_entry(m, to, pte_mkold(m, entry[0] if level else pte_mkclean(m, entry[0])))
            count_op(m, OP_PTE_SET, 1)
        addr = level_addr_end(addr, src.end, level)
    return 0


cdef bint range_has_device(const machine_t *m, const mm_t *mm, uint64_t start, uint64_t end) noexcept nogil:
    cdef const vma_t *vma = find_vma(mm, start) if m.nr_devices else NULL
    while vma != NULL and vma.start < end:
        if vma_is_device(vma):
            return True
        vma = vma.next
    return False
