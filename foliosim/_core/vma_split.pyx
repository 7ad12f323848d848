# cython: language_level=3
"""Large folios that an edge of a VMA comes to cut: what the policies P01 and P05 make of them.

Linux splits the PMD (vma_adjust_trans_huge) and leaves the folio whole.
"""
from libc.errno cimport EAGAIN
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.policy cimport *
from foliosim._core.copy_pages cimport copy_out
from foliosim._core.deferred_split cimport deferred_split_folio
from foliosim._core.huge_memory cimport copy_huge_pmd_leaf
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.rmap cimport vma_address, vma_reaches
from foliosim._core.split_folio cimport folio_split, split_folio, split_folio_held
from foliosim._core.swap cimport folio_put


cdef enum:
    MAX_RETRIES = 100        # "retry" without a number: nothing else happens meanwhile, so that it has to end


cdef uint32_t folio_across(machine_t *m, const vma_t *vma, uint64_t addr, bint *pmd_mapped) noexcept nogil:
    """The page at addr if it belongs to an anonymous folio and is not its first; else FS_NO_PFN."""
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    cdef uint64_t entry
    cdef uint32_t pfn
    pmd_mapped[0] = False
    if pmd == NULL or not pmd[0]:
        return FS_NO_PFN
    pmd_mapped[0] = pmd_leaf(m, pmd[0])
    entry = pmd[0] if pmd_mapped[0] else pte_offset(m, pmd[0], addr)[0]
    if not entry or not pte_present(m, entry) or pte_special(m, entry):
        return FS_NO_PFN
    pfn = pte_pfn(m, entry) + (pte_index(addr) if pmd_mapped[0] else 0)
    if pfn == head_of(m, pfn) or not folio_of(m, pfn).flags & PG_anon:
        return FS_NO_PFN
    return pfn


cdef void folio_span(machine_t *m, const vma_t *vma, uint64_t addr, uint32_t pfn, uint64_t *start,
                     uint64_t *end) noexcept nogil:
    """Where the VMA may map the folio, within the span of the PMD entry of addr."""
    cdef uint32_t head = head_of(m, pfn)
    cdef uint64_t low = addr & ~(FS_PMD_SIZE - 1), before = <uint64_t>(pfn - head) << FS_PAGE_SHIFT
    start[0] = addr - before if addr - before < addr else 0
    end[0] = addr - before + (<uint64_t>folio_nr_pages(page_of(m, head)) << FS_PAGE_SHIFT)
    start[0] = max(start[0], max(low, vma.start))
    end[0] = min(end[0], min(low + FS_PMD_SIZE, vma.end))


# ---- P01 ----

cdef int boundary_order(uint32_t page) noexcept nogil:
    """Largest order of a piece that starts at this page of its folio; anonymous folios of order 1 do not exist."""
    cdef int order = 0
    while not page & (1U << order):
        order += 1
    return 0 if order == 1 else order


cdef int split_at(machine_t *m, uint32_t pfn, bint nonuniform) noexcept nogil:
    """Split the folio that is cut before this page of it."""
    cdef uint32_t head = head_of(m, pfn)
    cdef int result
    lru_add_drain(m)
    page_of(m, head).refcount += 1
    if nonuniform:
        result = folio_split(m, head, boundary_order(pfn - head), pfn, SPLIT_VMA)
    else:
        result = split_folio_held(m, head, pfn, SPLIT_VMA)
    folio_put(m, head_of(m, pfn))
    return result


cdef void queue(machine_t *m, uint32_t head, bint recheck) noexcept nogil:
    cdef tail3_t *three = folio_tail3(page_of(m, head))
    if folio_order(page_of(m, head)) < 2:
        return
    deferred_split_folio(m, head, True)
    three.marks = three.marks & ~<uint32_t>TAIL3_RECHECK | (TAIL3_RECHECK if recheck else 0)


cdef void copy_part(machine_t *m, vma_t *vma, uint64_t addr, uint32_t pfn, bint above) noexcept nogil:
    """The changed part gets folios of its own; what a device may write to stays where it is."""
    cdef uint64_t start = 0, end = 0
    folio_span(m, vma, addr, pfn, &start, &end)
    if above:
        start = addr
    else:
        end = addr
    if not copy_out(m, vma, head_of(m, pfn), start, end):
        queue(m, head_of(m, pfn), False)


cdef int vma_split_policy(machine_t *m, vma_t *vma, uint64_t addr, bint above, bint going) noexcept nogil:
    cdef bint pmd_mapped = False
    cdef uint32_t pfn = folio_across(m, vma, addr, &pmd_mapped), head
    cdef page_t *folio
    cdef int answer, what, result, tries
    if pfn == FS_NO_PFN:
        return 0
    head = head_of(m, pfn)
    folio = page_of(m, head)
    answer = ask_vma_split(m, folio_order(folio), pfn - head, folio_maybe_mapped_shared(folio))
    what = answer & 0xff
    if what == VMA_SPLIT_KEEP:
        return 0
    if what == VMA_SPLIT_DEFER_ALWAYS or what == VMA_SPLIT_DEFER_RECHECK:
        queue(m, head, what == VMA_SPLIT_DEFER_RECHECK)
        return 0
    tries = 1 + (answer_number(answer) or MAX_RETRIES if what == VMA_SPLIT_RETRY else 0)
    result = split_at(m, pfn, what == VMA_SPLIT_NONUNIFORM)
    while result < 0 and tries > 1:
        result = split_at(m, pfn, False)
        tries -= 1
    if result < 0 and what == VMA_SPLIT_TRY_DEFER:
        queue(m, head, False)
    elif result < 0 and what == VMA_SPLIT_COPY_OUT and not going:
        copy_part(m, vma, addr, pfn, above)
    return -EAGAIN if result < 0 and what == VMA_SPLIT_FAIL else 0


cdef bint maps_any(machine_t *m, vma_t *vma, uint32_t head, uint64_t index) noexcept nogil:
    """Does the VMA map a page of the folio?"""
    cdef uint64_t first = max(index, vma.pgoff), addr
    cdef uint64_t last = min(index + folio_nr_pages(page_of(m, head)),
                             vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT))
    cdef uint64_t *pmd
    cdef uint64_t entry
    while first < last:
        addr = vma_address(vma, first)
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd != NULL and pmd[0]:
            entry = pmd[0] if pmd_leaf(m, pmd[0]) else pte_offset(m, pmd[0], addr)[0]
            if entry and pte_present(m, entry) and not pte_special(m, entry) and head_of(m, pte_pfn(m, entry)) == head:
                return True
        first += 1
    return False


cdef bint vma_split_recheck(machine_t *m, uint32_t head) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef uint64_t index = folio_index(folio)
    cdef uint32_t nr = folio_nr_pages(folio)
    cdef avc_t *avc
    cdef vma_t *vma
    if not folio_tail3(folio).marks & TAIL3_RECHECK:
        return False
    if folio_tail2(folio).nr_pages_mapped < <int32_t>nr:
        return False
    avc = (<anon_vma_t *>m.mappings[folio_mapping_id(folio)]).first
    while avc != NULL:
        vma = avc.vma
        if vma_reaches(vma, index, nr) and maps_any(m, vma, head, index):
            if index < vma.pgoff or index + nr > vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT):
                return False
        avc = avc.av_next
    folio_tail3(folio).marks &= ~<uint32_t>TAIL3_RECHECK
    return True


# ---- P05 ----

cdef void protect_part(machine_t *m, vma_t *vma, uint64_t edge, uint64_t start, uint64_t end) noexcept nogil:
    """The folio across an edge of the range, if others may map it too."""
    cdef bint pmd_mapped = False
    cdef uint32_t pfn = folio_across(m, vma, edge, &pmd_mapped), head
    cdef uint64_t low = 0, high = 0, first, last
    cdef int answer
    if pfn == FS_NO_PFN or not folio_maybe_mapped_shared(folio_of(m, pfn)):
        return
    head = head_of(m, pfn)
    folio_span(m, vma, edge, pfn, &low, &high)
    first = max(low, start)
    last = min(high, end)
    answer = ask_fork_child_mprotect(m, folio_order(page_of(m, head)), <int>((last - first) >> FS_PAGE_SHIFT),
                                     pmd_mapped)
    lru_add_drain(m)
    if answer == FORK_MPROTECT_SPLIT:
        split_folio(m, pfn, SPLIT_VMA)
    elif answer == FORK_MPROTECT_COW_PART:
        copy_out(m, vma, head, first, last)
    elif answer == FORK_MPROTECT_COW_WHOLE:
        if not pmd_mapped or not copy_huge_pmd_leaf(m, vma, pmd_offset(m, vma.mm, edge), edge & ~(FS_PMD_SIZE - 1), 0):
            copy_out(m, vma, head, low, high)


cdef void fork_child_mprotect_policy(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    if start > vma.start:
        protect_part(m, vma, start, start, end)
    if end < vma.end:
        protect_part(m, vma, end, start, end)
