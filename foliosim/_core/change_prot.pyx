# cython: language_level=3
"""Protection bits of existing entries.  Follows change_pte_range (mm/mprotect.c) and change_huge_pmd."""
from libc.stdint cimport int64_t, uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.huge_memory cimport split_huge_pmd
from foliosim._core.mapping cimport vma_is_device
from foliosim._core.page_run cimport *
from foliosim._core.pfnmap cimport change_device_range
from foliosim._core.stat cimport count_op
from foliosim._core.zap cimport folio_pte_batch_write


cdef bint maybe_change_writable(machine_t *m, const vma_t *vma, uint64_t entry) noexcept nogil:
    """Follows maybe_change_pte_writable, and can_change_shared_pte_writable: what VMA and entry say."""
    if not vma.flags & VM_WRITE or pte_protnone(m, entry):
        return False
    if m.soft_dirty and not vma.flags & VM_SOFTDIRTY and not pte_soft_dirty(m, entry):
        return False
    return not vma.flags & VM_SHARED or pte_dirty(m, entry)


cdef inline bint page_writable(machine_t *m, const vma_t *vma, uint32_t pfn) noexcept nogil:
    """Private memory: only pages that are the process's own (PG_anon_exclusive) may be written."""
    return (vma.flags & VM_SHARED) != 0 or page_anon_exclusive(m, pfn)


cdef bint can_change_writable(machine_t *m, const vma_t *vma, uint64_t entry, uint32_t pfn, bint normal) noexcept nogil:
    """Follows can_change_pte_writable and can_change_pmd_writable."""
    if not maybe_change_writable(m, vma, entry):
        return False
    return (vma.flags & VM_SHARED) != 0 or (normal and page_writable(m, vma, pfn))


cdef uint32_t unfolded_run(machine_t *m, const uint64_t *pte, uint64_t bits, uint32_t left) noexcept nogil:
    """The same where entries of large folios may have to be folded: those of small folios only."""
    cdef uint32_t n = 0
    while n < left and pte_bits(m, pte[n]) == bits and not folio_test_large(folio_of(m, pte_pfn(m, pte[n]))):
        n += 1
    return n


cdef uint32_t equal_run(machine_t *m, const uint64_t *pte, uint32_t left) noexcept nogil:
    """Present entries that differ in their address only, and that no folio continues: nothing can spread among them."""
    cdef uint32_t n, head
    if pte_special(m, pte[0]):
        return 1
    if FS_CONT_PTES > 1:
        return unfolded_run(m, pte, pte_bits(m, pte[0]), left)
    n = same_bits(m, pte, left)
    if n < left and pte[n] and pte_present(m, pte[n]) and not pte_special(m, pte[n]):
        head = head_of(m, pte_pfn(m, pte[n]))
        while n and head_of(m, pte_pfn(m, pte[n - 1])) == head:
            n -= 1
    return n


cdef uint32_t allow_folio(machine_t *m, uint64_t *pte, uint32_t n, uint64_t writable) noexcept nogil:
    """The entries from the first on that map pages of one folio in a row: how many of n."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), i
    cdef page_t *folio = folio_of(m, pfn)
    n = folio_pte_batch_write(m, pte, pfn, n)
    if folio.flags & PG_tails_implicit and not folio.flags & PG_anon_exclusive:
        return n
    for i in range(n):
        if page_record(m, folio, pfn + i).flags & PG_anon_exclusive:
            store_entry(m, pte + i, pte[i] ^ writable)
    return n


cdef uint32_t allow_small(machine_t *m, uint64_t *pte, uint32_t n, uint64_t writable) noexcept nogil:
    """The same for entries of single pages."""
    cdef uint32_t k, left
    cdef page_t *page = small_run(m, pte, n, &k)
    left = k
    while left and is_small(page):
        if page.flags & PG_anon_exclusive:
            store_entry(m, pte, pte[0] ^ writable)
        pte += 1
        page += 1
        left -= 1
    return k - left


cdef void allow_writes(machine_t *m, uint64_t *pte, uint32_t n, uint64_t writable) noexcept nogil:
    """Entries of private memory: those of pages that are the process's own get write permission."""
    cdef uint32_t i = 0, k
    while i < n:
        k = allow_small(m, pte + i, n - i, writable)
        if k == 0:
            k = allow_folio(m, pte + i, n - i, writable)
        i += k


cdef void change_run(machine_t *m, const vma_t *vma, uint64_t *pte, uint32_t n, bint try_write) noexcept nogil:
    """Entries of an equal_run: what changes in the first one changes in all, and once more with write permission."""
    cdef uint64_t new = pte_modify(m, pte[0], vma.page_prot), change = pte[0] ^ new, writable = 0
    cdef bint shared = (vma.flags & VM_SHARED) != 0
    cdef int64_t i
    if try_write and not pte_write(m, new) and not pte_special(m, pte[0]) and maybe_change_writable(m, vma, new):
        writable = new ^ pte_mkwrite(m, new)
        if shared:
            change ^= writable
    for i in range(n):
        store_entry(m, pte + i, pte[i] ^ change)
    if writable and not shared:
        allow_writes(m, pte, n, writable)


cdef uint32_t prot_batch(machine_t *m, const uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """Follows mprotect_folio_pte_batch: consecutive pages of one folio; accessed and dirty bits may differ."""
    if pte_special(m, pte[0]):
        return 1
    return folio_pte_batch_write(m, pte, pte_pfn(m, pte[0]), max_nr)


cdef uint32_t exclusive_run(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    """Follows page_anon_exclusive_sub_batch: how many of n pages are like the first, the process's own or not."""
    cdef uint32_t first = page_of(m, pfn).flags & PG_anon_exclusive, i = 1
    if folio_of(m, pfn).flags & PG_tails_implicit:
        return n
    while i < n and page_of(m, pfn + i).flags & PG_anon_exclusive == first:
        i += 1
    return i


cdef uint32_t change_batch(machine_t *m, const vma_t *vma, uint64_t *pte, uint32_t max_nr,
                           bint try_write) noexcept nogil:
    """One batch: all its entries become accessed, or dirty, if one was; each gets write if its page allows it."""
    cdef uint32_t n = prot_batch(m, pte, max_nr), i = 0, k = n, pfn = pte_pfn(m, pte[0])
    cdef uint64_t old = get_and_clear_ptes(m, pte, n), new = pte_modify(m, old, vma.page_prot), entry
    cdef bint normal = not pte_special(m, old)
    try_write = try_write and not pte_write(m, new) and maybe_change_writable(m, vma, new)
    while i < n:
        entry = new + i * pte_step(m, new)
        if try_write and normal and not vma.flags & VM_SHARED:
            k = exclusive_run(m, pfn + i, n - i)
        if try_write and can_change_writable(m, vma, entry, pfn + i, normal):
            entry = pte_mkwrite(m, entry)
        set_ptes(m, pte + i, entry, k)
        i += k
    return n


cdef uint32_t change_huge_pmds(machine_t *m, const vma_t *vma, uint64_t *pmd, uint32_t n,
                               bint try_write) noexcept nogil:
    """Follows change_huge_pmd for leaves in a row that differ in their address only; how many of n."""
    cdef uint64_t bits = pmd_bits(m, pmd[0]), new = pmd_modify(m, pmd[0], vma.page_prot), entry
    cdef uint64_t change = pmd[0] ^ new, writable = 0
    cdef bint shared = (vma.flags & VM_SHARED) != 0
    cdef uint32_t i = 0
    if try_write and not pte_write(m, new) and maybe_change_writable(m, vma, new):
        writable = new ^ pte_mkwrite(m, new)
    while i < n and pmd_bits(m, pmd[i]) == bits:
        entry = pmd[i] ^ change
        if writable and (shared or page_of(m, pte_pfn(m, entry)).flags & PG_anon_exclusive):
            entry ^= writable
        store_entry(m, pmd + i, entry)
        i += 1
    count_op(m, OP_PTE_SET, i)
    return i


cdef void change_pte_range(machine_t *m, const vma_t *vma, uint64_t *pmd, uint64_t addr, uint64_t end,
                           bint try_write) noexcept nogil:
    cdef uint64_t *pte = pte_offset(m, pmd[0], addr)
    cdef uint32_t left = <uint32_t>((end - addr) >> FS_PAGE_SHIFT), i = 0, n
    while i < left:
        n = 1
        if pte[i] and pte_present(m, pte[i]):
            n = equal_run(m, pte + i, left - i)
            if n:
                change_run(m, vma, pte + i, n, try_write)
            else:
                n = change_batch(m, vma, pte + i, left - i, try_write)
            count_op(m, OP_PTE_SET, n)
        i += n


cdef void change_protection(machine_t *m, vma_t *vma, uint64_t start, uint64_t end,
                            bint try_change_writable) noexcept nogil:
    cdef uint64_t addr = start, next
    cdef uint64_t *pmd = NULL
    cdef uint32_t n
    cdef int64_t entries = m.ledger.ops[<int>OP_PTE_SET]
    if vma_is_device(vma):
        change_device_range(m, vma, addr, end)
        addr = end
    while addr < end:
        pmd = next_pmd(m, vma.mm, pmd, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd[0] and pmd_leaf(m, pmd[0]):
            if next - addr == FS_PMD_SIZE:
                n = change_huge_pmds(m, vma, pmd, pmds_from(addr, end), try_change_writable)
                pmd += n - 1
                addr += n * FS_PMD_SIZE
                continue
            split_huge_pmd(m, vma, pmd, addr)
        if pmd[0]:
            change_pte_range(m, vma, pmd, addr, next, try_change_writable)
        addr = next
    if m.ledger.ops[<int>OP_PTE_SET] != entries:
        count_op(m, OP_TLB_FLUSH, 1)
