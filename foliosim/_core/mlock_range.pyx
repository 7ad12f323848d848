# cython: language_level=3
"""mlock and munlock of memory that is already mapped.  Follows mlock_pte_range in mm/mlock.c."""
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.copy_pages cimport copy_out
from foliosim._core.mlock cimport *
from foliosim._core.page_run cimport *
from foliosim._core.policy cimport *
from foliosim._core.rmap cimport vma_address
from foliosim._core.split_folio cimport split_folio
from foliosim._core.zap cimport folio_pte_batch


cdef bint folio_within_range(const page_t *folio, const vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Does the whole folio lie in [start, end) of the VMA?  Follows folio_within_range (mm/internal.h)."""
    cdef uint64_t index = folio_index(folio), addr
    if index < vma.pgoff or index >= vma.pgoff + ((vma.end - vma.start) >> FS_PAGE_SHIFT):
        return False
    addr = vma_address(vma, index)
    return addr >= start and addr < end and end - addr >= (<uint64_t>folio_nr_pages(folio) << FS_PAGE_SHIFT)


cdef void lock_or_unlock(machine_t *m, const vma_t *vma, uint32_t head) noexcept nogil:
    if vma.flags & VM_LOCKED:
        mlock_folio(m, head)
    else:
        munlock_folio(m, head)


cdef bint split_for_mlock(machine_t *m, uint32_t pfn) noexcept nogil:
    """P02 said split: try to; the pieces are looked at again."""
    lru_add_drain(m)
    return split_folio(m, pfn, SPLIT_VMA) == 0


cdef int allow_mlock_munlock(machine_t *m, const vma_t *vma, page_t *folio, uint32_t n, uint64_t start,
                             uint64_t end) noexcept nogil:
    """Follows allow_mlock_munlock, P02: n entries of the folio are met in [start, end).  Linux unlocks all it meets."""
    cdef bint lock = (vma.flags & VM_LOCKED) != 0
    if not lock and policy_is_linux(m, POINT_MLOCK_RULE):
        return MLOCK_YES
    return ask_mlock_rule(m, MLOCK_AT_SYSCALL if lock else MLOCK_AT_MUNLOCK, folio, n, False,
                          folio_within_range(folio, vma, start, end))


cdef uint32_t mlock_batch(machine_t *m, vma_t *vma, const uint64_t *pte, uint64_t addr, uint64_t start,
                          uint64_t end) noexcept nogil:
    """The folio mapped at addr; how many entries were dealt with, 0: look again."""
    cdef uint32_t pfn = pte_pfn(m, pte[0]), head, n
    cdef page_t *folio
    cdef int answer
    if pte_special(m, pte[0]):
        return 1
    n = folio_pte_batch(m, pte, pfn, <uint32_t>((end - addr) >> FS_PAGE_SHIFT))
    head = head_of(m, pfn)
    folio = page_of(m, head)
    answer = allow_mlock_munlock(m, vma, folio, n, start, end)
    if answer == MLOCK_SPLIT and folio.flags & PG_anon and split_for_mlock(m, pfn):
        return 0
    if answer == MLOCK_COPY_OUT and n < folio_nr_pages(folio):
        if copy_out(m, vma, head, addr, addr + (<uint64_t>n << FS_PAGE_SHIFT)):
            return 0
    elif answer == MLOCK_YES or answer == MLOCK_COPY_OUT:
        lock_or_unlock(m, vma, head)
    return n


cdef uint32_t mlock_small(machine_t *m, const vma_t *vma, const uint64_t *pte, uint32_t max_nr) noexcept nogil:
    """Single pages that all change in the same way; how many, 0: none."""
    cdef bint lock = (vma.flags & VM_LOCKED) != 0
    cdef uint32_t n, left, head = pte_pfn(m, pte[0])
    cdef page_t *page = small_run(m, pte, max_nr, &n)
    cdef mlock_chain_t chain
    if page == NULL or not is_small(page) or not mlock_chain_begin(&chain, head, page, lock):
        return 0
    left = n
    while left and (chain_lock(&chain, head, page) if lock else chain_unlock(&chain, head, page)):
        head += 1
        page += 1
        left -= 1
    mlock_chain_end(m, chain)
    return n - left


cdef uint32_t mlock_huge(machine_t *m, const vma_t *vma, const uint64_t *pmd, uint32_t max_nr) noexcept nogil:
    """Huge folios mapped by leaves in a row; how many, 0: none."""
    cdef bint lock = (vma.flags & VM_LOCKED) != 0
    cdef uint32_t n = 0, head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    cdef mlock_chain_t chain
    if not mlock_chain_begin(&chain, head, folio, lock):
        return 0
    while chain_lock(&chain, head, folio) if lock else chain_unlock(&chain, head, folio):
        n += 1
        if n == max_nr or not pmd_leaf(m, pmd[n]):
            break
        head = pte_pfn(m, pmd[n])
        folio = page_of(m, head)
    mlock_chain_end(m, chain)
    return n


cdef bint mlock_pmd(machine_t *m, vma_t *vma, uint64_t *pmd) noexcept nogil:
    """A PMD leaf; False: it was split, go on with its PTEs."""
    cdef uint32_t head = pte_pfn(m, pmd[0])
    cdef page_t *folio = page_of(m, head)
    cdef int answer
    if head == m.huge_zero_pfn:
        return True
    answer = ask_pmd(m, vma, folio)
    if answer == MLOCK_SPLIT and folio.flags & PG_anon and split_for_mlock(m, head):
        return False
    if answer == MLOCK_YES or answer == MLOCK_COPY_OUT:
        lock_or_unlock(m, vma, head)
    return True


cdef int ask_pmd(machine_t *m, const vma_t *vma, page_t *folio) noexcept nogil:
    cdef int event = MLOCK_AT_SYSCALL if vma.flags & VM_LOCKED else MLOCK_AT_MUNLOCK
    return ask_mlock_rule(m, event, folio, folio_nr_pages(folio), True, True)


cdef uint32_t mlock_pmds(machine_t *m, const vma_t *vma, const uint64_t *pmd, uint32_t max_nr) noexcept nogil:
    """PMD leaves in a row that Linux locks, or unlocks, all in the same way; how many."""
    if not policy_is_linux(m, POINT_MLOCK_RULE) or pte_pfn(m, pmd[0]) == m.huge_zero_pfn:
        return 0
    if ask_pmd(m, vma, page_of(m, pte_pfn(m, pmd[0]))) != MLOCK_YES:
        return 0
    return mlock_huge(m, vma, pmd, max_nr)


cdef void mlock_pte_range(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t addr = start
    cdef uint64_t *pte
    cdef uint32_t n
    if pmd_leaf(m, pmd[0]) and mlock_pmd(m, vma, pmd):
        return
    while addr < end:
        pte = pte_offset(m, pmd[0], addr)
        n = 1
        if pte[0] and pte_present(m, pte[0]):
            n = mlock_small(m, vma, pte, <uint32_t>((end - addr) >> FS_PAGE_SHIFT))
            if n == 0:
                n = mlock_batch(m, vma, pte, addr, start, end)
        addr += <uint64_t>n << FS_PAGE_SHIFT


cdef void mlock_vma_pages_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end,
                                uint64_t newflags) noexcept nogil:
    """VM_IO is set meanwhile, so that mappings made during the walk do not lock a folio a second time."""
    cdef uint64_t addr = start, next
    cdef uint64_t *pmd = NULL
    cdef uint32_t n
    vma.flags = newflags | (VM_IO if newflags & VM_LOCKED else 0)
    lru_add_drain(m)
    while addr < end:
        pmd = next_pmd(m, vma.mm, pmd, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd[0] and pmd_leaf(m, pmd[0]):
            n = mlock_pmds(m, vma, pmd, pmds_from(addr, end))
            if n:
                pmd += n - 1
                addr += n * FS_PMD_SIZE
                continue
        if pmd[0]:
            mlock_pte_range(m, vma, pmd, addr, next)
        addr = next
    lru_add_drain(m)
    vma.flags = newflags
