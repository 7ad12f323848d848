# cython: language_level=3
"""Protection bits of existing entries.  Follows change_pte_range (mm/mprotect.c) and change_huge_pmd."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.huge_memory cimport split_huge_pmd


cdef bint can_change_writable(machine_t *m, const vma_t *vma, uint64_t entry, uint32_t pfn, bint normal) noexcept nogil:
    """Follows can_change_pte_writable and can_change_pmd_writable."""
    if not vma.flags & VM_WRITE or pte_protnone(m, entry):
        return False
    if m.soft_dirty and not vma.flags & VM_SOFTDIRTY and not pte_soft_dirty(m, entry):
        return False
    if vma.flags & VM_SHARED:
        return pte_dirty(m, entry)
    return normal and (folio_of(m, pfn).flags & PG_anon) != 0 and (page_of(m, pfn).flags & PG_anon_exclusive) != 0


cdef uint32_t prot_batch(machine_t *m, const uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """Follows mprotect_folio_pte_batch: consecutive pages of one folio; accessed and dirty bits may differ."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), head, left, n = 1
    cdef uint64_t expected, step
    cdef page_t *folio
    if pte_special(m, pte[0]):
        return 1
    folio = folio_of(m, pfn)
    if not folio_test_large(folio):
        return 1
    head = head_of(m, pfn)
    left = head + folio_nr_pages(folio) - pfn
    if left < max_nr:
        max_nr = left
    step = 0 - pte_advance(m) if pte_protnone(m, pte[0]) else pte_advance(m)
    expected = pte_batch_key_write(m, pte[0]) + step
    while n < max_nr and pte_batch_key_write(m, pte[n]) == expected:
        expected += step
        n += 1
    return n


cdef uint32_t change_batch(machine_t *m, const vma_t *vma, uint64_t *pte, uint32_t max_nr, bint try_write) noexcept nogil:
    """One batch: all its entries become accessed, or dirty, if one was; each gets write if its page allows it."""
    cdef uint64_t old = pte[0], new, entry, step = pte_advance(m)
    cdef uint32_t n = prot_batch(m, pte, max_nr), i, pfn = pte_pfn(m, old)
    cdef bint normal = not pte_special(m, old)
    for i in range(1, n):
        if pte_dirty(m, pte[i]):
            old = pte_mkdirty(m, old)
        if pte_young(m, pte[i]):
            old = pte_mkyoung(m, old)
    new = pte_modify(m, old, vma.page_prot)
    if pte_protnone(m, new):
        step = 0 - step
    for i in range(n):
        entry = new + i * step
        if try_write and not pte_write(m, entry) and can_change_writable(m, vma, entry, pfn + i, normal):
            entry = pte_mkwrite(m, entry)
        pte[i] = entry
    return n


cdef void change_huge_pmd(machine_t *m, const vma_t *vma, uint64_t *pmd, bint try_write) noexcept nogil:
    cdef uint64_t entry = pmd_modify(m, pmd[0], vma.page_prot)
    cdef uint32_t head = pte_pfn(m, pmd[0])
    if try_write and not pte_write(m, entry) and can_change_writable(m, vma, entry, head, head != m.huge_zero_pfn):
        entry = pte_mkwrite(m, entry)
    pmd[0] = entry


cdef void change_pte_range(machine_t *m, const vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t end,
                           bint try_write) noexcept nogil:
    cdef uint64_t *pte = pte_offset(m, pmd[0], addr)
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0
    while i < left:
        if pte[i] and pte_present(m, pte[i]):
            i += change_batch(m, vma, pte + i, left - i, try_write)
        else:
            i += 1


cdef void change_protection(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, bint try_change_writable) noexcept nogil:
    cdef uint64_t addr = start, next
    cdef uint64_t *pmd
    while addr < end:
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd[0] and pmd_leaf(m, pmd[0]):
            if next - addr == FS_PMD_SIZE:
                change_huge_pmd(m, vma, pmd, try_change_writable)
                addr = next
                continue
            split_huge_pmd(m, vma, pmd, addr)
        if pmd[0]:
            change_pte_range(m, vma, pmd, addr, next, try_change_writable)
        addr = next
