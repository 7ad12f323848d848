# cython: language_level=3
"""tmpfs and shared anonymous memory.  Follows mm/shmem.c for files without swap, all of them unlinked."""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.folio cimport folio_alloc
from foliosim._core.mapping cimport filemap_add_folio, mapping_alloc, mapping_lookup, mapping_next_cached
from foliosim._core.swap cimport folio_mark_accessed

cdef enum:                   # shmem_enabled
    SHMEM_HUGE_NEVER = 0
    SHMEM_HUGE_ALWAYS = 1
    SHMEM_HUGE_WITHIN_SIZE = 2
    SHMEM_HUGE_ADVISE = 3
    SHMEM_HUGE_DENY = -1
    SHMEM_HUGE_FORCE = -2


cdef mapping_t *shmem_file_setup(machine_t *m, uint64_t size) noexcept nogil:
    return mapping_alloc(m, MAPPING_SHMEM, size)


# ---- which sizes ----

cdef uint32_t orders_within_size(const mapping_t *mapping, uint32_t orders, uint64_t index,
                                 uint64_t write_end) noexcept nogil:
    """Follows shmem_get_orders_within_size: from the largest block that ends inside the object on, down."""
    cdef uint64_t size = write_end if write_end > mapping.size else mapping.size
    cdef uint64_t pages = (size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
    cdef int order = FS_HPAGE_PMD_ORDER
    while order > 0:
        if orders & (1U << order):
            if (index | ((1ULL << order) - 1)) + 1 <= pages:
                return orders
            orders &= ~(1U << order)
        order -= 1
    return 0


cdef uint32_t global_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma, uint64_t index,
                            uint64_t write_end, bint force) noexcept nogil:
    """Follows shmem_huge_global_enabled: the mount's huge= option; that of the internal mount is shmem_enabled."""
    cdef uint32_t pmd = 1U << FS_HPAGE_PMD_ORDER & FS_ORDERS_FILE
    cdef int huge = m.thp.shmem_enabled
    if huge == SHMEM_HUGE_DENY:
        return 0
    if force or huge == SHMEM_HUGE_FORCE:
        return pmd
    if mapping.kind == MAPPING_TMPFS:
        huge = SHMEM_HUGE_NEVER
    if huge == SHMEM_HUGE_ALWAYS:
        return pmd
    if huge == SHMEM_HUGE_WITHIN_SIZE and orders_within_size(mapping, pmd, index, write_end):
        return pmd
    if huge != SHMEM_HUGE_NEVER and vma != NULL and vma.flags & VM_HUGEPAGE:
        return pmd
    return 0


cdef bint disabled(const vma_t *vma, bint force) noexcept nogil:
    if vma == NULL:
        return False
    if vma.flags & VM_NOHUGEPAGE or vma.mm.thp_disable == 1:
        return True
    return vma.mm.thp_disable == 2 and not vma.flags & VM_HUGEPAGE and not force


cdef uint32_t shmem_allowable_huge_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma, uint64_t index,
                                          uint64_t write_end, bint force) noexcept nogil:
    cdef thp_settings_t *thp = &m.thp
    cdef uint32_t mask = thp.shmem_always, global_mask
    if disabled(vma, force):
        return 0
    global_mask = global_orders(m, mapping, vma, index, write_end, force)
    if vma == NULL:
        return global_mask
    if thp.shmem_enabled == SHMEM_HUGE_DENY:
        return 0
    if thp.shmem_enabled == SHMEM_HUGE_FORCE:
        return thp.shmem_inherit
    mask |= orders_within_size(mapping, thp.shmem_within_size, index, 0)
    if vma.flags & VM_HUGEPAGE:
        mask |= thp.shmem_advise
    if global_mask:
        mask |= thp.shmem_inherit
    return mask & FS_ORDERS_FILE


# ---- getting a folio ----

cdef bint block_fits(const mapping_t *mapping, const vma_t *vma, uint64_t index, int order) noexcept nogil:
    """Follows shmem_suitable_orders: the block lies in the VMA as aligned in it, and nothing of it is cached."""
    cdef uint64_t nr = 1ULL << order, first = index & ~(nr - 1)
    if vma != NULL:
        if ((vma.start >> FS_PAGE_SHIFT) - vma.pgoff) & (nr - 1):
            return False
        if first < vma.pgoff or ((first + nr - vma.pgoff) << FS_PAGE_SHIFT) > vma.end - vma.start:
            return False
    return mapping_next_cached(mapping, first, first + nr) == first + nr


cdef uint32_t alloc_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index,
                          uint64_t write_end) noexcept nogil:
    """Follows shmem_alloc_and_add_folio."""
    cdef uint32_t orders = shmem_allowable_huge_orders(m, mapping, vma, index, write_end, False), head
    cdef int order = FS_HPAGE_PMD_ORDER
    while order > 0:
        if orders & (1U << order) and block_fits(mapping, vma, index, order):
            head = folio_alloc(m, order)
            if head != FS_NO_PFN:
                if order == FS_HPAGE_PMD_ORDER:
                    count_vm_events(m, THP_FILE_ALLOC, 1)
                mod_mthp_stat(m, order, SHMEM_ALLOC, 1)
                return head
            if order == FS_HPAGE_PMD_ORDER:
                count_vm_events(m, THP_FILE_FALLBACK, 1)
            mod_mthp_stat(m, order, SHMEM_FALLBACK, 1)
        order -= 1
    return folio_alloc(m, 0)


cdef int add_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index, uint64_t write_end,
                   uint32_t *pfn) noexcept nogil:
    """A new folio of zeros that holds page `index`; 0, -ENOMEM or -FS_EHOSTMEM."""
    cdef uint32_t head = alloc_folio(m, mapping, vma, index, write_end), nr
    if head == FS_NO_PFN:
        return -ENOMEM
    nr = folio_nr_pages(page_of(m, head))
    pfn[0] = head + <uint32_t>(index & (nr - 1))
    m.ledger.zero_bytes += FS_PAGE_SIZE * nr
    return filemap_add_folio(m, mapping, head, index & ~<uint64_t>(nr - 1))


cdef int shmem_get_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index,
                         uint32_t *pfn) noexcept nogil:
    """Follows shmem_get_folio_gfp, SGP_CACHE: beyond the end of the object SIGBUS."""
    pfn[0] = mapping_lookup(mapping, index)
    if index << FS_PAGE_SHIFT >= mapping.size:
        return VM_FAULT_SIGBUS
    if pfn[0] != FS_NO_PFN:
        return 0
    return VM_FAULT_OOM if add_folio(m, mapping, vma, index, 0, pfn) < 0 else 0


cdef int shmem_write_begin(machine_t *m, mapping_t *mapping, uint64_t index, uint64_t write_end,
                           uint32_t *pfn) noexcept nogil:
    """Follows shmem_get_folio_gfp, SGP_WRITE: a new folio is referenced, a cached one is accessed once more."""
    cdef int result
    pfn[0] = mapping_lookup(mapping, index)
    if pfn[0] != FS_NO_PFN:
        folio_mark_accessed(m, head_of(m, pfn[0]))
        return 0
    result = add_folio(m, mapping, NULL, index, write_end, pfn)
    if result == 0:
        folio_of(m, pfn[0]).flags |= PG_referenced
    return result
