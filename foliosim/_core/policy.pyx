# cython: language_level=3
"""Policy points P01, P02, P06, P10, P11 and their compiled alternatives; the default is what Linux 6.18 does.

The table of names, with sources, that users see is foliosim/policy/points.py; a test keeps the two alike.
"""
cdef enum:
    POLICY_ABI = 1

# ---- P01 vma_split: a VMA is cut in the middle of a folio ----

cdef int vma_split_keep(void *ctx, int order, int page, bint shared) noexcept nogil:
    """Follows vma_adjust_trans_huge: only the PMD is split."""
    return VMA_SPLIT_KEEP

cdef int vma_split_try(void *ctx, int order, int page, bint shared) noexcept nogil:
    return VMA_SPLIT_TRY

cdef int vma_split_try_defer(void *ctx, int order, int page, bint shared) noexcept nogil:
    return VMA_SPLIT_TRY_DEFER

cdef int vma_split_defer_always(void *ctx, int order, int page, bint shared) noexcept nogil:
    return VMA_SPLIT_DEFER_ALWAYS

cdef int vma_split_nonuniform(void *ctx, int order, int page, bint shared) noexcept nogil:
    return VMA_SPLIT_NONUNIFORM

# ---- P02 mlock_rule ----

cdef int mlock_contained_eager(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """Follows mlock_pte_range, __folio_add_rmap and munlock_vma_folio of 6.18."""
    if event == MLOCK_AT_SYSCALL or event == MLOCK_AT_RMAP_ADD:
        return MLOCK_YES if pmd or (within and nr_mapped == 1 << order) else MLOCK_NO
    return MLOCK_YES

cdef int mlock_contained_lazy(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """As 6.7: a large folio mapped into a locked VMA is not seen before mlock() or reclaim meets it."""
    if event == MLOCK_AT_RMAP_ADD:
        return MLOCK_NO
    return mlock_contained_eager(ctx, event, order, nr_mapped, pmd, within)

cdef int mlock_pmd_only(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """As before 6.7: only PMD mappings of large folios count."""
    return MLOCK_YES if pmd else MLOCK_NO

cdef int mlock_whole(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """Any mapped page in a locked VMA locks the folio."""
    return MLOCK_YES

cdef int mlock_split(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """A folio that is only partly locked is split, so that the locked pages stand alone."""
    if event == MLOCK_AT_SYSCALL and not (pmd or (within and nr_mapped == 1 << order)):
        return MLOCK_SPLIT
    return mlock_contained_eager(ctx, event, order, nr_mapped, pmd, within)

cdef int mlock_forbid(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept nogil:
    """No large folio in a locked range: split it on mlock."""
    return MLOCK_SPLIT if event == MLOCK_AT_SYSCALL else MLOCK_YES if event != MLOCK_AT_RMAP_ADD else MLOCK_NO

# ---- P06 cow_order ----

cdef int cow_order0(void *ctx, int order, bint pmd) noexcept nogil:
    """Follows wp_page_copy: one page at a time."""
    return COW_ORDER0

cdef int cow_inherit(void *ctx, int order, bint pmd) noexcept nogil:
    return COW_INHERIT

# ---- P10 pin_short, P11 pin_long ----

cdef int pin_no_split(void *ctx, int order, int nr_pages) noexcept nogil:
    """Follows try_grab_folio: nothing is split."""
    return PIN_NO_SPLIT

cdef int pin_split(void *ctx, int order, int nr_pages) noexcept nogil:
    """Split a folio of which only a part is pinned."""
    return PIN_SPLIT if nr_pages < 1 << order else PIN_NO_SPLIT


cdef void policy_init(policy_t *policy) noexcept nogil:
    policy.size = sizeof(policy_t)
    policy.abi = POLICY_ABI
    policy.ctx = NULL
    policy.vma_split = vma_split_keep
    policy.mlock_rule = mlock_contained_eager
    policy.cow_order = cow_order0
    policy.pin_short = pin_no_split
    policy.pin_long = pin_no_split


cdef dict ALTERNATIVES = {
    "vma_split": {
        "keep": <size_t>&vma_split_keep, "split_try": <size_t>&vma_split_try,
        "split_try_defer": <size_t>&vma_split_try_defer, "defer_always": <size_t>&vma_split_defer_always,
        "split_nonuniform": <size_t>&vma_split_nonuniform},
    "mlock_rule": {
        "contained_eager": <size_t>&mlock_contained_eager, "contained_lazy": <size_t>&mlock_contained_lazy,
        "pmd_only": <size_t>&mlock_pmd_only, "whole": <size_t>&mlock_whole, "split": <size_t>&mlock_split,
        "forbid": <size_t>&mlock_forbid},
    "cow_order": {"order0": <size_t>&cow_order0, "inherit": <size_t>&cow_inherit},
    "pin_short": {"no_split": <size_t>&pin_no_split, "split": <size_t>&pin_split},
    "pin_long": {"no_split": <size_t>&pin_no_split, "split": <size_t>&pin_split},
}


cdef void **policy_slot(policy_t *policy, str point) except NULL:
    if point == "vma_split":
        return <void **>&policy.vma_split
    if point == "mlock_rule":
        return <void **>&policy.mlock_rule
    if point == "cow_order":
        return <void **>&policy.cow_order
    if point == "pin_short":
        return <void **>&policy.pin_short
    if point == "pin_long":
        return <void **>&policy.pin_long
    raise KeyError(point)


cdef int policy_set(policy_t *policy, str point, str name) except -1:
    policy_slot(policy, point)[0] = <void *><size_t>ALTERNATIVES[point][name]
    return 0


def compiled_alternatives():
    """``{point: (names...)}`` of what is compiled in."""
    return {point: tuple(names) for point, names in ALTERNATIVES.items()}
