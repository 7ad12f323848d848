# cython: language_level=3
"""Compiled alternatives of the policy points; the first of each is what Linux 6.18 does.

A point's *answers* are what may be decided (policy.pxd has the numbers).  Each answer is an alternative of its name,
that always decides so; a *rule* is an alternative that decides by the arguments.  The table of names, with sources,
that users see is foliosim/policy/points.py; a test keeps the two alike.
"""
from libc.string cimport memcpy

cdef enum:
    POLICY_ABI = 2


cdef int always(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """The alternatives that decide alike whatever is asked."""
    return param


# ---- P02 mlock_rule: event, order, nr_mapped, pmd, within ----

cdef int mlock_contained_eager(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Follows mlock_pte_range, __folio_add_rmap and munlock_vma_folio of 6.18."""
    if arg[0] == MLOCK_AT_SYSCALL or arg[0] == MLOCK_AT_RMAP_ADD:
        return MLOCK_YES if arg[3] or (arg[4] and arg[2] == 1 << arg[1]) else MLOCK_NO
    return MLOCK_YES


cdef int mlock_contained_lazy(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As 6.7: a large folio mapped into a locked VMA is not seen before mlock() or reclaim meets it."""
    return MLOCK_NO if arg[0] == MLOCK_AT_RMAP_ADD else mlock_contained_eager(ctx, param, arg)


cdef int mlock_pmd_only(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """As before 6.7: only PMD mappings of large folios count."""
    return MLOCK_YES if arg[3] else MLOCK_NO


cdef int mlock_split(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """A folio that is only partly locked is split, so that the locked pages stand alone."""
    if arg[0] == MLOCK_AT_SYSCALL and not (arg[3] or (arg[4] and arg[2] == 1 << arg[1])):
        return MLOCK_SPLIT
    return mlock_contained_eager(ctx, param, arg)


cdef int mlock_forbid(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """No large folio in a locked range: split it on mlock."""
    if arg[0] == MLOCK_AT_SYSCALL:
        return MLOCK_SPLIT
    return MLOCK_NO if arg[0] == MLOCK_AT_RMAP_ADD else MLOCK_YES


# ---- P10 pin_short, P11 pin_long: order, nr_pages ----

cdef int pin_split(void *ctx, int param, const int64_t *arg) noexcept nogil:
    """Split a folio of which only a part is pinned."""
    return PIN_SPLIT if arg[1] < 1 << arg[0] else PIN_NO_SPLIT


# ---- the table ----

POINT_NAMES = (
    "vma_split", "mlock_rule", "partial_evict", "fork_child_mprotect", "cow_order", "cow_neighbours", "cow_reuse",
    "mapcount_model", "pin_short", "pin_long", "pin_account", "fork_pinned", "fault_order", "fault_fallback",
    "zero_page", "collapse_rule", "collapse_vs_free", "partial_unmap", "deferred_members", "underused",
    "split_target", "madv_free_partial", "age_unit", "swap_large")

# What may be answered, also by a hook.
ANSWERS = {
    "vma_split": {"keep": VMA_SPLIT_KEEP, "split_try": VMA_SPLIT_TRY, "split_try_defer": VMA_SPLIT_TRY_DEFER,
                  "defer_always": VMA_SPLIT_DEFER_ALWAYS, "split_nonuniform": VMA_SPLIT_NONUNIFORM},
    "mlock_rule": {False: MLOCK_NO, True: MLOCK_YES, "split": MLOCK_SPLIT},
    "cow_order": {"order0": COW_ORDER0, "inherit": COW_INHERIT},
    "pin_short": {"no_split": PIN_NO_SPLIT, "split": PIN_SPLIT},
    "pin_long": {"no_split": PIN_NO_SPLIT, "split": PIN_SPLIT},
}

# Alternatives that are not one answer always: the function, or the answer under another name.
cdef dict RULES = {
    "mlock_rule": {
        "contained_eager": <size_t>&mlock_contained_eager, "contained_lazy": <size_t>&mlock_contained_lazy,
        "pmd_only": <size_t>&mlock_pmd_only, "split": <size_t>&mlock_split, "forbid": <size_t>&mlock_forbid},
    "pin_short": {"split": <size_t>&pin_split},
    "pin_long": {"split": <size_t>&pin_split},
}
cdef dict ALIASES = {"mlock_rule": {"whole": MLOCK_YES}}
# Answers of these points are only given by rules and hooks.
cdef set RULES_ONLY = {"mlock_rule"}

# Linux 6.18's alternative where it is a rule; elsewhere it is answer 0.
cdef dict LINUX_RULES = {"mlock_rule": "contained_eager"}
cdef point_t LINUX[NR_POINTS]


cdef void policy_init(policy_t *policy) noexcept nogil:
    policy.size = sizeof(policy_t)
    policy.abi = POLICY_ABI
    policy.custom = 0
    memcpy(policy.point, LINUX, sizeof(LINUX))


cdef int policy_point(str point) except -1:
    if point not in ANSWERS:
        raise KeyError(point)
    return POINT_NAMES.index(point)


cdef void policy_put(policy_t *policy, int point, decide_t decide, void *ctx, int param) noexcept nogil:
    policy.point[point].decide = decide
    policy.point[point].ctx = ctx
    policy.point[point].param = param
    if decide == LINUX[point].decide and param == LINUX[point].param:
        policy.custom &= ~(<uint64_t>1 << point)
    else:
        policy.custom |= <uint64_t>1 << point


cdef int policy_set(policy_t *policy, int point, str name, int param) except -1:
    cdef str which = POINT_NAMES[point]
    if name in RULES.get(which, ()):
        policy_put(policy, point, <decide_t><void *><size_t>RULES[which][name], NULL, param)
    elif name in ALIASES.get(which, ()):
        policy_put(policy, point, always, NULL, ALIASES[which][name])
    else:
        policy_put(policy, point, always, NULL, ANSWERS[which][name] | param << 8)
    return 0


cdef int policy_linux(int point, const int64_t *arg) noexcept nogil:
    return LINUX[point].decide(NULL, LINUX[point].param, arg)


cdef int fill_linux() except -1:
    cdef int point
    for point, name in enumerate(POINT_NAMES):
        LINUX[point].decide = always
        if name in LINUX_RULES:
            LINUX[point].decide = <decide_t><void *><size_t>RULES[name][LINUX_RULES[name]]
    return 0


fill_linux()


def compiled_alternatives():
    """``{point: (names...)}`` of what is compiled in."""
    return {point: tuple(dict.fromkeys(
        [name for name in answers if point not in RULES_ONLY] + list(RULES.get(point, ())) +
        list(ALIASES.get(point, ())))) for point, answers in ANSWERS.items()}
