# cython: language_level=3
"""Shared anonymous memory.  Follows mm/shmem.c for objects without swap."""
from libc.stdlib cimport calloc, free, realloc
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport mapping_id_alloc, mapping_id_free
from foliosim._core.folio cimport folio_alloc
from foliosim._core.swap cimport folio_add_lru, folio_put_refs

cdef enum:                   # shmem_enabled
    SHMEM_HUGE_NEVER = 0
    SHMEM_HUGE_ALWAYS = 1
    SHMEM_HUGE_WITHIN_SIZE = 2
    SHMEM_HUGE_ADVISE = 3
    SHMEM_HUGE_DENY = -1
    SHMEM_HUGE_FORCE = -2


cdef mapping_t *shmem_file_setup(machine_t *m, uint64_t size) noexcept nogil:
    cdef mapping_t *mapping = <mapping_t *>calloc(1, sizeof(mapping_t))
    cdef int id
    if mapping == NULL:
        return NULL
    id = mapping_id_alloc(m, mapping)
    if id < 0:
        free(mapping)
        return NULL
    mapping.id = id
    mapping.kind = MAPPING_SHMEM
    mapping.ino = m.next_ino
    m.next_ino += 1
    mapping.size = size
    mapping.refcount = 1
    return mapping


cdef void drop_cache(machine_t *m, mapping_t *mapping) noexcept nogil:
    """Truncate everything: each cached page gives up the cache's reference."""
    cdef uint64_t i = 0
    cdef uint32_t pfn, nr
    while i < mapping.cap:
        pfn = mapping.pfns[i]
        nr = 1
        if pfn != FS_NO_PFN:
            nr = folio_nr_pages(page_of(m, pfn))
            page_of(m, pfn).mapping = 0
            folio_put_refs(m, pfn, nr)
        i += nr


cdef void mapping_put(machine_t *m, mapping_t *mapping) noexcept nogil:
    mapping.refcount -= 1
    if mapping.refcount:
        return
    drop_cache(m, mapping)
    mapping_id_free(m, mapping.id)
    free(mapping.pfns)
    free(mapping)


cdef int grow(mapping_t *mapping, uint64_t nr) noexcept nogil:
    cdef uint64_t cap = mapping.cap * 2 if mapping.cap * 2 > nr else nr, i
    cdef uint32_t *pfns = <uint32_t *>realloc(mapping.pfns, cap * sizeof(uint32_t))
    if pfns == NULL:
        return -FS_EHOSTMEM
    for i in range(mapping.cap, cap):
        pfns[i] = FS_NO_PFN
    mapping.pfns = pfns
    mapping.cap = cap
    return 0


# ---- which sizes ----

cdef uint32_t orders_within_size(const mapping_t *mapping, uint32_t orders, uint64_t index) noexcept nogil:
    """Follows shmem_get_orders_within_size: blocks that end inside the object."""
    cdef uint64_t pages = (mapping.size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
    cdef int order = 9
    while order > 0:
        if orders & (1U << order) and (index | ((1ULL << order) - 1)) + 1 > pages:
            orders &= ~(1U << order)
        order -= 1
    return orders


cdef uint32_t global_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma, uint64_t index) noexcept nogil:
    """Follows shmem_huge_global_enabled for the internal mount."""
    cdef uint32_t pmd = 1U << FS_HPAGE_PMD_ORDER
    cdef int mode = m.thp.shmem_enabled
    if mode == SHMEM_HUGE_FORCE or mode == SHMEM_HUGE_ALWAYS:
        return pmd
    if mode == SHMEM_HUGE_WITHIN_SIZE and orders_within_size(mapping, pmd, index):
        return pmd
    if (mode == SHMEM_HUGE_ADVISE or mode == SHMEM_HUGE_WITHIN_SIZE) and vma != NULL and vma.flags & VM_HUGEPAGE:
        return pmd
    return 0


cdef bint disabled(const vma_t *vma) noexcept nogil:
    if vma == NULL:
        return False
    if vma.flags & VM_NOHUGEPAGE or vma.mm.thp_disable == 1:
        return True
    return vma.mm.thp_disable == 2 and not vma.flags & VM_HUGEPAGE


cdef uint32_t shmem_allowable_huge_orders(machine_t *m, const mapping_t *mapping, const vma_t *vma,
                                          uint64_t index) noexcept nogil:
    cdef thp_settings_t *thp = &m.thp
    cdef uint32_t mask = thp.shmem_always
    if disabled(vma) or thp.shmem_enabled == SHMEM_HUGE_DENY:
        return 0
    if thp.shmem_enabled == SHMEM_HUGE_FORCE:
        return thp.shmem_inherit
    mask |= orders_within_size(mapping, thp.shmem_within_size, index)
    if vma != NULL and vma.flags & VM_HUGEPAGE:
        mask |= thp.shmem_advise
    if global_orders(m, mapping, vma, index):
        mask |= thp.shmem_inherit
    return mask & 0x3feU


cdef bint block_fits(const mapping_t *mapping, const vma_t *vma, uint64_t index, int order) noexcept nogil:
    """Follows shmem_suitable_orders: the block lies in the VMA as aligned in it, and nothing of it is cached."""
    cdef uint64_t first = index & ~((1ULL << order) - 1), i, addr
    if vma != NULL:
        if ((vma.start >> FS_PAGE_SHIFT) - vma.pgoff) & ((1ULL << order) - 1):
            return False
        if first < vma.pgoff or ((first + (1ULL << order) - vma.pgoff) << FS_PAGE_SHIFT) > vma.end - vma.start:
            return False
    for i in range(1ULL << order):
        if first + i < mapping.cap and mapping.pfns[first + i] != FS_NO_PFN:
            return False
    return True


cdef int add_folio(machine_t *m, mapping_t *mapping, uint32_t head, uint64_t index) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint32_t nr = folio_nr_pages(folio), i
    if index + nr > mapping.cap and grow(mapping, index + nr) < 0:
        return -FS_EHOSTMEM
    folio.flags |= PG_swapbacked
    folio_set_mapping(folio, mapping.id, index)
    folio.refcount += nr - 1
    for i in range(nr):
        mapping.pfns[index + i] = head + i
    mapping.nrpages += nr
    folio_add_lru(m, head)
    return 0


cdef uint32_t alloc_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index) noexcept nogil:
    """Follows shmem_alloc_and_add_folio."""
    cdef uint32_t orders = shmem_allowable_huge_orders(m, mapping, vma, index), head
    cdef int order = 9
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


cdef int shmem_get_folio(machine_t *m, mapping_t *mapping, const vma_t *vma, uint64_t index,
                         uint32_t *pfn) noexcept nogil:
    """Follows shmem_get_folio_gfp: cached, or a new folio of zeros; beyond the end of the object: SIGBUS."""
    cdef uint32_t head, nr
    pfn[0] = mapping_lookup(mapping, index)
    if index << FS_PAGE_SHIFT >= mapping.size:
        return VM_FAULT_SIGBUS
    if pfn[0] != FS_NO_PFN:
        return 0
    head = alloc_folio(m, mapping, vma, index)
    if head == FS_NO_PFN:
        return VM_FAULT_OOM
    nr = folio_nr_pages(page_of(m, head))
    if add_folio(m, mapping, head, index & ~<uint64_t>(nr - 1)) < 0:
        folio_put_refs(m, head, 1)
        return VM_FAULT_OOM
    pfn[0] = head + <uint32_t>(index & (nr - 1))
    return 0
