# cython: language_level=3
"""P10, P11: large folios of which pages are about to be referenced or pinned.  Linux leaves them as they are."""
from libc.errno cimport EAGAIN
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.policy cimport *
from foliosim._core.copy_pages cimport copy_out
from foliosim._core.maple_tree cimport maple_find
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.split_folio cimport split_folio


cdef void count_pins(page_t *folio, bint per_page, uint32_t flags) noexcept nogil:
    """Pins are known by page if all pins of the folio are."""
    cdef tail3_t *three = folio_tail3(folio)
    if folio_order(folio) < 2 or not flags & FOLL_PIN:
        return
    if not per_page:
        three.marks &= ~<uint32_t>TAIL3_PIN_PER_PAGE
    elif folio_tail2(folio).pincount == 0:
        three.marks |= TAIL3_PIN_PER_PAGE


cdef int pin_part(machine_t *m, mm_t *mm, uint64_t addr, uint32_t pfn, uint32_t n, uint32_t flags) noexcept nogil:
    """n pages of one large folio from pfn on, mapped at addr."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef int answer = ask_pin(m, folio_order(folio), n, flags & FOLL_LONGTERM)
    cdef vma_t *vma
    count_pins(folio, answer == PIN_PER_PAGE, flags)
    if answer == PIN_NO_SPLIT or answer == PIN_PER_PAGE:
        return 0
    lru_add_drain(m)
    if answer == PIN_MOVE_OUT:
        vma = maple_find(&mm.vmas, addr)
        if vma != NULL and vma.start <= addr:
            copy_out(m, vma, head_of(m, pfn), addr, addr + (<uint64_t>n << FS_PAGE_SHIFT))
        return 0
    if split_folio(m, pfn, SPLIT_PIN) < 0 and answer == PIN_SPLIT:
        return -EAGAIN
    return 0


cdef uint32_t pages_at(machine_t *m, uint64_t *pmd, uint64_t addr, uint64_t end, uint32_t *pfn) noexcept nogil:
    """Pages that one anonymous large folio may have in [addr, end), or 0; `*pfn`: the first one."""
    cdef bint leaf = pmd_leaf(m, pmd[0])
    cdef uint64_t entry = pmd[0] if leaf else pte_offset(m, pmd[0], addr)[0]
    cdef uint64_t *pte
    cdef uint32_t left = <uint32_t>((pmd_addr_end(addr, end) - addr) >> FS_PAGE_SHIFT), n = 1, head
    if not entry or not pte_present(m, entry) or pte_special(m, entry):
        return 0
    pfn[0] = pte_pfn(m, entry) + (pte_index(addr) if leaf else 0)
    head = head_of(m, pfn[0])
    if not folio_test_large(page_of(m, head)) or not page_of(m, head).flags & PG_anon:
        return 0
    if leaf:
        return left
    pte = pte_offset(m, pmd[0], addr)
    while n < left and pte[n] and pte_present(m, pte[n]) and pte_pfn(m, pte[n]) == pfn[0] + n:
        if head_of(m, pfn[0] + n) != head:
            break
        n += 1
    return n


cdef int pin_policy(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags) noexcept nogil:
    cdef uint64_t end = addr + (<uint64_t>nr << FS_PAGE_SHIFT)
    cdef uint64_t *pmd
    cdef uint32_t pfn = 0, n
    cdef int result
    while addr < end:
        pmd = pmd_offset(m, mm, addr)
        if pmd == NULL or not pmd[0]:
            addr = next_pmd_addr(m, mm, addr, end) if pmd == NULL else pmd_addr_end(addr, end)
            continue
        n = pages_at(m, pmd, addr, end, &pfn)
        if n:
            result = pin_part(m, mm, addr, pfn, n, flags)
            if result < 0:
                return result
        addr += FS_PAGE_SIZE * (n if n else 1)
    return 0
