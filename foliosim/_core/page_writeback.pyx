# cython: language_level=3
"""Writing dirty pages back.  Follows folio_clear_dirty_for_io in mm/page-writeback.c and folio_mkclean in mm/rmap.c."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.mapping cimport mapping_next_cached
from foliosim._core.rmap cimport vma_address, vma_clip


cdef inline void clean_pte(machine_t *m, uint64_t *pte) noexcept nogil:
    """Follows page_vma_mkclean_one."""
    if pte_dirty(m, ptep_get(m, pte)) or pte_write(m, pte[0]):
        set_pte(m, pte, pte_mkclean(m, pte_wrprotect(m, get_and_clear_ptes(m, pte, 1))))


cdef inline void clean_pmd(machine_t *m, uint64_t *pmd) noexcept nogil:
    if pte_dirty(m, pmd[0]) or pte_write(m, pmd[0]):
        store_entry(m, pmd, pte_mkclean(m, pte_wrprotect(m, pmd[0])))


cdef void clean_vma(machine_t *m, const vma_t *vma, uint64_t first, uint64_t end) noexcept nogil:
    """The entries of pages first..end-1 of the file, which is one folio."""
    cdef uint64_t pgoff, last, addr
    cdef uint64_t *pmd
    cdef uint64_t *pte
    vma_clip(vma, first, <uint32_t>(end - first), &pgoff, &last)
    while pgoff < last:
        addr = vma_address(vma, pgoff)
        pmd = pmd_offset(m, vma.mm, addr)
        pgoff += 1
        if pmd == NULL or not pmd[0]:
            continue
        if pmd_leaf(m, pmd[0]):
            clean_pmd(m, pmd)
            return
        pte = pte_offset(m, pmd[0], addr)
        if pte_present(m, pte[0]):
            clean_pte(m, pte)


cdef void folio_mkclean(machine_t *m, mapping_t *mapping, const page_t *folio) noexcept nogil:
    """Private mappings never write to the file and are left alone."""
    cdef uint64_t first = folio_index(folio)
    cdef vma_t *vma = mapping.i_mmap
    while vma != NULL:
        if vma.flags & VM_SHARED:
            clean_vma(m, vma, first, first + folio_nr_pages(folio))
        vma = vma.i_mmap_next


cdef void filemap_write_and_wait_range(machine_t *m, mapping_t *mapping, uint64_t first, uint64_t end) noexcept nogil:
    cdef uint64_t index = mapping_next_cached(mapping, first, end)
    cdef page_t *folio
    while index < end and index < mapping.cap:
        folio = folio_of(m, mapping.pfns[index])
        if folio.flags & PG_dirty:
            folio_mkclean(m, mapping, folio)
            folio.flags &= ~(PG_dirty | PG_readahead)
        index = mapping_next_cached(mapping, folio_index(folio) + folio_nr_pages(folio), end)
