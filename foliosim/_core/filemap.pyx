# cython: language_level=3
"""Faults in memory that has a page cache.  Follows do_fault in mm/memory.c and filemap_map_pages in mm/filemap.c."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.content cimport content_copy
from foliosim._core.ext4 cimport ext4_page_mkwrite
from foliosim._core.folio cimport folio_alloc
from foliosim._core.ledger cimport count_copy
from foliosim._core.mapping cimport mapping_lookup, mapping_next_cached, mapping_pages, shmem_mapping
from foliosim._core.mlock cimport folio_add_lru_vma
from foliosim._core.page_alloc cimport table_alloc
from foliosim._core.readahead cimport filemap_fault, read_resident
from foliosim._core.rmap cimport *
from foliosim._core.shmem cimport shmem_get_folio
from foliosim._core.swap cimport folio_put

cdef enum:
    FAULT_AROUND_PAGES = 65536 >> FS_PAGE_SHIFT


cdef int table_make(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    cdef uint32_t table
    if pmd[0]:
        return 0
    table = table_alloc(m)
    if table == FS_NO_PFN:
        return VM_FAULT_OOM
    store_entry(m, pmd, mk_table(m, table))
    vma.mm.nr_ptes += 1
    return 0


cdef void set_pte_range(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t nr, bint write,
                        bint ahead) noexcept nogil:
    """Map nr pages of one cached folio; dirty if written or if the folio is and the entry is writable.

    ahead: none of them is the page that was asked for.
    """
    cdef page_t *folio = folio_of(m, pfn)
    cdef uint64_t entry = mk_pte(m, pfn, vma.page_prot)
    entry = pte_mkold(m, entry) if ahead and pte_old_prefaulted(m) else pte_mkyoung(m, entry)
    if write:
        entry = pte_mkdirty(m, entry)
        if vma.flags & VM_WRITE:
            entry = pte_mkwrite(m, entry)
    elif pte_write(m, entry) and folio.flags & PG_dirty:
        entry = pte_mkdirty(m, entry)
    folio.refcount += nr
    folio_add_rmap_ptes(m, pfn, nr, vma)
    add_mm_counter(vma.mm, folio, nr)
    set_ptes(m, pte, entry, nr)
    count_op(m, OP_PTE_SET, nr)
    count_op(m, OP_REF, 1)


cdef bint do_set_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t head, bint write) noexcept nogil:
    """A huge folio that lies in the VMA as aligned as in the file gets a PMD leaf; False: it cannot."""
    cdef page_t *folio = page_of(m, head)
    cdef uint64_t haddr = addr & ~(FS_PMD_SIZE - 1), entry
    if folio_order(folio) != FS_HPAGE_PMD_ORDER or vma.flags & VM_NOHUGEPAGE or vma.mm.thp_disable == 1:
        return False
    if haddr < vma.start or haddr + FS_PMD_SIZE > vma.end or linear_page_index(vma, haddr) != folio_index(folio):
        return False
    entry = pte_mkyoung(m, mk_pmd_leaf(m, head, vma.page_prot))
    if write:
        entry = pte_mkwrite(m, pte_mkdirty(m, entry))
    folio.refcount += 1
    add_mm_counter(vma.mm, folio, FS_HPAGE_PMD_NR)
    folio_add_rmap_pmd(m, head, vma)
    store_entry(m, pmd, entry)
    count_vm_events(m, THP_FILE_MAPPED, 1)
    return True


# ---- fault-around ----

cdef bint can_map_large(const vma_t *vma, const page_t *folio) noexcept nogil:
    """tmpfs maps large folios across the end of the file, others keep away from it."""
    return shmem_mapping(vma.file) or mapping_pages(vma.file) > folio_index(folio) + folio_nr_pages(folio)


cdef bint folio_in_table(const vma_t *vma, const page_t *folio) noexcept nogil:
    """Does the whole folio lie in the VMA and in the span of one page table?"""
    cdef uint64_t index = folio_index(folio), nr = folio_nr_pages(folio), first, last
    if index < vma.pgoff or index + nr > vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT):
        return False
    first = vma_address(vma, index)
    last = first + ((nr - 1) << FS_PAGE_SHIFT)
    return first >> FS_PMD_SHIFT == last >> FS_PMD_SHIFT


cdef bint map_empty(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t nr, int64_t wanted) noexcept nogil:
    """Map those of nr pages whose entries are empty, run by run; True if entry number `wanted` is among them."""
    cdef uint32_t i = 0, n
    cdef bint hit = False, here
    while i < nr:
        n = 0
        while i + n < nr and pte_none(m, pte[i + n]):
            n += 1
        if n:
            here = <int64_t>i <= wanted < <int64_t>(i + n)
            set_pte_range(m, vma, pte + i, pfn + i, n, False, not here)
            hit = hit or here
        i += n + 1
    return hit


cdef uint64_t next_uptodate(machine_t *m, const mapping_t *mapping, uint64_t index, uint64_t end) noexcept nogil:
    """The next cached page that may be mapped unasked; end: none."""
    cdef page_t *folio
    index = mapping_next_cached(mapping, index, end)
    while index < end:
        folio = folio_of(m, mapping.pfns[index])
        if (folio.flags & (PG_uptodate | PG_readahead)) == PG_uptodate:
            return index
        index = mapping_next_cached(mapping, folio_index(folio) + folio_nr_pages(folio), end)
    return end


cdef bint filemap_map_pages(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t first,
                            uint64_t end) noexcept nogil:
    """Map what is ready of pages first..end-1 of the file; True if the address is mapped now.

    A table is only made on the way that tries a PMD leaf first, so not for a first folio at the end of the file.
    """
    cdef uint64_t index = next_uptodate(m, vma.file, first, end), wanted = linear_page_index(vma, addr), at
    cdef int64_t base = <int64_t>pte_index(addr) - <int64_t>wanted
    cdef uint32_t pfn, nr
    cdef page_t *folio
    cdef bint hit = False
    if index >= end:
        return False
    pfn = vma.file.pfns[index]
    if not pmd[0]:
        if not can_map_large(vma, folio_of(m, pfn)):
            return False
        if do_set_pmd(m, vma, pmd, addr, head_of(m, pfn), False):
            return True
        if table_make(m, vma, pmd) != 0:
            return False
    while index < end:
        pfn = vma.file.pfns[index]
        folio = folio_of(m, pfn)
        at = index
        index = folio_index(folio) + folio_nr_pages(folio)
        nr = <uint32_t>((index if index < end else end) - at)
        if folio_test_large(folio) and can_map_large(vma, folio) and folio_in_table(vma, folio):
            pfn = head_of(m, pfn)
            at = folio_index(folio)
            nr = folio_nr_pages(folio)
        hit |= map_empty(m, vma, table_of(m, table_pfn(m, pmd[0])) + (base + <int64_t>at), pfn, nr,
                         <int64_t>(wanted - at))
        index = next_uptodate(m, vma.file, index, end)
    return hit


cdef bint do_fault_around(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """Map what is cached in 16 aligned pages around, in the VMA and below the end of the file."""
    cdef uint64_t off = pte_index(addr), vma_off = (addr - vma.start) >> FS_PAGE_SHIFT
    cdef uint64_t low = off & ~<uint64_t>(FAULT_AROUND_PAGES - 1), high
    cdef uint64_t pgoff = linear_page_index(vma, addr), end
    if vma_off < off and off - vma_off > low:
        low = off - vma_off
    high = low + FAULT_AROUND_PAGES
    if high > FS_PTRS_PER_PTE:
        high = FS_PTRS_PER_PTE
    if high > off + ((vma.end - vma.start) >> FS_PAGE_SHIFT) - vma_off:
        high = off + ((vma.end - vma.start) >> FS_PAGE_SHIFT) - vma_off
    end = pgoff + high - off
    if end > mapping_pages(vma.file):
        end = mapping_pages(vma.file)
    if pgoff + low - off >= end:
        return False
    if read_resident(m, vma.file, pgoff + low - off, end) < 0:
        return False
    return filemap_map_pages(m, vma, pmd, addr, pgoff + low - off, end)


# ---- the fault ----

cdef int find_page(machine_t *m, vma_t *vma, uint64_t addr, uint32_t *pfn) noexcept nogil:
    """The VMA's fault operation: the page in the page cache, or VM_FAULT_*."""
    if shmem_mapping(vma.file):
        return shmem_get_folio(m, vma.file, vma, linear_page_index(vma, addr), pfn)
    return filemap_fault(m, vma, linear_page_index(vma, addr), pfn)


cdef bint whole_folio_fits(machine_t *m, const vma_t *vma, const uint64_t *pte, uint64_t addr,
                           const page_t *folio) noexcept nogil:
    """May finish_fault map all of the folio, in entries that are all empty?"""
    cdef int64_t i, before = <int64_t>(linear_page_index(vma, addr) - folio_index(folio))
    if not folio_in_table(vma, folio):
        return False
    for i in range(folio_nr_pages(folio)):
        if not pte_none(m, pte[i - before]):
            return False
    return True


cdef int finish_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t pfn, bint write) noexcept nogil:
    """Map a cached page, and with it the whole folio if that fits and lies below the end of the file."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    cdef bint whole = shmem_mapping(vma.file)
    cdef uint64_t *pte
    if not whole:
        whole = mapping_pages(vma.file) >= folio_index(folio) + folio_nr_pages(folio)
    if not pmd[0] and whole and do_set_pmd(m, vma, pmd, addr, head, write):
        return 0
    if table_make(m, vma, pmd) != 0:
        return VM_FAULT_OOM
    pte = pte_offset(m, pmd[0], addr)
    if folio_test_large(folio) and whole and whole_folio_fits(m, vma, pte, addr, folio):
        set_pte_range(m, vma, pte - (pfn - head), head, folio_nr_pages(folio), write, False)
    else:
        set_pte_range(m, vma, pte, pfn, 1, write, False)
    return 0


cdef int insert_pfn(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """A page without a folio (vvar), the same for all; nothing counts it."""
    if table_make(m, vma, pmd) != 0:
        return VM_FAULT_OOM
    set_pte(m, pte_offset(m, pmd[0], addr), pte_mkspecial(m, mk_pte(m, m.zero_pfn, vma.page_prot)))
    return 0


cdef int do_read_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    cdef uint32_t pfn = FS_NO_PFN
    cdef int result
    if vma.flags & VM_PFNMAP:
        return insert_pfn(m, vma, pmd, addr)
    if not vma.file.special and do_fault_around(m, vma, pmd, addr):
        return 0
    result = find_page(m, vma, addr, &pfn)
    if result:
        return result
    return finish_fault(m, vma, pmd, addr, pfn, False)


cdef int do_cow_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """A write to a private mapping: a copy in a single page of its own."""
    cdef uint32_t pfn = FS_NO_PFN, head
    cdef uint64_t entry
    cdef int result
    if anon_vma_prepare(m, vma) < 0:
        return VM_FAULT_OOM
    head = folio_alloc(m, 0)
    if head == FS_NO_PFN:
        return VM_FAULT_OOM
    result = find_page(m, vma, addr, &pfn)
    if result:
        folio_put(m, head)
        return result
    if content_copy(m, head, pfn) < 0 or table_make(m, vma, pmd) != 0:
        folio_put(m, head)
        return VM_FAULT_OOM
    count_copy(m, vma, pfn, 1, FAULT_FLAG_USER)
    count_fault(m, FAULT_COW)
    count_op(m, OP_PTE_SET, 1)
    entry = pte_mkdirty(m, pte_mkyoung(m, mk_pte(m, head, vma.page_prot)))
    folio_add_new_anon_rmap(m, head, vma, addr)
    folio_add_lru_vma(m, head, vma)
    add_mm_counter(vma.mm, page_of(m, head), 1)
    set_pte(m, pte_offset(m, pmd[0], addr), pte_mkwrite(m, entry) if vma.flags & VM_WRITE else entry)
    return 0


cdef int do_shared_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    cdef uint32_t pfn = FS_NO_PFN
    cdef int result = find_page(m, vma, addr, &pfn)
    if result:
        return result
    if not shmem_mapping(vma.file):
        ext4_page_mkwrite(m, vma.file, folio_of(m, pfn))
    result = finish_fault(m, vma, pmd, addr, pfn, True)
    if result == 0:
        folio_of(m, pfn).flags |= PG_dirty
    return result


cdef int do_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    if not flags & FAULT_FLAG_WRITE:
        return do_read_fault(m, vma, pmd, addr)
    if vma.flags & VM_SHARED:
        return do_shared_fault(m, vma, pmd, addr)
    return do_cow_fault(m, vma, pmd, addr)


cdef int do_wp_shared(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr) noexcept nogil:
    """Follows wp_page_shared: the file system is told, then reuse, and the folio is dirty."""
    cdef page_t *folio = folio_of(m, pte_pfn(m, pte[0]))
    cdef uint64_t entry = pte_mkdirty(m, pte_mkyoung(m, ptep_get(m, pte)))
    if not shmem_mapping(vma.file):
        ext4_page_mkwrite(m, vma.file, folio)
    ptep_set_access_flags(m, pte, pte_mkwrite(m, entry) if vma.flags & VM_WRITE else entry)
    folio.flags |= PG_dirty
    count_vm_events(m, PGREUSE, 1)
    count_op(m, OP_PTE_SET, 1)
    count_fault(m, FAULT_REUSE)
    return 0
