# cython: language_level=3
"""Faults in memory that has a page cache.  Follows do_fault in mm/memory.c and filemap_map_pages in mm/filemap.c."""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.stat cimport *
from foliosim._core.page_alloc cimport table_alloc
from foliosim._core.rmap cimport *
from foliosim._core.shmem cimport mapping_lookup, shmem_get_folio

cdef enum:
    FAULT_AROUND_PAGES = 16


cdef int table_make(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    cdef uint32_t table
    if pmd[0]:
        return 0
    table = table_alloc(m)
    if table == FS_NO_PFN:
        return VM_FAULT_OOM
    pmd[0] = mk_table(m, table)
    vma.mm.nr_ptes += 1
    return 0


cdef void set_pte_range(machine_t *m, vma_t *vma, uint64_t *pte, uint32_t pfn, uint32_t nr, bint write) noexcept nogil:
    """Map nr pages of one cached folio, young; dirty if written or if the folio is and the entry is writable."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef uint64_t entry = pte_mkyoung(m, mk_pte(m, pfn, vma.page_prot))
    cdef uint32_t i
    if write:
        entry = pte_mkdirty(m, entry)
        if vma.flags & VM_WRITE:
            entry = pte_mkwrite(m, entry)
    elif pte_write(m, entry) and folio.flags & PG_dirty:
        entry = pte_mkdirty(m, entry)
    folio.refcount += nr
    folio_add_rmap_ptes(m, pfn, nr, vma)
    vma.mm.rss_shmem += nr
    for i in range(nr):
        pte[i] = entry + i * pte_advance(m)


cdef bint set_pmd(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t pfn, bint write) noexcept nogil:
    """Follows do_set_pmd: a huge folio that lies in the VMA as aligned as in the file gets a PMD leaf."""
    cdef uint32_t head = head_of(m, pfn)
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
    vma.mm.rss_shmem += FS_HPAGE_PMD_NR
    folio_add_rmap_pmd(m, head, vma)
    pmd[0] = entry
    count_vm_events(m, THP_FILE_MAPPED, 1)
    return True


# ---- fault-around ----

cdef uint32_t cached_run(machine_t *m, const mapping_t *mapping, uint64_t index, const uint64_t *pte,
                         uint32_t max_nr) noexcept nogil:
    """How many pages from index on are cached in one folio and have empty PTEs."""
    cdef uint32_t pfn = mapping_lookup(mapping, index), n = 1, head
    if pfn == FS_NO_PFN or not pte_none(m, pte[0]):
        return 0
    head = head_of(m, pfn)
    if head + folio_nr_pages(page_of(m, head)) - pfn < max_nr:
        max_nr = head + folio_nr_pages(page_of(m, head)) - pfn
    while n < max_nr and pte_none(m, pte[n]):
        n += 1
    return n


cdef bint fault_around(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr) noexcept nogil:
    """Follows do_fault_around: map what is cached in 16 aligned pages around; True if the address is mapped now."""
    cdef uint32_t off = pte_index(addr), n
    cdef uint64_t vma_off = (addr - vma.start) >> FS_PAGE_SHIFT, index, end
    cdef uint32_t at = off & ~<uint32_t>(FAULT_AROUND_PAGES - 1)
    cdef uint64_t *table
    cdef uint32_t low = off - (off if off < vma_off else <uint32_t>vma_off)
    cdef bint hit = False
    if low > at:
        at = low
    end = at + FAULT_AROUND_PAGES
    if end > FS_PTRS_PER_PTE:
        end = FS_PTRS_PER_PTE
    if end > off + ((vma.end - vma.start) >> FS_PAGE_SHIFT) - vma_off:
        end = off + ((vma.end - vma.start) >> FS_PAGE_SHIFT) - vma_off
    index = linear_page_index(vma, addr) - off + at
    if vma.file.size < (index + end - at) << FS_PAGE_SHIFT:
        n = <uint32_t>((vma.file.size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT)
        end = at + (n - index if n > index else 0)
    while at < end and mapping_lookup(vma.file, index) == FS_NO_PFN:
        at += 1
        index += 1
    if at >= end or table_make(m, vma, pmd) != 0:
        return False
    table = table_of(m, table_pfn(m, pmd[0]))
    while at < end:
        n = cached_run(m, vma.file, index, table + at, <uint32_t>(end - at))
        if n == 0:
            n = 1
        else:
            set_pte_range(m, vma, table + at, mapping_lookup(vma.file, index), n, False)
            hit = hit or at <= off < at + n
        at += n
        index += n
    return hit


# ---- the fault ----

cdef int finish_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t pfn, bint write) noexcept nogil:
    """Follows finish_fault for shmem: the whole folio is mapped if it fits the VMA and the table and meets no PTE."""
    cdef uint32_t head = head_of(m, pfn), nr = folio_nr_pages(page_of(m, head)), i, at = pte_index(addr)
    cdef uint32_t before = pfn - head
    cdef uint64_t first = addr - (<uint64_t>before << FS_PAGE_SHIFT)
    cdef uint64_t *pte
    if not pmd[0] and set_pmd(m, vma, pmd, addr, pfn, write):
        return 0
    if table_make(m, vma, pmd) != 0:
        return VM_FAULT_OOM
    pte = pte_offset(m, pmd[0], addr)
    if nr > 1 and at >= before and at + nr - before <= FS_PTRS_PER_PTE and first >= vma.start:
        if first + (<uint64_t>nr << FS_PAGE_SHIFT) <= vma.end:
            for i in range(nr):
                if not pte_none(m, pte[<int64_t>i - <int64_t>before]):
                    break
            else:
                set_pte_range(m, vma, pte - before, head, nr, write)
                return 0
    set_pte_range(m, vma, pte, pfn, 1, write)
    return 0


cdef int do_fault(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t addr, uint32_t flags) noexcept nogil:
    """do_read_fault and do_shared_fault."""
    cdef bint write = (flags & FAULT_FLAG_WRITE) != 0
    cdef uint32_t pfn = FS_NO_PFN
    cdef int result
    if not write:
        pfn = mapping_lookup(vma.file, linear_page_index(vma, addr))
        if pfn != FS_NO_PFN and not pmd[0] and set_pmd(m, vma, pmd, addr, pfn, False):
            return 0
        if fault_around(m, vma, pmd, addr):
            return 0
    result = shmem_get_folio(m, vma.file, vma, linear_page_index(vma, addr), &pfn)
    if result:
        return result
    result = finish_fault(m, vma, pmd, addr, pfn, write)
    if write and result == 0:
        folio_of(m, pfn).flags |= PG_dirty
    return result


cdef int do_wp_shared(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr) noexcept nogil:
    """Follows wp_page_shared of memory without page_mkwrite: reuse, and the folio is dirty."""
    cdef uint64_t entry = pte_mkdirty(m, pte_mkyoung(m, pte[0]))
    pte[0] = pte_mkwrite(m, entry) if vma.flags & VM_WRITE else entry
    folio_of(m, pte_pfn(m, pte[0])).flags |= PG_dirty
    count_vm_events(m, PGREUSE, 1)
    return 0
