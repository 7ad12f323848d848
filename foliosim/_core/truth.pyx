# cython: language_level=3
"""The truth about memory, for the ledger: no count of the machine is trusted, page tables and contents are looked at.

The cost is that of the mapped pages and of the frames in use.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.age cimport age_hot
from foliosim._core.content cimport content_is_zero
from foliosim._core.maple_tree cimport find_vma

cdef enum:
    COALESCED = 4
    CONT_PTES = 16           # as arm64 with 4 KiB pages, where the architecture has no contiguous PTEs


cdef int truth_init(truth_t *t, machine_t *m) noexcept nogil:
    memset(t, 0, sizeof(truth_t))
    t.m = m
    t.nr = <uint32_t>m.fresh_pfn
    t.page = <uint8_t *>calloc(t.nr + 1, sizeof(uint8_t))
    t.maps = <int32_t *>calloc(t.nr + 1, sizeof(int32_t))
    t.owner = <uint32_t *>calloc(t.nr + 1, sizeof(uint32_t))
    if t.page == NULL or t.maps == NULL or t.owner == NULL:
        truth_deinit(t)
        return -FS_EHOSTMEM
    return 0


cdef void truth_deinit(truth_t *t) noexcept nogil:
    free(t.page)
    free(t.maps)
    free(t.owner)
    t.page = NULL
    t.maps = NULL
    t.owner = NULL


cdef void mark_held(truth_t *t, const held_t *held) noexcept nogil:
    """What callers hold a reference on, or a pin."""
    cdef int64_t i
    while held != NULL:
        for i in range(held.nr):
            t.page[held.pfns[i]] |= PAGE_PINNED if held.flags & FOLL_PIN else PAGE_HELD
        held = held.next


# ---- page tables ----

cdef void see_pages(truth_t *t, const mm_t *mm, uint32_t pfn, uint32_t n, bint locked) noexcept nogil:
    """One more mapping of n pages in a row."""
    cdef uint32_t i
    cdef uint8_t bits = PAGE_MAPPED | (PAGE_LOCKED if locked else 0)
    for i in range(pfn, pfn + n):
        t.maps[i] += 1
        if t.owner[i] == 0:
            t.owner[i] = mm.id
        elif t.owner[i] != mm.id:
            t.page[i] |= PAGE_SHARED
        t.page[i] |= bits


cdef bint one_entry(const machine_t *m, const uint64_t *pte, uint32_t n) noexcept nogil:
    """Could one TLB entry hold n PTEs: frames aligned and in a row, like rights?"""
    cdef uint64_t expected = pte_batch_key_write(m, pte[0]), step = pte_step(m, pte[0])
    cdef uint32_t i
    if not pte_hw_present(m, pte[0]) or pte_special(m, pte[0]) or pte_pfn(m, pte[0]) & (n - 1):
        return False
    for i in range(1, n):
        expected += step
        if pte_batch_key_write(m, pte[i]) != expected:
            return False
    return True


cdef int64_t tlb_of_table(const machine_t *m, const uint64_t *pte, uint32_t group, bint cont) noexcept nogil:
    """Entries of a TLB that can hold `group` PTEs in one; cont: those that say so themselves."""
    cdef int64_t n = 0
    cdef uint32_t i = 0, k
    while i < FS_PTRS_PER_PTE:
        if pte_valid_cont(pte[i]) if cont else group > 1 and one_entry(m, pte + i, group):
            n += 1
        else:
            for k in range(i, i + group):
                n += pte_hw_present(m, pte[k])
        i += group
    return n


cdef void see_table(truth_t *t, const mm_t *mm, vma_t **vma, const uint64_t *pte, uint64_t addr) noexcept nogil:
    cdef uint32_t i, pfn
    cdef uint64_t at
    for i in range(FS_PTRS_PER_PTE):
        if not pte[i] or not pte_present(t.m, pte[i]) or pte_special(t.m, pte[i]):
            continue
        at = addr + (<uint64_t>i << FS_PAGE_SHIFT)
        while vma[0] != NULL and vma[0].end <= at:
            vma[0] = vma[0].next
        pfn = pte_pfn(t.m, pte[i])
        if pfn >= t.nr or pfn == t.m.zero_pfn:
            continue
        t.mapped += 1
        see_pages(t, mm, pfn, 1, vma[0] != NULL and (vma[0].flags & VM_LOCKED) != 0)
    t.tlb[<int>TLB_PLAIN] += tlb_of_table(t.m, pte, 1, False)
    t.tlb[<int>TLB_COALESCE4] += tlb_of_table(t.m, pte, COALESCED, False)
    if FS_CONT_PTES > 1:
        t.tlb[<int>TLB_CONTPTE] += tlb_of_table(t.m, pte, FS_CONT_PTES, True)
    else:
        t.tlb[<int>TLB_CONTPTE] += tlb_of_table(t.m, pte, CONT_PTES, False)


cdef void see_leaf(truth_t *t, const mm_t *mm, vma_t **vma, uint64_t e, uint64_t addr) noexcept nogil:
    cdef uint32_t head = pte_pfn(t.m, e)
    cdef int model
    if pte_hw_present(t.m, e):
        for model in range(NR_TLBS):
            t.tlb[model] += 1
    if pte_special(t.m, e):
        return
    while vma[0] != NULL and vma[0].end <= addr:
        vma[0] = vma[0].next
    t.mapped += FS_HPAGE_PMD_NR
    if page_of(t.m, head).flags & PG_anon:
        t.anon_huge += FS_HPAGE_PMD_NR
    see_pages(t, mm, head, FS_HPAGE_PMD_NR, vma[0] != NULL and (vma[0].flags & VM_LOCKED) != 0)


cdef void see_pmds(truth_t *t, const mm_t *mm, vma_t **vma, uint32_t table, uint64_t addr) noexcept nogil:
    cdef const uint64_t *pmd = table_of(t.m, table)
    cdef uint64_t i
    cdef uint32_t pfn = page_of(t.m, table).prev
    while pfn != FS_NO_PFN:
        t.deposited += 1
        pfn = page_of(t.m, pfn).next
    for i in range(FS_PTRS_PER_PTE):
        if not pmd[i]:
            continue
        if pmd_leaf(t.m, pmd[i]):
            see_leaf(t, mm, vma, pmd[i], addr + (i << FS_PMD_SHIFT))
        else:
            see_table(t, mm, vma, table_of(t.m, table_pfn(t.m, pmd[i])), addr + (i << FS_PMD_SHIFT))


cdef void see_upper(truth_t *t, const mm_t *mm, vma_t **vma, uint32_t table, uint64_t addr, int level) noexcept nogil:
    """A table of the level, and those below it."""
    cdef const uint64_t *entry = table_of(t.m, table)
    cdef uint64_t i
    if level == 1:
        see_pmds(t, mm, vma, table, addr)
        return
    for i in range(FS_PTRS_PER_PTE):
        if entry[i] and pmd_leaf(t.m, entry[i]):
            see_leaf(t, mm, vma, entry[i], 0)
        elif entry[i]:
            see_upper(t, mm, vma, table_pfn(t.m, entry[i]), addr + (i << level_shift(level)), level - 1)


cdef void see_mm(truth_t *t, const mm_t *mm) noexcept nogil:
    cdef vma_t *vma = find_vma(<mm_t *>mm, 0)
    see_upper(t, mm, &vma, mm.pgd, 0, t.m.top_level)


# ---- folios ----

cdef int64_t reported_anon(page_t *folio) noexcept nogil:
    """Pages of the folio that NR_ANON_MAPPED counts."""
    if not folio_test_large(folio):
        return folio.mapcount > 0
    if folio_order(folio) < 2:
        return folio_nr_pages(folio) if folio_mapped(folio) else 0
    if folio_entire_mapcount(folio):
        return folio_nr_pages(folio)
    return folio_tail2(folio).nr_pages_mapped


cdef void see_page(truth_t *t, page_t *folio, uint32_t pfn) noexcept nogil:
    """A page as one of its folio."""
    cdef uint8_t page = t.page[pfn]
    cdef bint anon = (folio.flags & PG_anon) != 0
    if page & PAGE_MAPPED:
        t.distinct += 1
        t.anon += anon
        t.own += not page & PAGE_SHARED
        if t.m.age.stamp != NULL and (folio.flags & (PG_lru | PG_active)) == PG_lru | PG_active:
            t.cold_active += not age_hot(t.m, pfn)
        if anon and folio_test_large(folio):
            t.bloat += content_is_zero(t.m, pfn)
    elif anon and folio_test_large(folio):
        t.stranded += not page & (PAGE_PINNED | PAGE_HELD)
    if page & PAGE_LOCKED:
        t.locked += 1
        t.undershoot += (folio.flags & (PG_lru | PG_unevictable)) == PG_lru
    elif folio.flags & PG_unevictable:
        t.overshoot += 1


cdef void see_folio(truth_t *t, uint32_t head, page_t *folio) noexcept nogil:
    cdef uint32_t nr = folio_nr_pages(folio), i, pins = 0
    for i in range(head, head + nr):
        see_page(t, folio, i)
        pins += (t.page[i] & PAGE_PINNED) != 0
    t.pinned += pins
    if pins:
        t.pin_overshoot += nr - pins
    if folio.flags & PG_mlocked:
        t.mlocked += nr
    if folio.flags & PG_anon:
        t.anon_reported += reported_anon(folio)
    if folio.flags & PG_deferred:
        t.deferred_pages += nr


cdef void truth_count(truth_t *t) noexcept nogil:
    cdef mm_t *mm = t.m.mm_first
    cdef uint64_t pfn = 0
    cdef page_t *page
    mark_held(t, t.m.held)
    while mm != NULL:
        see_mm(t, mm)
        mm = mm.next
    while pfn < t.nr:
        page = page_of(t.m, <uint32_t>pfn)
        if page_kind(page) == PG_KIND_HEAD and page.refcount > 0:
            see_folio(t, <uint32_t>pfn, page)
        pfn += 1ULL << page_order(page) if page_kind(page) in (PG_KIND_HEAD, PG_KIND_BUDDY) else 1
