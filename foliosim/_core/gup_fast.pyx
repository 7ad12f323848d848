# cython: language_level=3
"""References on pages, and the lockless path that takes them.  Follows mm/gup.c."""
from libc.stdint cimport int32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.page_run cimport *
from foliosim._core.stat cimport *
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.swap cimport folio_put_refs


# ---- references ----

cdef inline void add_refs(page_t *folio, int32_t n, uint32_t flags) noexcept nogil:
    """n references or pins; small folios count 1024 per pin."""
    if flags & FOLL_GET:
        folio.refcount += n
    elif folio_order(folio) >= 2:
        folio.refcount += n
        folio_tail2(folio).pincount += n
    else:
        folio.refcount += n * FS_GUP_PIN_COUNTING_BIAS


cdef inline void count_refs(machine_t *m, int64_t steps, int64_t pages, uint32_t flags, int pin_event) noexcept nogil:
    count_op(m, OP_REF, steps)
    if flags & FOLL_PIN:
        count_vm_events(m, pin_event, pages)


cdef void grab_folio(machine_t *m, uint32_t pfn, int32_t n, uint32_t flags) noexcept nogil:
    """Follows try_grab_folio: pins of the zero pages are not counted."""
    cdef page_t *folio = folio_of(m, pfn)
    cdef bint zero = page_kind(folio) == PG_KIND_ZERO
    if flags & FOLL_GET or (flags & FOLL_PIN and not zero):
        add_refs(folio, n, flags)
        count_refs(m, 1, n, flags, NR_FOLL_PIN_ACQUIRED)


cdef void put_folio(machine_t *m, uint32_t head, int32_t n, uint32_t flags) noexcept nogil:
    """Follows gup_put_folio: n pins of a folio at once; references one by one."""
    cdef page_t *folio = page_of(m, head)
    cdef bint zero = page_kind(folio) == PG_KIND_ZERO
    cdef int32_t refs = n
    if flags & FOLL_PIN:
        if zero:
            return
        if folio_order(folio) >= 2:
            folio_tail2(folio).pincount -= n
        else:
            refs = n * FS_GUP_PIN_COUNTING_BIAS
    count_refs(m, 1 if flags & FOLL_PIN else n, n, flags, NR_FOLL_PIN_RELEASED)
    if zero:
        folio.refcount -= refs
    else:
        folio_put_refs(m, head, refs)


cdef int64_t put_small_run(machine_t *m, const uint32_t *pfns, int64_t nr, uint32_t flags) noexcept nogil:
    """Single pages in consecutive frames that somebody else refers to as well; how many."""
    cdef uint32_t pfn = pfns[0], i = 0
    cdef uint32_t n = page_contiguous(pfn, <uint32_t>nr if nr < FS_HPAGE_PMD_NR else FS_HPAGE_PMD_NR)
    cdef int32_t refs = FS_GUP_PIN_COUNTING_BIAS if flags & FOLL_PIN else 1
    cdef page_t *page = page_of(m, pfn)
    if in_huge_folio(m, pfn):
        return 0
    while i < n and pfns[i] == pfn + i and is_small(page) and page.refcount > refs:
        page.refcount -= refs
        page += 1
        i += 1
    if i:
        count_refs(m, i, i, flags, NR_FOLL_PIN_RELEASED)
    return i


cdef int64_t frames_of_folio(const uint32_t *pfns, int64_t nr, uint32_t head, int order) noexcept nogil:
    """Follows gup_folio_next: how many frames from the first on belong to the folio."""
    cdef int64_t n = 0
    cdef uint32_t i, outside
    while n + 64 <= nr:
        outside = 0
        for i in range(64):
            outside |= (pfns[n + i] ^ head) >> order
        if outside:
            break
        n += 64
    while n < nr and (pfns[n] ^ head) >> order == 0:
        n += 1
    return n


cdef void put_user_pages(machine_t *m, const uint32_t *pfns, int64_t nr, uint32_t flags) noexcept nogil:
    """Follows unpin_user_pages."""
    cdef int64_t i = 0, n
    cdef uint32_t head
    while i < nr:
        n = put_small_run(m, pfns + i, nr - i, flags)
        if n == 0:
            head = head_of(m, pfns[i])
            n = frames_of_folio(pfns + i, nr - i, head, folio_order(page_of(m, head)))
            put_folio(m, head, <int32_t>n, flags)
        i += n


# ---- the lockless path ----

cdef bint gup_must_unshare(const vma_t *vma, page_t *folio, const page_t *page, uint32_t flags) noexcept nogil:
    """page: the record that tells whose the page is, the head's if the others are implicit."""
    if not flags & FOLL_PIN or flags & FOLL_WRITE:
        return False
    if page_kind(folio) != PG_KIND_ZERO and folio.flags & PG_anon:
        return not page.flags & PG_anon_exclusive
    if not flags & FOLL_LONGTERM:
        return False
    return vma == NULL or (vma.flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE


cdef inline bint folio_allowed(const page_t *folio, uint32_t flags) noexcept nogil:
    """Follows gup_fast_folio_allowed: no long-term writer behind the back of a file system."""
    if flags & (FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE) != FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE:
        return True
    return (folio.flags & (PG_anon | PG_swapbacked)) != 0


cdef inline bint take(machine_t *m, uint64_t entry, int32_t n, uint32_t flags) noexcept nogil:
    """n references on the folio of the (first) page that a leaf entry maps; False: the entry does not allow it."""
    cdef uint32_t pfn = pte_pfn(m, entry)
    cdef page_t *folio
    if not pte_access_permitted(m, entry, (flags & FOLL_WRITE) != 0) or pte_special(m, entry):
        return False
    folio = folio_of(m, pfn)
    if not folio_allowed(folio, flags):
        return False
    if not pte_write(m, entry) and gup_must_unshare(NULL, folio, page_record(m, folio, pfn), flags):
        return False
    add_refs(folio, n, flags)
    folio.flags |= PG_referenced
    return True


cdef uint32_t take_small(machine_t *m, const uint64_t *pte, uint32_t nr, uint32_t flags, uint32_t *pfns) noexcept nogil:
    """Writable entries of anonymous single pages in consecutive frames; how many."""
    cdef uint32_t n, left, pfn = pte_pfn(m, pte[0])
    cdef int32_t refs = FS_GUP_PIN_COUNTING_BIAS if flags & FOLL_PIN else 1
    cdef page_t *page
    if not pte_hw_allows(m, pte[0], True):
        return 0
    page = small_run(m, pte, nr, &n)
    left = n
    while left and is_small(page) and page.flags & PG_anon:
        page.flags |= PG_referenced
        page.refcount += refs
        page += 1
        left -= 1
    fill_frames(pfns, pfn, n - left)
    return n - left


cdef inline void fill_frames(uint32_t *pfns, uint32_t pfn, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        pfns[i] = pfn + <uint32_t>i


cdef int64_t gup_fast_ptes(machine_t *m, const uint64_t *pte, int64_t nr, uint32_t flags,
                           uint32_t *pfns) noexcept nogil:
    cdef int64_t n = 0, small
    while n < nr:
        small = take_small(m, pte + n, <uint32_t>(nr - n), flags, pfns + n)
        n += small
        if small:
            continue
        if not take(m, pte[n], 1, flags):
            break
        pfns[n] = pte_pfn(m, pte[n])
        n += 1
    count_op(m, OP_GUP, n)
    count_refs(m, n, n, flags, NR_FOLL_PIN_ACQUIRED)
    return n


cdef int64_t gup_fast_pmd_leaf(machine_t *m, uint64_t pmd, uint32_t at, int64_t nr, uint32_t flags,
                               uint32_t *pfns) noexcept nogil:
    """nr pages from page `at` of the leaf on."""
    cdef uint32_t pfn = pte_pfn(m, pmd) + at
    if not take(m, pmd, <int32_t>nr, flags):
        return 0
    fill_frames(pfns, pfn, nr)
    count_op(m, OP_GUP, 1)
    count_refs(m, 1, nr, flags, NR_FOLL_PIN_ACQUIRED)
    return nr


cdef int64_t gup_fast(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags, uint32_t *pfns) noexcept nogil:
    cdef int64_t done = 0, n, got
    cdef uint64_t *pmd
    while done < nr and not fatal_signal_pending(m):
        pmd = pmd_offset(m, mm, addr)
        if pmd == NULL or not pmd[0]:
            break
        n = FS_PTRS_PER_PTE - pte_index(addr)
        if n > nr - done:
            n = nr - done
        if pmd_leaf(m, pmd[0]):
            got = gup_fast_pmd_leaf(m, pmd[0], pte_index(addr), n, flags, pfns + done)
        else:
            got = gup_fast_ptes(m, pte_offset(m, pmd[0], addr), n, flags, pfns + done)
        done += got
        if got < n:
            break
        addr += <uint64_t>n << FS_PAGE_SHIFT
    return done
