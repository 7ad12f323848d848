# cython: language_level=3
"""Accessed bits through the reverse map.  Follows folio_referenced_one in mm/rmap.c."""
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.mlock cimport mlock_folio
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport rmap_next, vma_address, vma_clip, vma_reaches

cdef struct look_t:
    uint32_t head
    page_t *folio
    uint64_t index           # of the folio in its mapping
    uint32_t nr
    bint clear
    uint32_t locked          # pages that the present VMA maps and locks
    int64_t upper            # pages of the upper half that were used


cdef inline bint look_at_pte(machine_t *m, const look_t *look, uint64_t *pte) noexcept nogil:
    """Was it used?"""
    cdef bint young = pte_young(m, ptep_get(m, pte))
    if young and look.clear:
        ptep_clear_young(m, pte)
    return young


cdef inline bint look_at_pmd(machine_t *m, const look_t *look, uint64_t *pmd) noexcept nogil:
    cdef bint young = pte_young(m, pmd[0])
    if young and look.clear:
        store_entry(m, pmd, pte_mkold(m, pmd[0]))
    return young


cdef bint found_locked(machine_t *m, look_t *look, uint32_t nr, bint pmd, referenced_t *found) noexcept nogil:
    """A locked VMA maps nr pages; True once it maps the folio whole, which is mlocked then."""
    look.locked += nr
    found.locked += nr
    if look.locked != look.nr:
        return False
    if ask_mlock_rule(m, MLOCK_AT_RECLAIM, look.folio, look.nr, pmd, True) != MLOCK_YES:
        return False
    mlock_folio(m, look.head)
    found.vm_flags |= VM_LOCKED
    return True


cdef bint look_in_table(machine_t *m, const vma_t *vma, uint64_t *pte, look_t *look, uint64_t pgoff, uint32_t n,
                        referenced_t *found, bint *young) noexcept nogil:
    """n entries of one table, the first at pgoff; True: the folio is mlocked, stop.  Contiguous entries are asked, and
    cleared, as one."""
    cdef uint32_t i, asked = 0
    cdef bint used = False
    for i in range(n):
        if not pte_present(m, pte[i]) or pte_pfn(m, pte[i]) != look.head + <uint32_t>(pgoff + i - look.index):
            continue
        found.mapped += 1
        if vma.flags & VM_LOCKED:
            if found_locked(m, look, 1, False, found):
                return True
            continue
        if i >= asked:
            asked = i + pte_batch_hint(pte + i, pte[i])
            used = look_at_pte(m, look, pte + i)
        elif look.clear:
            used = False
        if used:
            found.young += 1
            look.upper += pgoff + i - look.index >= look.nr / 2
            young[0] = True
    return False


cdef bint look_in_vma(machine_t *m, const vma_t *vma, look_t *look, referenced_t *found) noexcept nogil:
    """True: the folio is mlocked, stop."""
    cdef uint64_t pgoff, last, addr, left
    cdef uint64_t *pmd
    cdef bint young = False
    look.locked = 0
    vma_clip(vma, look.index, look.nr, &pgoff, &last)
    while pgoff < last:
        addr = vma_address(vma, pgoff)
        left = (pmd_addr_end(addr, vma.end) - addr) >> FS_PAGE_SHIFT
        if left > last - pgoff:
            left = last - pgoff
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd != NULL and pmd_leaf(m, pmd[0]) and pte_pfn(m, pmd[0]) == look.head:
            found.mapped += look.nr
            if vma.flags & VM_LOCKED:
                if found_locked(m, look, look.nr, True, found):
                    return True
            elif look_at_pmd(m, look, pmd):
                found.young += look.nr
                look.upper += look.nr / 2
                young = True
        elif pmd != NULL and pmd_table(m, pmd[0]):
            if left < look.nr:
                look.locked = 0
            if look_in_table(m, vma, pte_offset(m, pmd[0], addr), look, pgoff, <uint32_t>left, found, &young):
                return True
        pgoff += left
    if young:
        found.vmas += 1
        found.vm_flags |= vma.flags & ~VM_LOCKED
    return False


cdef void look_everywhere(machine_t *m, uint32_t head, bint clear, referenced_t *found, look_t *look) noexcept nogil:
    cdef avc_t *avc
    cdef vma_t *vma
    found.vmas = 0
    found.young = found.mapped = found.locked = 0
    found.vm_flags = 0
    look.head = head
    look.folio = page_of(m, head)
    look.index = folio_index(look.folio)
    look.nr = folio_nr_pages(look.folio)
    look.clear = clear
    look.upper = 0
    if not folio_mapped(look.folio):
        return
    if look.folio.flags & PG_anon:
        avc = rmap_next(m, look.folio, NULL)
        while avc != NULL and not look_in_vma(m, avc.vma, look, found):
            avc = rmap_next(m, look.folio, avc)
        return
    vma = (<mapping_t *>m.mappings[folio_mapping_id(look.folio)]).i_mmap
    while vma != NULL:
        if vma_reaches(vma, look.index, look.nr) and look_in_vma(m, vma, look, found):
            return
        vma = vma.i_mmap_next


cdef void folio_referenced(machine_t *m, uint32_t head, bint clear, referenced_t *found) noexcept nogil:
    cdef look_t look
    look_everywhere(m, head, clear, found, &look)


cdef bint accessed_half(machine_t *m, uint32_t head, referenced_t *found) noexcept nogil:
    cdef look_t look
    look_everywhere(m, head, True, found, &look)
    return look.upper == 0 or look.upper == found.young
