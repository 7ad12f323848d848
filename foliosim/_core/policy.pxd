# cython: language_level=3
"""Policy points: the one place where each decision is asked for.  Names and compiled alternatives: policy.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.page cimport *

# ---- answers: the first is what Linux 6.18 does, where that is one answer always ----

cdef enum vma_split_e:       # P01
    VMA_SPLIT_KEEP
    VMA_SPLIT_TRY
    VMA_SPLIT_TRY_DEFER
    VMA_SPLIT_DEFER_ALWAYS
    VMA_SPLIT_DEFER_RECHECK  # queue it; the shrinker drops it if it is mapped whole in one VMA by then
    VMA_SPLIT_NONUNIFORM
    VMA_SPLIT_COPY_OUT       # try; if that fails, the changed part gets a copy of its own
    VMA_SPLIT_RETRY          # try up to param more times, then leave it
    VMA_SPLIT_FAIL           # try; if that fails, so does the system call
    NR_VMA_SPLIT

cdef enum mlock_e:           # P02
    MLOCK_NO
    MLOCK_YES
    MLOCK_SPLIT              # split the folio, then ask again for the pieces
    MLOCK_COPY_OUT           # copy the locked part to folios of its own, then ask again
    NR_MLOCK

cdef enum mlock_event_e:     # when P02 is asked
    MLOCK_AT_SYSCALL         # mlock() meets an existing mapping
    MLOCK_AT_RMAP_ADD        # a mapping of a folio is made in a VM_LOCKED VMA
    MLOCK_AT_RMAP_REMOVE     # a mapping of a folio goes away in a VM_LOCKED VMA: unlock it?
    MLOCK_AT_MUNLOCK         # munlock() meets an existing mapping: unlock it?
    MLOCK_AT_RECLAIM         # reclaim meets a folio that a VM_LOCKED VMA maps whole

cdef enum fork_child_mprotect_e:    # P05
    FORK_MPROTECT_KEEP       # only the caller's PMD is split
    FORK_MPROTECT_SPLIT      # the folio is split for everybody
    FORK_MPROTECT_COW_WHOLE  # the caller gets a copy of the folio
    FORK_MPROTECT_COW_PART   # the caller gets a copy of the part that is protected
    NR_FORK_MPROTECT

cdef enum cow_order_e:       # P06
    COW_ORDER0
    COW_INHERIT
    COW_FIXED                # an aligned window of 2^param pages
    COW_WHOLE_HUGE           # a huge folio whole, others page by page
    NR_COW_ORDER

cdef enum dirty_neighbours_e:       # P06: how pages are mapped that were copied along with the one written
    NEIGHBOURS_DIRTY
    NEIGHBOURS_CLEAN         # read-only and exclusive
    NR_DIRTY_NEIGHBOURS

cdef enum cow_reuse_e:       # P07
    COW_COPY
    COW_REUSE
    NR_COW_REUSE

cdef enum reuse_around_e:    # P07: how many pages become writable when one is kept
    REUSE_ONE
    REUSE_WINDOW             # those of an aligned window of 2^param that could be kept too
    NR_REUSE_AROUND

cdef enum mapcount_model_e:  # P08
    MAPCOUNT_PER_PAGE
    MAPCOUNT_LARGE_ONLY
    MAPCOUNT_PER_VMA_TABLE
    NR_MAPCOUNT_MODEL

cdef enum pin_e:             # P10, P11
    PIN_NO_SPLIT
    PIN_SPLIT_TRY            # split; if that fails, pin it whole
    PIN_SPLIT                # split; if that fails, so does the pin
    PIN_MOVE_OUT             # copy the range to folios of its own first
    PIN_PER_PAGE             # count the pins page by page: the folio can still be split
    NR_PIN

cdef enum fork_pinned_e:     # P13
    FORK_PINNED_FOLIO        # every exclusive page of a folio with a pin is copied
    FORK_PINNED_PAGE         # only the pages that are pinned
    NR_FORK_PINNED

cdef enum fault_order_e:     # P14: which sizes a fault may allocate
    FAULT_ORDER_SYSFS        # those that sysfs and madvise allow
    FAULT_ORDER_NEVER        # single pages
    FAULT_ORDER_PMD          # the huge size
    FAULT_ORDER_UP_TO        # every size up to 2^param
    NR_FAULT_ORDER

cdef enum fault_fallback_e:  # P15
    FALLBACK_NEXT_LOWER
    FALLBACK_COSTLY          # PAGE_ALLOC_COSTLY_ORDER, then single pages
    FALLBACK_SMALL
    NR_FAULT_FALLBACK

cdef enum zero_page_e:       # P17: huge zero page at a read; a huge folio at a write to it
    ZERO_HUGE
    ZERO_SMALL
    NR_ZERO_PAGE

cdef enum partial_unmap_e:   # P21
    PARTIAL_UNMAP_DEFER
    PARTIAL_UNMAP_SPLIT_NOW
    PARTIAL_UNMAP_FREE_PART  # pages that nothing maps are freed; the rest stays as large as it can
    NR_PARTIAL_UNMAP

cdef enum deferred_members_e:       # P22
    DEFERRED_NO
    DEFERRED_YES
    NR_DEFERRED_MEMBERS

cdef enum deferred_event_e:  # when P22 is asked
    DEFERRED_NEW             # a fault or a collapse made the folio
    DEFERRED_PARTIAL         # some of its pages are no longer mapped
    DEFERRED_UNMAPPED        # the last of them went away one by one

cdef enum split_target_e:    # P24
    SPLIT_ORDER0
    SPLIT_LOWER              # folios of 2^param
    SPLIT_NONUNIFORM         # ever smaller halves around the page that is wanted
    NR_SPLIT_TARGET

cdef enum drop_zero_pages_e:        # P24: single pages full of zeros after a split
    ZERO_PAGES_DROP
    ZERO_PAGES_KEEP
    NR_DROP_ZERO_PAGES

cdef enum madv_free_partial_e:      # P25
    MADV_FREE_SPLIT          # split and go on; where that fails, leave the folio and go on
    MADV_FREE_GIVE_UP        # split even what is covered whole; where that fails, leave the rest of the table
    MADV_FREE_MARK_WHOLE     # mark the folio lazily freed, the other pages dirty
    NR_MADV_FREE_PARTIAL

cdef enum partial_evict_e:   # P03
    PARTIAL_EVICT_UNMAP
    PARTIAL_EVICT_SPLIT
    PARTIAL_EVICT_SKIP
    PARTIAL_EVICT_WAIT       # it becomes unevictable, until somebody unlocks
    NR_PARTIAL_EVICT

cdef enum collapse_rule_e:   # P18
    COLLAPSE_YES
    COLLAPSE_EXCEED_NONE     # too many empty entries, or too many swapped out, or shared
    COLLAPSE_EXCEED_SWAP
    COLLAPSE_EXCEED_SHARED
    COLLAPSE_QUADRUPLE       # not the block: neighbouring folios of which most are active
    COLLAPSE_BEST_FIT        # the block, or in it whatever enabled size fits; limit of empty entries: 0, or all but one
    COLLAPSE_BEST_FIT_CAPPED # the same; below half, and in proportion to the size
    COLLAPSE_BEST_FIT_SCALED # the same; in proportion to the size
    NR_COLLAPSE_RULE

cdef enum collapse_vs_free_e:   # P19
    COLLAPSE_FREED
    COLLAPSE_FREED_NOT
    NR_COLLAPSE_VS_FREE

cdef enum underused_e:       # P23
    UNDERUSED_NO             # forget it
    UNDERUSED_SPLIT
    UNDERUSED_KEEP           # it stays on the queue, to be looked at again
    NR_UNDERUSED

cdef enum age_unit_e:        # P27
    AGE_OLD
    AGE_YOUNG
    AGE_SPLIT                # split it: its pages differ
    NR_AGE_UNIT

cdef enum contpte_e:         # P28
    CONTPTE_PAGES
    CONTPTE_FOLD
    NR_CONTPTE

cdef enum contpte_event_e:   # when P28 is asked: a block could be made contiguous
    CONTPTE_AT_SET           # all its entries are being written at once
    CONTPTE_AT_LAST          # its last entry was written, and the others fit

cdef enum swap_large_e:      # P29
    SWAP_WHOLE
    SWAP_ORDER0
    NR_SWAP_LARGE

cdef enum swap_event_e:      # when P29 is asked
    SWAP_OUT
    SWAP_IN

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
# What Linux 6.18 answers.
cdef int policy_linux(int point, const int64_t *arg) noexcept nogil


# An answer that cannot be carried out: the caller of the operation gets a ValueError at its end.
cdef void policy_refuse(machine_t *m, int point, int answer) noexcept nogil


cdef inline bint policy_is_linux(const machine_t *m, int point) noexcept nogil:
    return not (m.policy.custom >> point) & 1


cdef inline int answer_number(int answer) noexcept nogil:
    """The number of "fixed(2)"."""
    return answer >> 8


cdef inline int policy_ask(machine_t *m, int point, const int64_t *arg, int nr_answers) noexcept nogil:
    """One of the point's answers, whatever the slot's function says."""
    cdef const point_t *slot = m.policy.point + point
    cdef int answer = slot.decide(slot.ctx, slot.param, arg)
    if answer < 0 or answer & 0xff >= nr_answers:
        policy_refuse(m, point, answer)
        return policy_linux(point, arg)
    return answer


# ---- the questions ----

cdef inline int ask_vma_split(machine_t *m, int order, int page, bint shared) noexcept nogil:
    """P01: the folio is cut before this page of it; shared: maybe mapped by another process too.  vma_split_e."""
    cdef int64_t arg[3]
    arg[0], arg[1], arg[2] = order, page, shared
    return policy_ask(m, POINT_VMA_SPLIT, arg, NR_VMA_SPLIT)


cdef inline int ask_mlock_rule(machine_t *m, int event, page_t *folio, int nr_mapped, bint pmd,
                               bint within) noexcept nogil:
    """P02: is the folio mlocked (or, when a mapping goes, munlocked) because of this mapping?  mlock_e.

    nr_mapped pages of it are concerned, by a PMD or by PTEs; within: the whole folio lies in the locked range.
    Small folios are never a question.
    """
    cdef int64_t arg[5]
    if not folio_test_large(folio):
        return MLOCK_YES
    arg[0], arg[1], arg[2], arg[3], arg[4] = event, folio_order(folio), nr_mapped, pmd, within
    return policy_ask(m, POINT_MLOCK_RULE, arg, NR_MLOCK)


cdef inline int ask_fork_child_mprotect(machine_t *m, int order, int nr_pages, bint pmd) noexcept nogil:
    """P05: nr_pages of a folio that others may map too are about to be protected.  fork_child_mprotect_e."""
    cdef int64_t arg[3]
    arg[0], arg[1], arg[2] = order, nr_pages, pmd
    return policy_ask(m, POINT_FORK_CHILD_MPROTECT, arg, NR_FORK_MPROTECT)


cdef inline int ask_cow_order(machine_t *m, int order, bint pmd) noexcept nogil:
    """P06: the order of the block that a write fault copies of a folio of this order, mapped by a PMD or not."""
    cdef int64_t arg[2]
    cdef int answer
    if policy_is_linux(m, POINT_COW_ORDER):
        return 0
    arg[0], arg[1] = order, pmd
    answer = policy_ask(m, POINT_COW_ORDER, arg, NR_COW_ORDER)
    if answer & 0xff == COW_FIXED:
        return min(answer_number(answer), FS_HPAGE_PMD_ORDER)
    if answer == COW_WHOLE_HUGE:
        return order if pmd else 0
    return order if answer == COW_INHERIT else 0


cdef inline bint ask_dirty_neighbours(machine_t *m, int order) noexcept nogil:
    """P06: are the pages that were copied along mapped writable and dirty?"""
    cdef int64_t arg = order
    return policy_ask(m, POINT_DIRTY_NEIGHBOURS, &arg, NR_DIRTY_NEIGHBOURS) == NEIGHBOURS_DIRTY


cdef struct reuse_t:         # P07: what is known of the page that is written to, in the order of the arguments
    int64_t order
    int64_t pmd              # mapped by a PMD
    int64_t exclusive        # PG_anon_exclusive
    int64_t refcount         # of the folio, as are the next
    int64_t mapcount
    int64_t shared           # maybe mapped by another process: what the two owner slots say
    int64_t stopped          # a third process once mapped it
    int64_t page_mapcount    # mappings of this page, whoever makes them


cdef inline bint ask_cow_reuse(machine_t *m, const reuse_t *known) noexcept nogil:
    """P07: may the writer keep the page?  Not what another process maps, whatever the answer."""
    if policy_ask(m, POINT_COW_REUSE, <const int64_t *>known, NR_COW_REUSE) != COW_REUSE:
        return False
    if known.page_mapcount != 1:
        policy_refuse(m, POINT_COW_REUSE, COW_REUSE)
        return False
    return True


cdef inline int ask_reuse_around(machine_t *m, int order) noexcept nogil:
    """P07: the order of the window that becomes writable with a page that is kept."""
    cdef int64_t arg = order
    cdef int answer
    if policy_is_linux(m, POINT_REUSE_AROUND):
        return 0
    answer = policy_ask(m, POINT_REUSE_AROUND, &arg, NR_REUSE_AROUND)
    return min(answer_number(answer), FS_HPAGE_PMD_ORDER) if answer & 0xff == REUSE_WINDOW else 0


cdef inline int ask_mapcount_model(machine_t *m, int order) noexcept nogil:
    """P08: which mapcounts of a large folio are there to be asked?  mapcount_model_e."""
    cdef int64_t arg = order
    if policy_is_linux(m, POINT_MAPCOUNT_MODEL):
        return MAPCOUNT_PER_PAGE
    return policy_ask(m, POINT_MAPCOUNT_MODEL, &arg, NR_MAPCOUNT_MODEL)


cdef inline int ask_pin(machine_t *m, int order, int nr_pages, bint longterm) noexcept nogil:
    """P10, P11: nr_pages of the folio are about to be referenced or pinned.  pin_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = order, nr_pages
    return policy_ask(m, POINT_PIN_LONG if longterm else POINT_PIN_SHORT, arg, NR_PIN)


cdef inline int ask_fork_pinned(machine_t *m, int order) noexcept nogil:
    """P13: which pages of a folio with pins does fork copy?  fork_pinned_e."""
    cdef int64_t arg = order
    if policy_is_linux(m, POINT_FORK_PINNED):
        return FORK_PINNED_FOLIO
    return policy_ask(m, POINT_FORK_PINNED, &arg, NR_FORK_PINNED)


cdef inline int ask_fault_order(machine_t *m, bint khugepaged, bint advised, uint32_t sysfs,
                                uint64_t pages) noexcept nogil:
    """P14: which sizes may a fault, or khugepaged, use in a VMA of so many pages, with MADV_HUGEPAGE or not?
    fault_order_e; sysfs: the mask of orders that the settings allow."""
    cdef int64_t arg[4]
    arg[0], arg[1], arg[2], arg[3] = khugepaged, advised, sysfs, <int64_t>pages
    return policy_ask(m, POINT_FAULT_ORDER, arg, NR_FAULT_ORDER)


cdef inline int ask_fault_fallback(machine_t *m, int order) noexcept nogil:
    """P15: no memory for this order; which is tried next?  fault_fallback_e."""
    cdef int64_t arg = order
    return policy_ask(m, POINT_FAULT_FALLBACK, &arg, NR_FAULT_FALLBACK)


cdef inline int ask_zero_page(machine_t *m, bint write) noexcept nogil:
    """P17: a read of an empty huge block, or a write to the huge zero page.  zero_page_e."""
    cdef int64_t arg = write
    return policy_ask(m, POINT_ZERO_PAGE, &arg, NR_ZERO_PAGE)


cdef inline int ask_partial_unmap(machine_t *m, int order, int nr_mapped) noexcept nogil:
    """P21: only nr_mapped pages of the folio are left mapped.  partial_unmap_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = order, nr_mapped
    return policy_ask(m, POINT_PARTIAL_UNMAP, arg, NR_PARTIAL_UNMAP)


cdef inline bint ask_deferred_members(machine_t *m, int event, int order) noexcept nogil:
    """P22: does the folio go on the deferred split queue?"""
    cdef int64_t arg[2]
    arg[0], arg[1] = event, order
    return policy_ask(m, POINT_DEFERRED_MEMBERS, arg, NR_DEFERRED_MEMBERS) == DEFERRED_YES


cdef inline int ask_split_target(machine_t *m, int order) noexcept nogil:
    """P24: into what is a folio split that must go?  split_target_e."""
    cdef int64_t arg = order
    if policy_is_linux(m, POINT_SPLIT_TARGET):
        return SPLIT_ORDER0
    return policy_ask(m, POINT_SPLIT_TARGET, &arg, NR_SPLIT_TARGET)


cdef inline bint ask_drop_zero_pages(machine_t *m) noexcept nogil:
    """P24: does the zero page take the place of single pages full of zeros after a split?"""
    if policy_is_linux(m, POINT_DROP_ZERO_PAGES):
        return True
    return policy_ask(m, POINT_DROP_ZERO_PAGES, NULL, NR_DROP_ZERO_PAGES) == ZERO_PAGES_DROP


cdef inline int ask_madv_free_partial(machine_t *m, int order, int nr_pages) noexcept nogil:
    """P25: MADV_FREE covers nr_pages of the folio.  madv_free_partial_e."""
    cdef int64_t arg[2]
    if policy_is_linux(m, POINT_MADV_FREE_PARTIAL):
        return MADV_FREE_SPLIT
    arg[0], arg[1] = order, nr_pages
    return policy_ask(m, POINT_MADV_FREE_PARTIAL, arg, NR_MADV_FREE_PARTIAL)


cdef inline int ask_partial_evict(machine_t *m, int order, int64_t nr_locked) noexcept nogil:
    """P03: reclaim meets a folio of which nr_locked pages are in locked VMAs, and not all.  partial_evict_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = order, nr_locked
    return policy_ask(m, POINT_PARTIAL_EVICT, arg, NR_PARTIAL_EVICT)


cdef inline int ask_collapse_rule(machine_t *m, const int64_t *arg) noexcept nogil:
    """P18: khugepaged looks at a block: pages none, zero_filled, swap, shared, and the limits max_ptes_none, _swap,
    _shared.  collapse_rule_e."""
    return policy_ask(m, POINT_COLLAPSE_RULE, arg, NR_COLLAPSE_RULE)


cdef inline int ask_collapse_vs_free(machine_t *m, int64_t scans, int64_t nr_none) noexcept nogil:
    """P19: pages of the block were freed by the program; since then khugepaged looked at it so many times, this one
    included, and nr_none pages are empty.  collapse_vs_free_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = scans, nr_none
    return policy_ask(m, POINT_COLLAPSE_VS_FREE, arg, NR_COLLAPSE_VS_FREE)


cdef inline int ask_underused(machine_t *m, int64_t nr_zero, int64_t max_ptes_none, int64_t nr_accessed,
                              bint one_half) noexcept nogil:
    """P23: is a folio of so many zero-filled pages underused?  nr_accessed of its pages were used since the last
    look, all in one half of it or not.  underused_e."""
    cdef int64_t arg[4]
    arg[0], arg[1], arg[2], arg[3] = nr_zero, max_ptes_none, nr_accessed, one_half
    return policy_ask(m, POINT_UNDERUSED, arg, NR_UNDERUSED)


cdef inline int ask_age_unit(machine_t *m, int order, int64_t nr_young, int64_t nr_mapped) noexcept nogil:
    """P27: was a large folio used, of whose mapped pages some have accessed entries?  age_unit_e."""
    cdef int64_t arg[3]
    arg[0], arg[1], arg[2] = order, nr_young, nr_mapped
    return policy_ask(m, POINT_AGE_UNIT, arg, NR_AGE_UNIT)


cdef inline bint ask_contpte(machine_t *m, int event) noexcept nogil:
    """P28: does the block become a contiguous one?  contpte_e."""
    cdef int64_t arg = event
    return policy_ask(m, POINT_CONTPTE, &arg, NR_CONTPTE) == CONTPTE_FOLD


cdef inline int ask_swap_large(machine_t *m, int event, int order, bint enabled) noexcept nogil:
    """P29: does a folio of this order go to swap, or come from it, as it is?  enabled: a PMD maps it (out), faults may
    use the order (in).  swap_large_e."""
    cdef int64_t arg[3]
    arg[0], arg[1], arg[2] = event, order, enabled
    return policy_ask(m, POINT_SWAP_LARGE, arg, NR_SWAP_LARGE)
