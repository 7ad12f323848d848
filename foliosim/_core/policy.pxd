# cython: language_level=3
"""Policy points: the one place where each decision is asked for.  Names and compiled alternatives: policy.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from foliosim._core.answers cimport *
from foliosim._core.flags cimport *
from foliosim._core.linux_rules cimport linux_answer, linux_cow_reuse
from foliosim._core.types cimport *
from foliosim._core.page cimport *

# ---- the table ----

# Every point as Linux 6.18 decides it.
cdef void policy_init(policy_t *policy) noexcept nogil
# The number of a point; KeyError if there is no such point.
cdef int policy_point(str point) except -1
cdef str policy_point_name(int point)
# Why an answer was refused, for the user.
cdef str policy_refusal(str point, int answer)
# Put a compiled alternative into its slot; KeyError if there is no such alternative.
cdef int policy_set(policy_t *policy, int point, str name, int param) except -1
# Put a function in; it is called with ctx and param.
cdef void policy_put(policy_t *policy, int point, decide_t decide, void *ctx, int param) noexcept nogil
# Let Linux's alternative decide a point.
cdef void policy_reset(policy_t *policy, int point) noexcept nogil
# An answer that cannot be carried out: the caller of the operation gets a ValueError at its end.
cdef void policy_refuse(machine_t *m, int point, int answer) noexcept nogil


cdef extern from *:
    """
    #ifndef FOLIOSIM_POLICY_SLOTS
    #define FOLIOSIM_POLICY_SLOTS 1     /* 0: no slots, Linux's rules alone; what slots cost (bench.slots) */
    #endif
    """
    const bint FOLIOSIM_POLICY_SLOTS
    bint unlikely(bint) noexcept nogil


cdef inline bint policy_is_linux(const machine_t *m, int point) noexcept nogil:
    return not FOLIOSIM_POLICY_SLOTS or not (m.policy.custom >> point) & 1


cdef inline int answer_number(int answer) noexcept nogil:
    """The number of "fixed(2)"."""
    return answer >> 8


# P07 once Linux does not decide it.
cdef bint policy_cow_reuse(machine_t *m, page_t *folio, uint32_t pfn, bint pmd) noexcept nogil


cdef inline int policy_decide(machine_t *m, int point, int nr_answers, const int64_t *arg) noexcept nogil:
    """One of the point's answers, whatever the slot's function says."""
    cdef const point_t *slot = m.policy.point + point
    cdef int answer = slot.decide(slot.ctx, slot.param, arg)
    if answer >= 0 and answer & 0xff < nr_answers:
        return answer
    policy_refuse(m, point, answer)
    return linux_answer(point, arg)


cdef inline int policy_ask(machine_t *m, int point, int nr_answers, int64_t a, int64_t b, int64_t c, int64_t d,
                           int64_t e) noexcept nogil:
    """One of the point's answers; a, b, ...: its arguments, 0 where it has fewer.

    An empty slot costs the place that asks one test: Linux's rule is compiled into it, and the arguments are in
    registers, since nothing but the slot's function is given an array.
    """
    cdef int64_t *given = m.policy.arg
    cdef int64_t arg[5]
    if unlikely(not policy_is_linux(m, point)):
        given[0], given[1], given[2], given[3], given[4] = a, b, c, d, e
        return policy_decide(m, point, nr_answers, given)
    arg[0], arg[1], arg[2], arg[3], arg[4] = a, b, c, d, e
    return linux_answer(point, arg)


# ---- the questions ----

cdef inline int ask_vma_split(machine_t *m, int order, int page, bint shared) noexcept nogil:
    """P01: the folio is cut before this page of it; shared: maybe mapped by another process too.  vma_split_e."""
    return policy_ask(m, POINT_VMA_SPLIT, NR_VMA_SPLIT, order, page, shared, 0, 0)


cdef inline int ask_mlock_rule(machine_t *m, int event, page_t *folio, int nr_mapped, bint pmd,
                               bint within) noexcept nogil:
    """P02: is the folio mlocked (or, when a mapping goes, munlocked) because of this mapping?  mlock_e.

    nr_mapped pages of it are concerned, by a PMD or by PTEs; within: the whole folio lies in the locked range.
    Small folios are never a question.
    """
    if not folio_test_large(folio):
        return MLOCK_YES
    return policy_ask(m, POINT_MLOCK_RULE, NR_MLOCK, event, folio_order(folio), nr_mapped, pmd, within)


cdef inline int ask_fork_child_mprotect(machine_t *m, int order, int nr_pages, bint pmd) noexcept nogil:
    """P05: nr_pages of a folio that others may map too are about to be protected.  fork_child_mprotect_e."""
    return policy_ask(m, POINT_FORK_CHILD_MPROTECT, NR_FORK_MPROTECT, order, nr_pages, pmd, 0, 0)


cdef inline int ask_cow_order(machine_t *m, int order, bint pmd) noexcept nogil:
    """P06: the order of the block that a write fault copies of a folio of this order, mapped by a PMD or not."""
    cdef int answer = policy_ask(m, POINT_COW_ORDER, NR_COW_ORDER, order, pmd, 0, 0, 0)
    if answer & 0xff == COW_FIXED:
        return min(answer_number(answer), FS_HPAGE_PMD_ORDER)
    if answer == COW_WHOLE_HUGE:
        return order if pmd else 0
    return order if answer == COW_INHERIT else 0


cdef inline bint ask_dirty_neighbours(machine_t *m, int order) noexcept nogil:
    """P06: are the pages that were copied along mapped writable and dirty?"""
    return policy_ask(m, POINT_DIRTY_NEIGHBOURS, NR_DIRTY_NEIGHBOURS, order, 0, 0, 0, 0) == NEIGHBOURS_DIRTY


cdef inline void reuse_known(machine_t *m, page_t *folio, uint32_t pfn, bint pmd, reuse_t *known) noexcept nogil:
    """P07: what Linux's rule looks at; policy_cow_reuse adds the rest."""
    known.order = folio_order(folio)
    known.pmd = pmd
    known.exclusive = (page_record(m, folio, pfn).flags & PG_anon_exclusive) != 0
    known.refcount = folio.refcount
    known.mapcount = folio_mapcount(folio)
    known.shared = folio_maybe_mapped_shared(folio)


cdef inline bint ask_cow_reuse(machine_t *m, page_t *folio, uint32_t pfn, bint pmd) noexcept nogil:
    """P07: may the writer keep the page?  Not what another process maps, whatever the answer."""
    cdef reuse_t known
    if unlikely(not policy_is_linux(m, POINT_COW_REUSE)):
        return policy_cow_reuse(m, folio, pfn, pmd)
    reuse_known(m, folio, pfn, pmd, &known)
    return linux_cow_reuse(<const int64_t *>&known) == COW_REUSE


cdef inline int ask_reuse_around(machine_t *m, int order) noexcept nogil:
    """P07: the order of the window that becomes writable with a page that is kept."""
    cdef int answer = policy_ask(m, POINT_REUSE_AROUND, NR_REUSE_AROUND, order, 0, 0, 0, 0)
    return min(answer_number(answer), FS_HPAGE_PMD_ORDER) if answer & 0xff == REUSE_WINDOW else 0


cdef inline int ask_mapcount_model(machine_t *m, int order) noexcept nogil:
    """P08: which mapcounts of a large folio are there to be asked?  mapcount_model_e."""
    return policy_ask(m, POINT_MAPCOUNT_MODEL, NR_MAPCOUNT_MODEL, order, 0, 0, 0, 0)


cdef inline int ask_pin(machine_t *m, int order, int nr_pages, bint longterm) noexcept nogil:
    """P10, P11: nr_pages of the folio are about to be referenced or pinned.  pin_e."""
    return policy_ask(m, POINT_PIN_LONG if longterm else POINT_PIN_SHORT, NR_PIN, order, nr_pages, 0, 0, 0)


cdef inline int ask_pin_account(machine_t *m, int order, int nr_pages, bint again, bint known) noexcept nogil:
    """P12: a buffer is registered with nr_pages neighbouring pages of a folio.  again: other pages of that folio are
    in this buffer too; known: it is the folio that was met last, or one of this buffer or of a registered one.
    pin_account_e."""
    return policy_ask(m, POINT_PIN_ACCOUNT, NR_PIN_ACCOUNT, order, nr_pages, again, known, 0)


cdef inline int ask_fork_pinned(machine_t *m, int order) noexcept nogil:
    """P13: a long-term pin of the folio is taken, or fork meets it: which of its pages does fork copy?
    fork_pinned_e."""
    return policy_ask(m, POINT_FORK_PINNED, NR_FORK_PINNED, order, 0, 0, 0, 0)


cdef inline int ask_fault_order(machine_t *m, bint khugepaged, bint advised, uint32_t sysfs,
                                uint64_t pages) noexcept nogil:
    """P14: which sizes may a fault, or khugepaged, use in a VMA of so many pages, with MADV_HUGEPAGE or not?
    fault_order_e; sysfs: the mask of orders that the settings allow."""
    return policy_ask(m, POINT_FAULT_ORDER, NR_FAULT_ORDER, khugepaged, advised, sysfs, <int64_t>pages, 0)


cdef inline int ask_fault_fallback(machine_t *m, int order) noexcept nogil:
    """P15: no memory for this order; which is tried next?  fault_fallback_e."""
    return policy_ask(m, POINT_FAULT_FALLBACK, NR_FAULT_FALLBACK, order, 0, 0, 0, 0)


cdef inline int ask_zero_page(machine_t *m, bint write) noexcept nogil:
    """P17: a read of an empty huge block, or a write to the huge zero page.  zero_page_e."""
    return policy_ask(m, POINT_ZERO_PAGE, NR_ZERO_PAGE, write, 0, 0, 0, 0)


cdef inline int ask_partial_unmap(machine_t *m, int order, int nr_mapped) noexcept nogil:
    """P21: only nr_mapped pages of the folio are left mapped.  partial_unmap_e."""
    return policy_ask(m, POINT_PARTIAL_UNMAP, NR_PARTIAL_UNMAP, order, nr_mapped, 0, 0, 0)


cdef inline bint ask_deferred_members(machine_t *m, int event, int order) noexcept nogil:
    """P22: does the folio go on the deferred split queue?"""
    return policy_ask(m, POINT_DEFERRED_MEMBERS, NR_DEFERRED_MEMBERS, event, order, 0, 0, 0) == DEFERRED_YES


cdef inline int ask_split_target(machine_t *m, int order) noexcept nogil:
    """P24: into what is a folio split that must go?  split_target_e."""
    return policy_ask(m, POINT_SPLIT_TARGET, NR_SPLIT_TARGET, order, 0, 0, 0, 0)


cdef inline bint ask_drop_zero_pages(machine_t *m) noexcept nogil:
    """P24: does the zero page take the place of single pages full of zeros after a split?"""
    return policy_ask(m, POINT_DROP_ZERO_PAGES, NR_DROP_ZERO_PAGES, 0, 0, 0, 0, 0) == ZERO_PAGES_DROP


cdef inline int ask_madv_free_partial(machine_t *m, int order, int nr_pages) noexcept nogil:
    """P25: MADV_FREE covers nr_pages of the folio.  madv_free_partial_e."""
    return policy_ask(m, POINT_MADV_FREE_PARTIAL, NR_MADV_FREE_PARTIAL, order, nr_pages, 0, 0, 0)


cdef inline int ask_partial_evict(machine_t *m, int order, int64_t nr_locked) noexcept nogil:
    """P03: reclaim meets a folio of which nr_locked pages are in locked VMAs, and not all.  partial_evict_e."""
    return policy_ask(m, POINT_PARTIAL_EVICT, NR_PARTIAL_EVICT, order, nr_locked, 0, 0, 0)


cdef inline int ask_collapse_rule(machine_t *m, const int64_t *arg) noexcept nogil:
    """P18: khugepaged looks at a block: pages none, zero_filled, swap, shared, and the limits max_ptes_none, _swap,
    _shared.  collapse_rule_e."""
    if policy_is_linux(m, POINT_COLLAPSE_RULE):
        return linux_answer(POINT_COLLAPSE_RULE, arg)
    return policy_decide(m, POINT_COLLAPSE_RULE, NR_COLLAPSE_RULE, arg)


cdef inline int ask_collapse_vs_free(machine_t *m, int64_t scans, int64_t nr_none) noexcept nogil:
    """P19: pages of the block were freed by the program; since then khugepaged looked at it so many times, this one
    included, and nr_none pages are empty.  collapse_vs_free_e."""
    return policy_ask(m, POINT_COLLAPSE_VS_FREE, NR_COLLAPSE_VS_FREE, scans, nr_none, 0, 0, 0)


cdef inline int ask_underused(machine_t *m, int64_t nr_zero, int64_t max_ptes_none, int64_t nr_accessed,
                              bint one_half) noexcept nogil:
    """P23: is a folio of so many zero-filled pages underused?  nr_accessed of its pages were used since the last
    look, all in one half of it or not.  underused_e."""
    return policy_ask(m, POINT_UNDERUSED, NR_UNDERUSED, nr_zero, max_ptes_none, nr_accessed, one_half, 0)


cdef inline int ask_age_unit(machine_t *m, int order, int64_t nr_young, int64_t nr_mapped) noexcept nogil:
    """P27: was a large folio used, of whose mapped pages some have accessed entries?  age_unit_e."""
    return policy_ask(m, POINT_AGE_UNIT, NR_AGE_UNIT, order, nr_young, nr_mapped, 0, 0)


cdef inline bint ask_contpte(machine_t *m, int event) noexcept nogil:
    """P28: does the block become a contiguous one?  contpte_e."""
    return policy_ask(m, POINT_CONTPTE, NR_CONTPTE, event, 0, 0, 0, 0) == CONTPTE_FOLD


cdef inline int ask_swap_large(machine_t *m, int event, int order, bint enabled) noexcept nogil:
    """P29: does a folio of this order go to swap, or come from it, as it is?  enabled: a PMD maps it (out), faults may
    use the order (in).  swap_large_e."""
    return policy_ask(m, POINT_SWAP_LARGE, NR_SWAP_LARGE, event, order, enabled, 0, 0)
