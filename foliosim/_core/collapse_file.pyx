# cython: language_level=3
"""Collapse of the page cache, and of tables that map a huge cached folio page by page.  Follows collapse_file,
retract_page_tables and collapse_pte_mapped_thp in mm/khugepaged.c, for memory that has no other backing store.

Nobody else runs between the scan and the collapse, so there is nothing to roll back.
"""
from libc.stdint cimport int64_t
from foliosim._core.collapse cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport add_mm_counter
from foliosim._core.content cimport content_copy, content_page
from foliosim._core.filemap cimport do_set_pmd
from foliosim._core.folio cimport folio_materialize
from foliosim._core.huge_memory cimport TVA_FORCED_COLLAPSE, thp_vma_allowable_orders
from foliosim._core.mapping cimport (filemap_add_folio, filemap_remove_folio, mapping_grow, mapping_lookup,
                                     mapping_next_cached)
from foliosim._core.pgalloc cimport pmd_alloc
from foliosim._core.page_alloc cimport table_free
from foliosim._core.rmap cimport folio_remove_rmap_ptes, linear_page_index, vma_address
from foliosim._core.split_folio cimport folio_expected_ref_count
from foliosim._core.swap cimport folio_put, folio_put_refs
from foliosim._core.try_to_unmap cimport try_to_unmap
from foliosim._core.vmscan cimport folio_isolate_lru
from foliosim._core.zap cimport folio_pte_batch


# ---- the page cache ----

cdef int scan_cache(machine_t *m, const mapping_t *mapping, uint64_t start) noexcept nogil:
    """Follows hpage_collapse_scan_file: may all cached folios of the block be moved?"""
    cdef uint64_t end = start + FS_HPAGE_PMD_NR, index = mapping_next_cached(mapping, start, end)
    cdef page_t *folio
    while index < end:
        folio = page_of(m, mapping_lookup(mapping, index))
        if folio_order(folio) == FS_HPAGE_PMD_ORDER:
            return SCAN_PTE_MAPPED_HUGEPAGE
        if not folio.flags & PG_lru:
            return SCAN_PAGE_LRU
        if folio_expected_ref_count(folio) != folio.refcount:
            return SCAN_PAGE_COUNT
        index = mapping_next_cached(mapping, index + folio_nr_pages(folio), end)
    return SCAN_SUCCEED


cdef int copy_cached(machine_t *m, const mapping_t *mapping, uint32_t head, uint64_t start) noexcept nogil:
    cdef uint64_t end = start + FS_HPAGE_PMD_NR, index = mapping_next_cached(mapping, start, end)
    cdef uint32_t pfn
    while index < end:
        pfn = mapping_lookup(mapping, index)
        if content_page(m, pfn).flags & PG_CONTENT_MASK:
            folio_materialize(m, head)
            if content_copy(m, head + <uint32_t>(index - start), pfn) < 0:
                return -FS_EHOSTMEM
        index = mapping_next_cached(mapping, index + 1, end)
    return 0


cdef void replace_cached(machine_t *m, mapping_t *mapping, uint32_t head, uint64_t start) noexcept nogil:
    """The second half of collapse_file: unmap the old folios, put the new one in their place, free them."""
    cdef uint32_t old[FS_HPAGE_PMD_NR]
    cdef uint64_t end = start + FS_HPAGE_PMD_NR, index = mapping_next_cached(mapping, start, end)
    cdef int nr = 0, i
    while index < end:
        old[nr] = mapping_lookup(mapping, index)
        folio_isolate_lru(m, old[nr])
        try_to_unmap(m, old[nr], True)
        index = mapping_next_cached(mapping, index + folio_nr_pages(page_of(m, old[nr])), end)
        nr += 1
    for i in range(nr):
        filemap_remove_folio(m, mapping, old[i])
    page_of(m, head).flags |= PG_dirty
    filemap_add_folio(m, mapping, head, start)
    retract_page_tables(m, mapping, start)
    for i in range(nr):
        page_of(m, old[i]).flags &= ~(PG_active | PG_unevictable)
        folio_put(m, old[i])


cdef int collapse_file(machine_t *m, mapping_t *mapping, uint64_t start) noexcept nogil:
    cdef uint64_t end = start + FS_HPAGE_PMD_NR
    cdef uint32_t head = FS_NO_PFN
    cdef int result = alloc_charge_folio(m, &head)
    if result != SCAN_SUCCEED:
        return result
    if mapping_next_cached(mapping, start, end) == end:
        folio_put(m, head)
        return SCAN_TRUNCATED
    if mapping_grow(mapping, end) < 0 or copy_cached(m, mapping, head, start) < 0:
        folio_put(m, head)
        return -FS_EHOSTMEM
    replace_cached(m, mapping, head, start)
    return SCAN_PTE_MAPPED_HUGEPAGE


cdef int hpage_collapse_scan_file(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil:
    cdef uint64_t start = linear_page_index(vma, haddr)
    cdef int result = scan_cache(m, vma.file, start)
    return collapse_file(m, vma.file, start) if result == SCAN_SUCCEED else result


# ---- tables ----

cdef void free_empty_table(machine_t *m, mm_t *mm, uint64_t *pmd) noexcept nogil:
    table_free(m, table_pfn(m, pmd[0]))
    store_entry(m, pmd, 0)
    mm.nr_ptes -= 1


cdef void retract_page_tables(machine_t *m, const mapping_t *mapping, uint64_t start) noexcept nogil:
    """Free the tables that mapped the block, now empty, so that faults can map the huge folio by a PMD.  Those of
    VMAs that may have pages of their own, or guard regions, stay."""
    cdef vma_t *vma = mapping.i_mmap
    cdef uint64_t addr
    cdef uint64_t *pmd = NULL
    while vma != NULL:
        addr = vma_address(vma, start)
        if (vma.pgoff <= start and vma.anon_vma == NULL and not vma.flags & VM_MAYBE_GUARD
                and not addr & (FS_PMD_SIZE - 1) and addr + FS_PMD_SIZE <= vma.end):
            if find_pmd_or_thp_or_none(m, vma.mm, addr, &pmd) == SCAN_SUCCEED:
                free_empty_table(m, vma.mm, pmd)
        vma = vma.i_mmap_next


cdef int check_table(machine_t *m, const uint64_t *pte, uint32_t head) noexcept nogil:
    """Does the table map nothing but pages of the folio, each in its place?"""
    cdef int i
    for i in range(FS_PTRS_PER_PTE):
        if pte_none(m, pte[i]):
            continue
        if not pte_present(m, pte[i]):
            return SCAN_PTE_NON_PRESENT
        if pte_pfn(m, pte[i]) != head + <uint32_t>i:
            return SCAN_FAIL
    return SCAN_SUCCEED


cdef void unmap_table(machine_t *m, vma_t *vma, uint64_t *pmd, uint32_t head) noexcept nogil:
    cdef uint64_t *pte = table_of(m, table_pfn(m, pmd[0]))
    cdef uint32_t i = 0, n
    while i < FS_PTRS_PER_PTE:
        n = 1
        if not pte_none(m, pte[i]):
            n = folio_pte_batch(m, pte + i, head + i, FS_PTRS_PER_PTE - i)
            clear_ptes(m, pte + i, n)
            add_mm_counter(vma.mm, page_of(m, head), -<int64_t>n)
            folio_remove_rmap_ptes(m, head + i, n, vma)
            folio_put_refs(m, head, n)
        i += n
    free_empty_table(m, vma.mm, pmd)


cdef int collapse_pte_mapped_thp(machine_t *m, vma_t *vma, uint64_t haddr) noexcept nogil:
    cdef uint64_t *pmd = NULL
    cdef uint32_t head
    cdef int result = find_pmd_or_thp_or_none(m, vma.mm, haddr, &pmd)
    if result == SCAN_PMD_MAPPED:
        return result
    if not thp_vma_allowable_orders(m, vma, TVA_FORCED_COLLAPSE, 1U << FS_HPAGE_PMD_ORDER):
        return SCAN_VMA_CHECK
    head = mapping_lookup(vma.file, linear_page_index(vma, haddr))
    if head == FS_NO_PFN:
        return SCAN_PAGE_NULL
    if folio_order(page_of(m, head)) != FS_HPAGE_PMD_ORDER:
        return SCAN_PAGE_COMPOUND
    if result == SCAN_SUCCEED:
        result = check_table(m, pte_offset(m, pmd[0], haddr), head)
        if result != SCAN_SUCCEED:
            return result
        unmap_table(m, vma, pmd, head)
    elif pmd == NULL:
        pmd = pmd_alloc(m, vma.mm, haddr)
    if pmd == NULL or not do_set_pmd(m, vma, pmd, haddr, head, False):
        return SCAN_FAIL
    return SCAN_SUCCEED
