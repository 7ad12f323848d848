# cython: language_level=3
"""References on user memory, and populating it.  Follows mm/gup.c."""
from libc.errno cimport EFAULT, EINTR, EINVAL, ENOMEM
from libc.stdint cimport int32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.stat cimport *
from foliosim._core.gup_fast cimport grab_folio, gup_fast, gup_must_unshare
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.maple_tree cimport maple_find
from foliosim._core.mapping cimport shmem_mapping
from foliosim._core.memory cimport anon_fault_orders, do_anonymous_run, handle_mm_fault
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.gup_policy cimport pin_policy
from foliosim._core.page_run cimport *
from foliosim._core.policy cimport policy_is_linux
from foliosim._core.swap cimport folio_mark_accessed

cdef extern from *:
    """
    /* ours: populate of a madvise call (other errnos) */
    #define FOLL_MADV_POPULATE 0x40000000U
    /* ours: populate of mlock and MAP_POPULATE (starts over, with batches drained, when a fault had to wait) */
    #define FOLL_MM_POPULATE 0x20000000U
    """
    const uint32_t FOLL_MADV_POPULATE, FOLL_MM_POPULATE


cdef bint vma_needs_dirty_tracking(const vma_t *vma) noexcept nogil:
    """Does a file system expect to be told of every store to the VMA's pages?"""
    if vma.flags & (VM_WRITE | VM_SHARED) != VM_WRITE | VM_SHARED:
        return False
    return vma.file != NULL and not shmem_mapping(vma.file)


cdef int check_vma_flags(const vma_t *vma, uint32_t flags) noexcept nogil:
    if vma.flags & (VM_IO | VM_PFNMAP):
        return -EFAULT
    if flags & FOLL_WRITE:
        if flags & FOLL_PIN and flags & FOLL_LONGTERM and vma_needs_dirty_tracking(vma):
            return -EFAULT
        if not vma.flags & VM_WRITE:
            if not flags & FOLL_FORCE or (vma.flags & (VM_SHARED | VM_MAYWRITE)) != VM_MAYWRITE:
                return -EFAULT
    elif not vma.flags & VM_READ:
        if not flags & FOLL_FORCE or not vma.flags & VM_MAYREAD:
            return -EFAULT
    return 0


cdef void touch_folio(machine_t *m, uint64_t entry, uint32_t pfn, uint32_t flags) noexcept nogil:
    """FOLL_TOUCH at PTE level."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    if page_kind(folio) == PG_KIND_ZERO:
        return
    if flags & FOLL_WRITE and not pte_dirty(m, entry):
        folio.flags |= PG_dirty
    folio_mark_accessed(m, head)


cdef bint must_unshare(machine_t *m, const vma_t *vma, uint32_t pfn, uint32_t flags) noexcept nogil:
    cdef page_t *folio = folio_of(m, pfn)
    return gup_must_unshare(vma, folio, page_record(m, folio, pfn), flags)


cdef inline void touch_pmd(machine_t *m, uint64_t *pmd, bint write) noexcept nogil:
    """Follows touch_pmd (mm/huge_memory.c)."""
    if write:
        store_entry(m, pmd, pte_mkdirty(m, pte_mkyoung(m, pmd[0])))
    elif read_sets_young(m):
        store_entry(m, pmd, pte_mkyoung(m, pmd[0]))


cdef int64_t follow_page(machine_t *m, vma_t *vma, uint64_t addr, int64_t nr, uint32_t flags, uint32_t *pfns,
                         bint *unshare) noexcept nogil:
    """Follows follow_page_mask: pages taken at addr (a PMD leaf gives many), 0: a fault is needed."""
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    cdef uint64_t *at = pmd
    cdef int64_t n = 1, i
    cdef uint32_t pfn
    cdef bint huge
    unshare[0] = False
    if pmd == NULL or not pmd[0]:
        return 0
    huge = pmd_leaf(m, pmd[0])
    if not huge:
        at = pte_offset(m, pmd[0], addr)
    if not at[0] or not pte_present(m, at[0]) or pte_protnone(m, at[0]):
        return 0
    if flags & FOLL_WRITE and not pte_write(m, at[0]):
        return 0
    pfn = pte_pfn(m, at[0])
    if not pte_write(m, at[0]) and must_unshare(m, vma, pfn, flags):
        unshare[0] = True
        return 0
    if huge:
        pfn += pte_index(addr)
        n = FS_PTRS_PER_PTE - pte_index(addr)
        if n > nr:
            n = nr
    count_op(m, OP_GUP, 1)
    grab_folio(m, pfn, <int32_t>n, flags)
    if flags & FOLL_TOUCH:
        if huge:
            touch_pmd(m, at, (flags & FOLL_WRITE) != 0)
        else:
            touch_folio(m, ptep_get(m, at), pfn, flags)
    if pfns != NULL:
        for i in range(n):
            pfns[i] = pfn + <uint32_t>i
    return n


cdef int faultin_page(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags, bint unshare) noexcept nogil:
    cdef uint32_t fault = FAULT_FLAG_WRITE if flags & FOLL_WRITE else 0
    cdef int result
    if unshare:
        fault |= FAULT_FLAG_UNSHARE
    result = handle_mm_fault(m, vma, addr, fault)
    if result == VM_FAULT_RETRY:
        if flags & FOLL_MM_POPULATE:
            lru_add_drain(m)
        return 0
    count_vm_events(m, PGFAULT, 1)
    if result & VM_FAULT_OOM:
        return -ENOMEM
    if result & (VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV):
        return -EFAULT
    return 0


cdef int64_t populate_empty(machine_t *m, vma_t *vma, uint64_t *pte, uint64_t addr, int64_t nr,
                            uint32_t flags) noexcept nogil:
    """Single pages of unlocked private memory, faulted in and touched in one go: how many, 0 if it is not that case."""
    cdef uint32_t n, i
    if not flags & FOLL_WRITE or vma.file != NULL or vma.flags & VM_LOCKED or not vma.flags & VM_WRITE:
        return 0
    if m.fail.armed or anon_fault_orders(m, vma):
        return 0
    n = empty_run(pte, <uint32_t>nr)
    if n < 2:
        return 0
    n = do_anonymous_run(m, vma, pte, addr, n)
    for i in range(n):
        page_of(m, pte_pfn(m, pte[i])).flags |= PG_referenced
    count_vm_events(m, PGFAULT, n)
    count_op(m, OP_GUP, n)
    return n


cdef uint32_t touch_run(machine_t *m, const uint64_t *pte, uint32_t max_nr, uint32_t flags) noexcept nogil:
    """Touch single pages that are mapped as wanted; how many."""
    cdef bint write = (flags & FOLL_WRITE) != 0
    cdef uint32_t n, left, touched = PG_referenced
    cdef page_t *page
    if not pte_hw_allows(m, pte[0], write):
        return 0
    page = small_run(m, pte, max_nr, &n)
    if write and not pte_dirty(m, ptep_get(m, pte)):
        touched |= PG_dirty
    left = n
    while left and is_small(page):
        if page.flags & PG_referenced and not page.flags & PG_unevictable:
            folio_mark_accessed(m, pte_pfn(m, pte[n - left]))
            page.flags |= touched & ~PG_referenced
        else:
            page.flags |= touched
        page += 1
        left -= 1
    return n - left


cdef int64_t touch_ptes(machine_t *m, const uint64_t *pte, int64_t nr, uint32_t flags) noexcept nogil:
    cdef int64_t n = 0, run = 1
    while n < nr and run:
        run = touch_run(m, pte + n, <uint32_t>(nr - n), flags)
        n += run
    count_op(m, OP_GUP, n)
    return n


cdef int64_t touch_pmds(machine_t *m, uint64_t *pmd, uint64_t addr, int64_t nr, uint32_t flags) noexcept nogil:
    """The same for leaves of one PMD table: follows touch_pmd."""
    cdef int64_t done = 0, n
    cdef uint32_t left = FS_PTRS_PER_PTE - pmd_index(addr)
    while left and done < nr and pmd_leaf(m, pmd[0]) and not pte_protnone(m, pmd[0]):
        if flags & FOLL_WRITE and not pte_write(m, pmd[0]):
            break
        if flags & FOLL_TOUCH:
            touch_pmd(m, pmd, (flags & FOLL_WRITE) != 0)
        n = FS_PTRS_PER_PTE - pte_index(addr)
        if n > nr - done:
            n = nr - done
        done += n
        addr += <uint64_t>n << FS_PAGE_SHIFT
        pmd += 1
        left -= 1
        count_op(m, OP_GUP, 1)
    return done


cdef int64_t populate_run(machine_t *m, vma_t *vma, uint64_t addr, int64_t nr, uint32_t flags) noexcept nogil:
    """Pages of one table that need not be looked at one by one; 0: the one at addr does."""
    cdef uint64_t *pmd = pmd_offset(m, vma.mm, addr)
    cdef uint64_t *pte
    if pmd == NULL or not pmd[0]:
        return 0
    if pmd_leaf(m, pmd[0]):
        return touch_pmds(m, pmd, addr, nr, flags)
    pte = pte_offset(m, pmd[0], addr)
    if nr > FS_PTRS_PER_PTE - pte_index(addr):
        nr = FS_PTRS_PER_PTE - pte_index(addr)
    return touch_ptes(m, pte, nr, flags) if pte[0] else populate_empty(m, vma, pte, addr, nr, flags)


cdef int64_t get_user_pages(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags,
                            uint32_t *pfns) noexcept nogil:
    """Follows __get_user_pages: pages dealt with, or the errno if there was none."""
    cdef int64_t done = 0, n, error = 0
    cdef bint unshare = False
    cdef vma_t *vma = NULL
    while done < nr:
        if fatal_signal_pending(m):
            error = -EINTR
            break
        if vma == NULL or addr >= vma.end:
            vma = maple_find(&mm.vmas, addr)
            if vma == NULL or vma.start > addr:
                error = -ENOMEM if flags & FOLL_MADV_POPULATE else -EFAULT
                break
            error = check_vma_flags(vma, flags)
            if error:
                error = -EINVAL if flags & FOLL_MADV_POPULATE else error
                break
        if pfns == NULL:
            n = nr - done
            if n > <int64_t>((vma.end - addr) >> FS_PAGE_SHIFT):
                n = (vma.end - addr) >> FS_PAGE_SHIFT
            n = populate_run(m, vma, addr, n, flags)
            done += n
            addr += <uint64_t>n << FS_PAGE_SHIFT
            if n:
                continue
        n = follow_page(m, vma, addr, nr - done, flags, pfns + done if pfns != NULL else NULL, &unshare)
        if n == 0:
            error = faultin_page(m, vma, addr, flags, unshare)
            if error:
                break
            continue
        done += n
        addr += <uint64_t>n << FS_PAGE_SHIFT
    return done if done else error


# ---- entry points ----

cdef int64_t get_user_pages_fast(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags,
                                 uint32_t *pfns) noexcept nogil:
    cdef int64_t done, more
    if flags & FOLL_PIN:
        mm.has_pinned = True
    if not policy_is_linux(m, POINT_PIN_LONG if flags & FOLL_LONGTERM else POINT_PIN_SHORT):
        done = get_user_pages(m, mm, addr, nr, flags & FOLL_WRITE, NULL)
        if done > 0:
            done = pin_policy(m, mm, addr, done, flags)
        if done < 0:
            return done
    done = gup_fast(m, mm, addr, nr, flags, pfns)
    if done == nr:
        return done
    more = get_user_pages(m, mm, addr + (<uint64_t>done << FS_PAGE_SHIFT), nr - done, flags | FOLL_TOUCH, pfns + done)
    if more < 0:
        return done if done else more
    return done + more


cdef int64_t populate_vma_page_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Write faults for private writable memory, so that it is not shared with anybody afterwards."""
    cdef uint32_t flags = FOLL_TOUCH | FOLL_MM_POPULATE
    cdef int64_t done, nr = (end - start) >> FS_PAGE_SHIFT
    if vma.flags & VM_LOCKONFAULT:
        return nr
    if (vma.flags & (VM_WRITE | VM_SHARED)) == VM_WRITE:
        flags |= FOLL_WRITE
    if vma.flags & VM_ACCESS_FLAGS:
        flags |= FOLL_FORCE
    done = get_user_pages(m, vma.mm, start, nr, flags, NULL)
    lru_add_drain(m)
    return done


cdef int64_t mm_populate(machine_t *m, mm_t *mm, uint64_t start, uint64_t length, bint ignore_errors) noexcept nogil:
    """Follows __mm_populate: VMA by VMA; special ones are passed over."""
    cdef uint64_t at = start, end = start + length, stop
    cdef int64_t done
    cdef vma_t *vma
    while at < end:
        vma = maple_find(&mm.vmas, at)
        if vma == NULL or vma.start >= end:
            return 0
        stop = vma.end if vma.end < end else end
        if vma.flags & (VM_IO | VM_PFNMAP):
            at = stop
            continue
        if at < vma.start:
            at = vma.start
        done = populate_vma_page_range(m, vma, at, stop)
        if done < 0:
            if not ignore_errors:
                return done
            at = stop
            continue
        at += <uint64_t>done << FS_PAGE_SHIFT
    return 0


cdef int64_t faultin_page_range(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, bint write) noexcept nogil:
    cdef uint32_t flags = FOLL_TOUCH | FOLL_MADV_POPULATE | (FOLL_WRITE if write else 0)
    cdef int64_t done = get_user_pages(m, mm, start, (end - start) >> FS_PAGE_SHIFT, flags, NULL)
    lru_add_drain(m)
    return done
