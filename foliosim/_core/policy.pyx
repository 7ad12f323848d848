# cython: language_level=3
"""Compiled alternatives of the policy points.  What Linux 6.18 does is in linux_rules.pxd.

A point's *answers* are what may be decided (answers.pxd has the numbers).  Each answer is an alternative of its name,
that always decides so; a *rule* is an alternative that decides by the arguments.  The table of names, with sources,
that users see is foliosim/policy/points.py; a test keeps the two alike.
"""
from foliosim._core.linux_rules cimport *

cdef int linux_decides(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """What an empty slot holds; param: the point."""
    return linux_answer(param, arg)


cdef int always(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """The alternatives that decide alike whatever is asked."""
    return param


# ---- P02 mlock_rule: event, order, nr_mapped, pmd, within ----

cdef int mlock_contained_lazy(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As 6.7: a large folio mapped into a locked VMA is not seen before mlock() or reclaim meets it."""
    return MLOCK_NO if arg[0] == MLOCK_AT_RMAP_ADD else linux_mlock_rule(arg)


cdef int mlock_pmd_only(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.7: only PMD mappings of large folios count."""
    return MLOCK_YES if arg[3] else MLOCK_NO


cdef int mlock_split(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """A folio that is only partly locked is split, so that the locked pages stand alone."""
    return MLOCK_SPLIT if arg[0] == MLOCK_AT_SYSCALL and linux_mlock_rule(arg) == MLOCK_NO else linux_mlock_rule(arg)


cdef int mlock_copy_out(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """The locked part of a folio that is only partly locked gets folios of its own."""
    return MLOCK_COPY_OUT if arg[0] == MLOCK_AT_SYSCALL and linux_mlock_rule(arg) == MLOCK_NO \
        else linux_mlock_rule(arg)


cdef int mlock_forbid(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """No large folio in a locked range: split it on mlock."""
    if arg[0] == MLOCK_AT_SYSCALL:
        return MLOCK_SPLIT
    return MLOCK_NO if arg[0] == MLOCK_AT_RMAP_ADD else MLOCK_YES


# ---- P07 cow_reuse: reuse_t ----

cdef int reuse_exclusive_only(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As 6.10 to 6.14: of a large folio mapped by PTEs only pages that were never shared."""
    cdef const reuse_t *known = <const reuse_t *>arg
    if known.order and not known.pmd:
        return COW_REUSE if known.exclusive else COW_COPY
    return linux_cow_reuse(arg)


cdef int reuse_exclusive_or_last(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As 5.19 to 6.9: the last page that is still mapped keeps the whole large folio."""
    cdef const reuse_t *known = <const reuse_t *>arg
    return COW_REUSE if known.exclusive or known.refcount == 1 else COW_COPY


cdef int reuse_refcount_one(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 5.19, when nothing marked a page as exclusive."""
    cdef const reuse_t *known = <const reuse_t *>arg
    return COW_REUSE if known.refcount == 1 else COW_COPY


cdef int reuse_exact(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Whenever nobody else maps the page and all references of the folio are mappings."""
    cdef const reuse_t *known = <const reuse_t *>arg
    if known.exclusive:
        return COW_REUSE
    return COW_REUSE if known.page_mapcount == 1 and known.mapcount == known.refcount else COW_COPY


cdef int reuse_saturating(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """A count of owners that stops for good once there were three."""
    cdef const reuse_t *known = <const reuse_t *>arg
    return COW_COPY if known.stopped and not known.exclusive else linux_cow_reuse(arg)


# ---- P10 pin_short, P11 pin_long: order, nr_pages ----

cdef int pin_partly(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """What param says, for a folio of which only a part is pinned."""
    return param if arg[1] < 1 << arg[0] else PIN_NO_SPLIT


# ---- P12 pin_account: order, nr_pages, again, known ----

cdef int account_head_refcounted(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return PIN_ACCOUNT_PAGES if arg[0] == 0 else PIN_ACCOUNT_SHARED


cdef int account_per_buffer(void *ctx, int param, const int64_t *arg) noexcept nogil:
    if arg[0] == 0:
        return PIN_ACCOUNT_PAGES
    return PIN_ACCOUNT_NOTHING if arg[2] else PIN_ACCOUNT_FOLIO


# ---- P14 fault_order: khugepaged, advised, sysfs, pages ----

cdef int fault_advised(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """The huge size where MADV_HUGEPAGE asks for it."""
    return FAULT_ORDER_PMD if arg[1] else FAULT_ORDER_NEVER


cdef int fault_defer(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Single pages at a fault, unless advised; khugepaged makes them huge wherever it may."""
    return FAULT_ORDER_PMD if arg[0] or arg[1] else FAULT_ORDER_NEVER


cdef int fault_pmd_enabled(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.8: the huge size is the only one, and transparent_hugepage/enabled rules it."""
    return FAULT_ORDER_PMD if arg[2] & (1 << FS_HPAGE_PMD_ORDER) else FAULT_ORDER_NEVER


cdef int fault_vma_scaled(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Sizes up to 1/32 of the VMA."""
    cdef int order = 0
    while order < FS_HPAGE_PMD_ORDER and arg[3] >> 5 >= 2 << order:
        order += 1
    return FAULT_ORDER_UP_TO | order << 8 if order >= 2 else FAULT_ORDER_NEVER


# ---- P17 zero_page: write ----

cdef int zero_then_small(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.13: a write to the huge zero page gets a single page."""
    return ZERO_SMALL if arg[0] else ZERO_HUGE


# ---- P21 partial_unmap: order, nr_mapped ----

cdef int unmap_split_up_to(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return PARTIAL_UNMAP_SPLIT_NOW if arg[0] <= param else PARTIAL_UNMAP_DEFER


# ---- P22 deferred_members: event, order ----

cdef int members_partially_mapped(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.10: also folios whose last pages went away page by page."""
    return DEFERRED_NO if arg[0] == DEFERRED_NEW else DEFERRED_YES


cdef int members_not_unmapped(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As 6.10 and 6.11."""
    return DEFERRED_YES if arg[0] == DEFERRED_PARTIAL else DEFERRED_NO


cdef int members_any_order(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """New folios of every order that has room for the list."""
    return DEFERRED_NO if arg[0] == DEFERRED_UNMAPPED else DEFERRED_YES


# ---- P18 collapse_rule: none, zero_filled, swap, shared, max_none, max_swap, max_shared ----

cdef int collapse_count_zero(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """A page of zeros is as good as none: the shrinker would take it away again."""
    return collapse_within(arg[0] + arg[1], arg)


cdef int collapse_eagerness(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """One scale in place of max_ptes_none: 10 needs one page, each step less twice as many may not be empty, 1 all."""
    return COLLAPSE_EXCEED_NONE if arg[0] >= FS_HPAGE_PMD_NR >> (10 - param) else collapse_within(0, arg)


cdef int collapse_bitmap(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Every enabled size is looked at, so that empty entries of the block as a whole decide nothing."""
    cdef int answer = collapse_within(0, arg)
    return param if answer == COLLAPSE_YES else answer


# ---- P19 collapse_vs_free: scans, nr_none ----

cdef int free_backoff(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return COLLAPSE_FREED_NOT if arg[0] <= param else COLLAPSE_FREED


cdef int free_respect(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As long as what was freed is not in use again."""
    return COLLAPSE_FREED_NOT if arg[1] else COLLAPSE_FREED


# ---- P23 underused: nr_zero, max_ptes_none, nr_accessed, one_half ----

cdef int underused_zero_filled(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As thp_underused, with a limit of its own."""
    return UNDERUSED_SPLIT if arg[0] > param and param != FS_HPAGE_PMD_NR - 1 else UNDERUSED_NO


cdef int underused_incl_511(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return UNDERUSED_SPLIT if arg[0] > arg[1] else UNDERUSED_NO


cdef int underused_bucketed(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Ten buckets by how many pages are in use, the last one with what is left over; the lowest ones are emptied."""
    cdef int64_t bucket = min(9, (FS_HPAGE_PMD_NR - arg[0]) // (FS_HPAGE_PMD_NR // 10))
    return UNDERUSED_SPLIT if bucket < param else UNDERUSED_KEEP


cdef int underused_accessed_half(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return UNDERUSED_SPLIT if 2 * arg[2] < FS_HPAGE_PMD_NR and arg[3] else UNDERUSED_KEEP


# ---- P27 age_unit: order, nr_young, nr_mapped ----

cdef int age_majority(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return AGE_YOUNG if 2 * arg[1] > arg[2] else AGE_OLD


cdef int age_per_page(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return AGE_SPLIT if 0 < arg[1] < arg[2] else linux_age_unit(arg)


# ---- P28 contpte: event ----

cdef int contpte_on_set(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return CONTPTE_FOLD if arg[0] == CONTPTE_AT_SET else CONTPTE_PAGES


# ---- P29 swap_large: event, order, enabled ----

cdef int swap_pmd_mapped(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.10: out as it is if a PMD maps it (shrink_folio_list), in page by page."""
    return SWAP_WHOLE if arg[0] == SWAP_OUT and arg[2] else SWAP_ORDER0


cdef int swap_in_order0(void *ctx, int param, const int64_t *arg) noexcept nogil:
    return SWAP_WHOLE if arg[0] == SWAP_OUT else SWAP_ORDER0


# ---- asking ----

cdef bint held_in_swap(const machine_t *m, uint32_t pfn, uint32_t nr) noexcept nogil:
    """Does a swap entry hold one of these pages, which are in the swap cache if that is so?"""
    cdef uint32_t i, slot
    for i in range(nr if m.swap.nr else 0):
        slot = m.swap.of_page[pfn + i]
        if slot and m.swap.slots[slot].count:
            return True
    return False


cdef bint policy_cow_reuse(machine_t *m, page_t *folio, uint32_t pfn, bint pmd) noexcept nogil:
    """What the owner slots do not tell is looked up."""
    cdef reuse_t known
    reuse_known(m, folio, pfn, pmd, &known)
    known.stopped = folio_test_large(folio) and folio_tail3(folio).marks & TAIL3_STOPPED
    known.page_mapcount = known.mapcount if pmd else page_precise_mapcount(m, pfn)
    if policy_decide(m, POINT_COW_REUSE, NR_COW_REUSE, <const int64_t *>&known) != COW_REUSE:
        return False
    if known.page_mapcount == 1 and not held_in_swap(m, pfn, FS_HPAGE_PMD_NR if pmd else 1):
        return True
    policy_refuse(m, POINT_COW_REUSE, COW_REUSE)
    return False


# ---- the table ----

POINT_NAMES = (
    "vma_split", "mlock_rule", "partial_evict", "fork_child_mprotect", "cow_order", "dirty_neighbours", "cow_reuse",
    "reuse_around", "mapcount_model", "pin_short", "pin_long", "pin_account", "fork_pinned", "fault_order",
    "fault_fallback", "zero_page", "collapse_rule", "collapse_vs_free", "partial_unmap", "deferred_members",
    "underused", "split_target", "drop_zero_pages", "madv_free_partial", "age_unit", "contpte", "swap_large")

# What may be answered, also by a hook.
ANSWERS = {
    "vma_split": {"keep": VMA_SPLIT_KEEP, "split_try": VMA_SPLIT_TRY, "split_try_defer": VMA_SPLIT_TRY_DEFER,
                  "defer_always": VMA_SPLIT_DEFER_ALWAYS, "defer_recheck": VMA_SPLIT_DEFER_RECHECK,
                  "split_nonuniform": VMA_SPLIT_NONUNIFORM, "copy_out": VMA_SPLIT_COPY_OUT,
                  "retry": VMA_SPLIT_RETRY, "fail": VMA_SPLIT_FAIL},
    "mlock_rule": {False: MLOCK_NO, True: MLOCK_YES, "split": MLOCK_SPLIT, "copy_out": MLOCK_COPY_OUT},
    "fork_child_mprotect": {"pmd_split_child": FORK_MPROTECT_KEEP, "split_both": FORK_MPROTECT_SPLIT,
                            "cow_whole": FORK_MPROTECT_COW_WHOLE, "cow_part": FORK_MPROTECT_COW_PART},
    "cow_order": {"order0": COW_ORDER0, "inherit": COW_INHERIT, "fixed": COW_FIXED, "whole_huge": COW_WHOLE_HUGE},
    "dirty_neighbours": {"yes": NEIGHBOURS_DIRTY, "no": NEIGHBOURS_CLEAN},
    "cow_reuse": {"copy": COW_COPY, "reuse": COW_REUSE},
    "reuse_around": {"off": REUSE_ONE, "window": REUSE_WINDOW},
    "mapcount_model": {"per_page+nr_mapped": MAPCOUNT_PER_PAGE, "large_only": MAPCOUNT_LARGE_ONLY,
                       "per_vma_table": MAPCOUNT_PER_VMA_TABLE},
    "pin_short": {"no_split": PIN_NO_SPLIT, "split": PIN_SPLIT_TRY, "per_page_count": PIN_PER_PAGE},
    "pin_long": {"no_split": PIN_NO_SPLIT, "split_try": PIN_SPLIT_TRY, "split": PIN_SPLIT, "move_out": PIN_MOVE_OUT},
    "pin_account": {"nothing": PIN_ACCOUNT_NOTHING, "pages": PIN_ACCOUNT_PAGES, "folio": PIN_ACCOUNT_FOLIO,
                    "shared": PIN_ACCOUNT_SHARED},
    "fork_pinned": {"copy_whole_folio": FORK_PINNED_FOLIO, "copy_pinned_page": FORK_PINNED_PAGE,
                    "dontfork": FORK_PINNED_DONTFORK},
    "fault_order": {"mthp": FAULT_ORDER_SYSFS, "never": FAULT_ORDER_NEVER, "always": FAULT_ORDER_PMD,
                    "up_to": FAULT_ORDER_UP_TO},
    "fault_fallback": {"next_lower_enabled": FALLBACK_NEXT_LOWER, "costly_then_0": FALLBACK_COSTLY,
                       "straight_to_0": FALLBACK_SMALL},
    "zero_page": {"huge": ZERO_HUGE, "small": ZERO_SMALL},
    "partial_unmap": {"defer": PARTIAL_UNMAP_DEFER, "split_now": PARTIAL_UNMAP_SPLIT_NOW,
                      "free_part_only": PARTIAL_UNMAP_FREE_PART},
    "deferred_members": {False: DEFERRED_NO, True: DEFERRED_YES},
    "split_target": {"order0_uniform": SPLIT_ORDER0, "lower_uniform": SPLIT_LOWER, "nonuniform": SPLIT_NONUNIFORM},
    "drop_zero_pages": {"yes": ZERO_PAGES_DROP, "no": ZERO_PAGES_KEEP},
    "madv_free_partial": {"split_continue": MADV_FREE_SPLIT, "give_up": MADV_FREE_GIVE_UP,
                          "mark_whole": MADV_FREE_MARK_WHOLE},
    "partial_evict": {"unmap_rest": PARTIAL_EVICT_UNMAP, "split_then_sort": PARTIAL_EVICT_SPLIT,
                      "skip_folio": PARTIAL_EVICT_SKIP, "evict_none_until_unlock": PARTIAL_EVICT_WAIT},
    "collapse_rule": {True: COLLAPSE_YES, "exceed_none": COLLAPSE_EXCEED_NONE, "exceed_swap": COLLAPSE_EXCEED_SWAP,
                      "exceed_shared": COLLAPSE_EXCEED_SHARED, "quadruple_active": COLLAPSE_QUADRUPLE,
                      "bitmap_best_fit": COLLAPSE_BEST_FIT, "bitmap_best_fit_capped": COLLAPSE_BEST_FIT_CAPPED,
                      "bitmap_best_fit_scaled": COLLAPSE_BEST_FIT_SCALED},
    "collapse_vs_free": {"on": COLLAPSE_FREED, "off": COLLAPSE_FREED_NOT},
    "underused": {False: UNDERUSED_NO, True: UNDERUSED_SPLIT, "keep": UNDERUSED_KEEP},
    "age_unit": {"old": AGE_OLD, "young": AGE_YOUNG, "split": AGE_SPLIT},
    "contpte": {False: CONTPTE_PAGES, True: CONTPTE_FOLD},
    "swap_large": {"whole": SWAP_WHOLE, "order0": SWAP_ORDER0},
}

# Answers that take a number, and the least and greatest one.
NUMBERS = {("vma_split", "retry"): (1, 100), ("cow_order", "fixed"): (2, 9), ("reuse_around", "window"): (1, 9),
           ("fault_order", "up_to"): (2, 9), ("split_target", "lower_uniform"): (2, 8)}

# Of these, those whose number may be left out.
OPTIONAL = {("vma_split", "retry")}

# Alternatives that are not one answer always: the function, and its param where that is not the user's number.
cdef dict RULES = {
    "mlock_rule": {
        "contained_lazy": <size_t>&mlock_contained_lazy, "pmd_only": <size_t>&mlock_pmd_only,
        "split": <size_t>&mlock_split, "copy_out": <size_t>&mlock_copy_out, "forbid": <size_t>&mlock_forbid},
    "cow_reuse": {
        "anon_exclusive_only": <size_t>&reuse_exclusive_only, "exclusive_or_last": <size_t>&reuse_exclusive_or_last,
        "refcount_one": <size_t>&reuse_refcount_one, "exact_owner_set": <size_t>&reuse_exact,
        "saturating": <size_t>&reuse_saturating},
    "pin_short": {"split": <size_t>&pin_partly},
    "pin_long": {"split": <size_t>&pin_partly, "split_try": <size_t>&pin_partly, "move_out": <size_t>&pin_partly},
    "pin_account": {"head_refcounted": <size_t>&account_head_refcounted, "per_buffer": <size_t>&account_per_buffer},
    "fault_order": {"madvise": <size_t>&fault_advised, "defer": <size_t>&fault_defer,
                    "pmd_enabled": <size_t>&fault_pmd_enabled, "vma_scaled": <size_t>&fault_vma_scaled},
    "zero_page": {"huge_then_small": <size_t>&zero_then_small},
    "partial_unmap": {"split_now_if_order": <size_t>&unmap_split_up_to},
    "deferred_members": {
        "partially_mapped": <size_t>&members_partially_mapped,
        "exclude_fully_unmapped": <size_t>&members_not_unmapped, "order>=2": <size_t>&members_any_order},
    "collapse_rule": {
        "count_zero_as_none": <size_t>&collapse_count_zero, "eagerness": <size_t>&collapse_eagerness,
        "bitmap_best_fit": <size_t>&collapse_bitmap, "bitmap_best_fit_capped": <size_t>&collapse_bitmap,
        "bitmap_best_fit_scaled": <size_t>&collapse_bitmap},
    "collapse_vs_free": {"backoff": <size_t>&free_backoff, "respect_recent_dontneed": <size_t>&free_respect},
    "underused": {"zero_filled": <size_t>&underused_zero_filled, "zero_filled_incl_511": <size_t>&underused_incl_511,
                  "bucketed_lru": <size_t>&underused_bucketed, "accessed_half": <size_t>&underused_accessed_half},
    "age_unit": {"majority": <size_t>&age_majority, "per_page": <size_t>&age_per_page},
    "contpte": {"fold_on_set": <size_t>&contpte_on_set},
    "swap_large": {"order0": <size_t>&swap_in_order0, "pmd_whole": <size_t>&swap_pmd_mapped},
}
cdef dict ALIASES = {"mlock_rule": {"whole": MLOCK_YES}, "pin_account": {"per_page": PIN_ACCOUNT_PAGES},
                     "collapse_rule": {"quadruple_active": COLLAPSE_QUADRUPLE},
                     "underused": {"off": UNDERUSED_NO}, "contpte": {"off": CONTPTE_PAGES},
                     "swap_large": {"split_first": SWAP_ORDER0, "original_order": SWAP_WHOLE}}
# Linux 6.18's alternative where it is a rule; elsewhere it is the answer 0.  Answers of these points are only given by
# rules and hooks.
cdef dict LINUX_RULES = {"mlock_rule": "contained_eager", "cow_reuse": "mm_owner_two_slots",
                         "pin_account": "head_once", "deferred_members": "+all_new_thp",
                         "collapse_rule": "pmd_only", "underused": "zero_filled", "age_unit": "folio_any",
                         "contpte": "fold_opportunistic", "swap_large": "whole"}


cdef void policy_init(policy_t *policy) noexcept nogil:
    cdef int point
    for point in range(NR_POINTS):
        policy_reset(policy, point)


cdef int policy_point(str point) except -1:
    if point not in ANSWERS:
        raise KeyError(point)
    return POINT_NAMES.index(point)


cdef str policy_point_name(int point):
    return POINT_NAMES[point]


cdef str policy_refusal(str point, int answer):
    if point == "cow_reuse" and answer == COW_REUSE:
        return " ('reuse') for a page that another process maps or has in swap"
    return f", valid are {', '.join(f'{number} ({name!r})' for name, number in ANSWERS[point].items())}"


cdef void policy_put(policy_t *policy, int point, decide_t decide, void *ctx, int param) noexcept nogil:
    policy.point[point].decide = decide
    policy.point[point].ctx = ctx
    policy.point[point].param = param
    policy.custom |= <uint64_t>1 << point


cdef void policy_reset(policy_t *policy, int point) noexcept nogil:
    policy_put(policy, point, linux_decides, NULL, point)
    policy.custom &= ~(<uint64_t>1 << point)


def linux_alternative(str point):
    """The name of what Linux 6.18 does."""
    return LINUX_RULES.get(point) or next(name for name, answer in ANSWERS[point].items() if answer == 0)


cdef int policy_set(policy_t *policy, int point, str name, int param) except -1:
    cdef str which = POINT_NAMES[point]
    if name == linux_alternative(which) and not param:
        policy_reset(policy, point)
    elif name in RULES.get(which, ()):
        policy_put(policy, point, <decide_t><void *><size_t>RULES[which][name], NULL, ANSWERS[which].get(name, param))
    elif name in ALIASES.get(which, ()):
        policy_put(policy, point, always, NULL, ALIASES[which][name])
    else:
        policy_put(policy, point, always, NULL, ANSWERS[which][name] | param << 8)
    return 0


cdef void policy_refuse(machine_t *m, int point, int answer) noexcept nogil:
    if not m.refused_point:
        m.refused_point = 1 + point
        m.refused_answer = answer


def compiled_alternatives():
    """``{point: (names...)}`` of what is compiled in, Linux's first."""
    return {point: tuple(dict.fromkeys(
        [linux_alternative(point)] + [name for name in answers if point not in LINUX_RULES]
        + list(RULES.get(point, ())) + list(ALIASES.get(point, ())))) for point, answers in ANSWERS.items()}
