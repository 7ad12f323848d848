# cython: language_level=3
"""Mapcounts and the owner slots of large folios.  Follows mm/rmap.c and include/linux/rmap.h, CONFIG_PAGE_MAPCOUNT."""
from libc.errno cimport EBUSY
from libc.stdlib cimport realloc
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.stat cimport *
from foliosim._core.debug cimport BUG_ON
from foliosim._core.folio cimport folio_materialize
from foliosim._core.deferred_split cimport deferred_split_offer
from foliosim._core.held cimport page_pinned, pins_per_page
from foliosim._core.mapcount cimport mapcount_updates, mapcount_updates_pmd
from foliosim._core.mlock cimport mlock_folio, munlock_folio
from foliosim._core.policy cimport *

cdef extern from *:
    """
    #define FS_MM_SHARED 0x80000000U
    """
    const uint32_t FS_MM_SHARED


# ---- owner slots ----

cdef void large_mapcount_set(page_t *folio, int32_t n, const vma_t *vma) noexcept nogil:
    """Follows folio_set_large_mapcount: a new folio, n mappings of one mm."""
    cdef tail1_t *one = folio_tail1(folio)
    one.large_mapcount = n
    one.mm_mapcount[0] = n
    one.mm_id[0] = vma.mm.id


cdef void large_mapcount_add(page_t *folio, int32_t n, const vma_t *vma) noexcept nogil:
    """Follows folio_add_return_large_mapcount: a third mm finds no slot and is only counted in the total."""
    cdef tail1_t *one = folio_tail1(folio)
    cdef uint32_t id = vma.mm.id
    one.large_mapcount += n
    if one.mm_id[0] == id:
        one.mm_mapcount[0] += n
    elif (one.mm_id[1] & ~FS_MM_SHARED) == id:
        one.mm_mapcount[1] += n
    elif one.mm_id[0] == 0:
        one.mm_id[0] = id
        one.mm_mapcount[0] = n
        if one.large_mapcount != n:
            one.mm_id[1] |= FS_MM_SHARED
    elif (one.mm_id[1] & ~FS_MM_SHARED) == 0:
        one.mm_id[1] = id | FS_MM_SHARED
        one.mm_mapcount[1] = n
    elif folio_order(folio) >= 2:
        folio_tail3(folio).marks |= TAIL3_STOPPED


cdef void large_mapcount_sub(page_t *folio, int32_t n, const vma_t *vma) noexcept nogil:
    """Follows folio_sub_return_large_mapcount: shared no more once one slot accounts for every mapping."""
    cdef tail1_t *one = folio_tail1(folio)
    cdef uint32_t id = vma.mm.id
    one.large_mapcount -= n
    if one.mm_id[0] == id:
        one.mm_mapcount[0] -= n
        if one.mm_mapcount[0] > 0:
            return
        one.mm_id[0] = 0
        one.mm_mapcount[0] = 0
    elif (one.mm_id[1] & ~FS_MM_SHARED) == id:
        one.mm_mapcount[1] -= n
        if one.mm_mapcount[1] > 0:
            return
        one.mm_id[1] &= FS_MM_SHARED
        one.mm_mapcount[1] = 0
    if one.mm_mapcount[0] == one.large_mapcount or one.mm_mapcount[1] == one.large_mapcount:
        one.mm_id[1] &= ~FS_MM_SHARED


# ---- page by page ----

cdef inline void count_rmap(machine_t *m, const page_t *folio, int64_t n, int64_t calls) noexcept nogil:
    """Some calls for n pages that PTEs map, in all."""
    count_op(m, OP_RMAP_CALL, calls)
    count_op(m, OP_MAPCOUNT, mapcount_updates(m, folio, n, calls) if folio_test_large(folio) else n)


cdef inline void count_rmap_pmd(machine_t *m) noexcept nogil:
    """One call for a folio that a PMD maps."""
    count_op(m, OP_RMAP_CALL, 1)
    count_op(m, OP_MAPCOUNT, mapcount_updates_pmd(m))


cdef void count_rmap_each(machine_t *m, const page_t *folio, int64_t n) noexcept nogil:
    count_rmap(m, folio, n, n)


cdef inline bint alike(machine_t *m, uint32_t head, page_t *folio, uint32_t n) noexcept nogil:
    """Is the change of n pages one of all pages of the folio, so that they stay alike?  Else each gets its record."""
    if folio.flags & PG_tails_implicit and n == folio_nr_pages(folio):
        return True
    folio_materialize(m, head)
    return False


cdef int32_t mapcounts_inc(machine_t *m, uint32_t head, page_t *folio, uint32_t pfn, uint32_t n) noexcept nogil:
    """One more PTE for each of n pages of a folio; how many were not mapped by PTEs before."""
    cdef uint32_t i = 0, k, j
    cdef int32_t fresh = 0
    cdef page_t *page
    if alike(m, head, folio, n):
        folio.mapcount += 1
        return <int32_t>n if folio.mapcount == 1 else 0
    while i < n:
        page = page_of(m, pfn + i)
        k = page_contiguous(pfn + i, n - i)
        for j in range(k):
            fresh += page[j].mapcount == 0
            page[j].mapcount += 1
        i += k
    return fresh


cdef int32_t mapcounts_dec(machine_t *m, uint32_t head, page_t *folio, uint32_t pfn, uint32_t n) noexcept nogil:
    """One PTE less for each of n pages of a folio; how many are no longer mapped by PTEs."""
    cdef uint32_t i = 0, k, j
    cdef int32_t last = 0
    cdef page_t *page
    if alike(m, head, folio, n):
        BUG_ON(folio.mapcount <= 0)
        folio.mapcount -= 1
        return <int32_t>n if folio.mapcount == 0 else 0
    while i < n:
        page = page_of(m, pfn + i)
        k = page_contiguous(pfn + i, n - i)
        for j in range(k):
            BUG_ON(page[j].mapcount <= 0)
            page[j].mapcount -= 1
            last += page[j].mapcount == 0
        i += k
    return last


cdef void pages_change_exclusive(machine_t *m, uint32_t pfn, uint32_t n, uint32_t flag) noexcept nogil:
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    if folio.flags & PG_tails_implicit and folio.flags & PG_anon_exclusive == flag:
        return
    if alike(m, head, folio, n):
        folio.flags = folio.flags & ~PG_anon_exclusive | flag
    else:
        pages_change_flags(m, pfn, n, PG_anon_exclusive, flag)


cdef void pages_set_exclusive(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    pages_change_exclusive(m, pfn, n, PG_anon_exclusive)


cdef void pages_clear_exclusive(machine_t *m, uint32_t pfn, uint32_t n) noexcept nogil:
    pages_change_exclusive(m, pfn, n, 0)


cdef void pages_exclusive_as_head(machine_t *m, uint32_t head) noexcept nogil:
    pages_change_exclusive(m, head, FS_HPAGE_PMD_NR, page_of(m, head).flags & PG_anon_exclusive)


cdef bint pages_any_exclusive(machine_t *m, page_t *folio, uint32_t pfn, uint32_t n) noexcept nogil:
    cdef uint32_t i
    if folio.flags & PG_tails_implicit:
        return (folio.flags & PG_anon_exclusive) != 0
    for i in range(n):
        if page_of(m, pfn + i).flags & PG_anon_exclusive:
            return True
    return False


# ---- anonymous folios ----

cdef void folio_set_anon(page_t *folio, const vma_t *vma, uint64_t addr) noexcept nogil:
    """Follows __folio_set_anon."""
    folio.flags |= PG_anon
    folio_set_mapping(folio, vma.anon_vma.id, linear_page_index(vma, addr))


cdef void folio_move_anon_rmap(page_t *folio, const vma_t *vma) noexcept nogil:
    """The folio belongs to this VMA's process alone: from now on it is found through its own anon_vma."""
    folio_set_mapping(folio, vma.anon_vma.id, folio_index(folio))


cdef void folio_add_new_anon_rmap(machine_t *m, uint32_t head, const vma_t *vma, uint64_t addr) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    cdef int order = folio_order(folio)
    cdef uint32_t nr = folio_nr_pages(folio)
    folio.flags |= PG_swapbacked
    folio_set_anon(folio, vma, addr)
    if order == FS_HPAGE_PMD_ORDER:
        count_rmap_pmd(m)
        folio.flags |= PG_anon_exclusive
        large_mapcount_set(folio, 1, vma)
        folio_tail2(folio).entire_mapcount = 1
        folio_tail2(folio).nr_pages_mapped = FS_ENTIRELY_MAPPED
    else:
        mapcounts_inc(m, head, folio, head, nr)
        pages_set_exclusive(m, head, nr)
        count_rmap(m, folio, nr, 1)
        if order:
            large_mapcount_set(folio, nr, vma)
        if order >= 2:
            folio_tail2(folio).nr_pages_mapped = nr
    mod_mthp_stat(m, order, MTHP_NR_ANON, 1)


cdef void folio_add_swapin_rmap(machine_t *m, uint32_t head, const vma_t *vma, uint64_t addr,
                                bint exclusive) noexcept nogil:
    """What is shared is found through the root anon_vma, which reaches all who may map it."""
    cdef page_t *folio = page_of(m, head)
    folio_add_new_anon_rmap(m, head, vma, addr)
    if not exclusive:
        pages_clear_exclusive(m, head, folio_nr_pages(folio))
        folio_set_mapping(folio, vma.anon_vma.root.id, folio_index(folio))


# ---- adding and removing ----

cdef void mapped_by_ptes(machine_t *m, uint32_t head, page_t *folio, uint32_t n, int32_t fresh,
                         const vma_t *vma) noexcept nogil:
    """n more PTEs map pages of it, fresh of them for the first time.  A call that maps all may mlock it (P02)."""
    if folio_test_large(folio):
        large_mapcount_add(folio, n, vma)
        if folio_order(folio) >= 2:
            folio_tail2(folio).nr_pages_mapped += fresh
    if vma.flags & VM_LOCKED and not vma.flags & VM_SPECIAL:
        if ask_mlock_rule(m, MLOCK_AT_RMAP_ADD, folio, n, False, True) == MLOCK_YES:
            mlock_folio(m, head)


cdef void folio_add_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil:
    """Follows __folio_add_rmap at PTE level."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    count_rmap(m, folio, n, 1)
    mapped_by_ptes(m, head, folio, n, mapcounts_inc(m, head, folio, pfn, n), vma)


cdef void folio_add_rmap_each(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil:
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    count_rmap_each(m, folio, n)
    mapped_by_ptes(m, head, folio, n, mapcounts_inc(m, head, folio, pfn, n), vma)


cdef void folio_split_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil:
    folio_add_rmap_ptes(m, head, FS_HPAGE_PMD_NR, vma)
    pages_exclusive_as_head(m, head)


cdef void folio_add_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil:
    """Follows __folio_add_rmap at PMD level."""
    cdef page_t *folio = page_of(m, head)
    cdef tail2_t *two = folio_tail2(folio)
    count_rmap_pmd(m)
    two.entire_mapcount += 1
    if two.entire_mapcount == 1:
        two.nr_pages_mapped += FS_ENTIRELY_MAPPED
    large_mapcount_add(folio, 1, vma)
    if vma.flags & VM_LOCKED and not vma.flags & VM_SPECIAL:
        if ask_mlock_rule(m, MLOCK_AT_RMAP_ADD, folio, folio_nr_pages(folio), True, True) == MLOCK_YES:
            mlock_folio(m, head)


cdef inline void munlock_vma_folio(machine_t *m, uint32_t head, const vma_t *vma, uint32_t n, bint pmd) noexcept nogil:
    """Any mapping that leaves a VM_LOCKED VMA unlocks its folio (P02)."""
    if vma.flags & VM_LOCKED:
        if ask_mlock_rule(m, MLOCK_AT_RMAP_REMOVE, page_of(m, head), n, pmd, True) == MLOCK_YES:
            munlock_folio(m, head)


cdef void remove_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma, bint each) noexcept nogil:
    """each: one by one, so that of a folio that was mapped n times some mappings were left when the first had gone."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    cdef tail2_t *two = folio_tail2(folio)
    cdef int32_t last = mapcounts_dec(m, head, folio, pfn, n)
    count_rmap(m, folio, n, n if each else 1)
    if folio_test_large(folio):
        large_mapcount_sub(folio, n, vma)
        if folio_order(folio) >= 2:
            two.nr_pages_mapped -= last
            if lost_mappings(m, folio, last > 0):
                queue_partially_mapped(m, head, folio, folio_large_mapcount(folio) > 0 or (each and n > 1))
    munlock_vma_folio(m, head, vma, n, False)


cdef void folio_remove_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil:
    """Follows __folio_remove_rmap at PTE level: a folio partly unmapped goes on the deferred split queue."""
    remove_rmap_ptes(m, pfn, n, vma, False)


cdef void folio_remove_rmap_each(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *vma) noexcept nogil:
    """n calls of it for a page each; in a locked VMA n must be 1."""
    remove_rmap_ptes(m, pfn, n, vma, True)


cdef void folio_remove_rmap_pmd(machine_t *m, uint32_t head, const vma_t *vma) noexcept nogil:
    """Follows __folio_remove_rmap at PMD level."""
    cdef page_t *folio = page_of(m, head)
    cdef tail2_t *two = folio_tail2(folio)
    cdef int32_t nr_pages = folio_nr_pages(folio)
    count_rmap_pmd(m)
    large_mapcount_sub(folio, 1, vma)
    two.entire_mapcount -= 1
    if two.entire_mapcount == 0:
        two.nr_pages_mapped -= FS_ENTIRELY_MAPPED
        if two.nr_pages_mapped and lost_mappings(m, folio, two.nr_pages_mapped < nr_pages):
            queue_partially_mapped(m, head, folio, folio_large_mapcount(folio) > 0)
    munlock_vma_folio(m, head, vma, nr_pages, True)


cdef inline bint lost_mappings(machine_t *m, page_t *folio, bint last) noexcept nogil:
    """P08: can it be seen that some pages of the folio lost their last mapping?  last: some did."""
    cdef int model = ask_mapcount_model(m, folio_order(folio))
    if model == MAPCOUNT_PER_PAGE:
        return last and folio_tail2(folio).nr_pages_mapped < FS_ENTIRELY_MAPPED
    if folio_entire_mapcount(folio) or (model == MAPCOUNT_PER_VMA_TABLE and folio_maybe_mapped_shared(folio)):
        return False
    return folio_large_mapcount(folio) < <int32_t>folio_nr_pages(folio)


cdef void queue_partially_mapped(machine_t *m, uint32_t head, page_t *folio, bint mapped) noexcept nogil:
    """P21, P22: what becomes of a folio that is no longer mapped whole; mapped: but some of it is."""
    if not folio.flags & PG_anon:
        return
    if not folio.flags & PG_partially_mapped and (mapped or not policy_is_linux(m, POINT_DEFERRED_MEMBERS)):
        deferred_split_offer(m, head, DEFERRED_PARTIAL if mapped else DEFERRED_UNMAPPED)
    if mapped and not policy_is_linux(m, POINT_PARTIAL_UNMAP):
        mark_split_now(m, head, folio)


cdef bint split_now_room(machine_t *m) noexcept nogil:
    cdef int64_t cap = 2 * m.split_now_cap + 16
    cdef void *grown
    if m.nr_split_now < m.split_now_cap:
        return True
    grown = realloc(m.split_now, cap * sizeof(uint32_t))
    if grown == NULL:
        return False
    m.split_now = <uint32_t *>grown
    m.split_now_cap = cap
    return True


cdef void mark_split_now(machine_t *m, uint32_t head, page_t *folio) noexcept nogil:
    """P21: the folio cannot be split while it is being unmapped; it is when the operation ends."""
    cdef int answer
    cdef tail3_t *three = folio_tail3(folio)
    if three.marks & TAIL3_SPLIT_NOW:
        return
    answer = ask_partial_unmap(m, folio_order(folio), folio_tail2(folio).nr_pages_mapped)
    if answer == PARTIAL_UNMAP_DEFER or not split_now_room(m):
        return
    three.marks |= TAIL3_SPLIT_NOW | (TAIL3_FREE_PART if answer == PARTIAL_UNMAP_FREE_PART else 0)
    m.split_now[m.nr_split_now] = head
    m.nr_split_now += 1


# ---- fork ----

cdef bint fork_must_copy(machine_t *m, page_t *folio, uint32_t pfn, uint32_t n) noexcept nogil:
    """P13: must some of n pages of a folio with pins stay the parent's own?"""
    cdef uint32_t i
    if not pins_per_page(folio) and ask_fork_pinned(m, folio_order(folio)) != FORK_PINNED_PAGE:
        return pages_any_exclusive(m, folio, pfn, n)
    for i in range(n):
        if page_record(m, folio, pfn + i).flags & PG_anon_exclusive and page_pinned(m, pfn + i):
            return True
    return False


cdef int folio_try_dup_anon_rmap_ptes(machine_t *m, uint32_t pfn, uint32_t n, const vma_t *dst,
                                      const vma_t *src) noexcept nogil:
    """Follows __folio_try_dup_anon_rmap: pages become shared, unless they may be pinned and are exclusive."""
    cdef uint32_t head = head_of(m, pfn)
    cdef page_t *folio = page_of(m, head)
    cdef int32_t fresh
    if src.mm.has_pinned and folio_maybe_dma_pinned(folio) and fork_must_copy(m, folio, pfn, n):
        return -EBUSY
    pages_clear_exclusive(m, pfn, n)
    count_rmap(m, folio, n, 1)
    fresh = mapcounts_inc(m, head, folio, pfn, n)
    if folio_test_large(folio):
        large_mapcount_add(folio, n, dst)
        if folio_order(folio) >= 2:
            folio_tail2(folio).nr_pages_mapped += fresh
    return 0


cdef int folio_try_dup_anon_rmap_pmd(machine_t *m, uint32_t head, const vma_t *dst, const vma_t *src) noexcept nogil:
    cdef page_t *folio = page_of(m, head)
    if folio.flags & PG_anon_exclusive:
        if src.mm.has_pinned and folio_maybe_dma_pinned(folio):
            return -EBUSY
        folio.flags &= ~PG_anon_exclusive
    count_rmap_pmd(m)
    folio_tail2(folio).entire_mapcount += 1
    large_mapcount_add(folio, 1, dst)
    return 0


cdef void folios_dup_anon_rmap_pmd(machine_t *m, const uint64_t *pmd, uint32_t n, const vma_t *dst) noexcept nogil:
    cdef uint32_t i
    cdef page_t *folio
    for i in range(n):
        folio = page_of(m, pte_pfn(m, pmd[i]))
        folio.flags &= ~PG_anon_exclusive
        folio.refcount += 1
        folio_tail2(folio).entire_mapcount += 1
        large_mapcount_add(folio, 1, dst)
    count_op(m, OP_REF, n)
    count_op(m, OP_RMAP_CALL, n)
    count_op(m, OP_MAPCOUNT, n * mapcount_updates_pmd(m))
