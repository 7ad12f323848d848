# cython: language_level=3
"""Policy points P01, P02, P06, P10, P11 and their compiled alternatives; the default is what Linux 6.18 does."""
from libc.string cimport strcmp

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


cdef int set_vma_split(policy_t *policy, const char *name) noexcept nogil:
    if strcmp(name, b"keep") == 0:
        policy.vma_split = vma_split_keep
    elif strcmp(name, b"split_try") == 0:
        policy.vma_split = vma_split_try
    elif strcmp(name, b"split_try_defer") == 0:
        policy.vma_split = vma_split_try_defer
    elif strcmp(name, b"defer_always") == 0:
        policy.vma_split = vma_split_defer_always
    elif strcmp(name, b"split_nonuniform") == 0:
        policy.vma_split = vma_split_nonuniform
    else:
        return -1
    return 0


cdef int set_mlock_rule(policy_t *policy, const char *name) noexcept nogil:
    if strcmp(name, b"contained_eager") == 0:
        policy.mlock_rule = mlock_contained_eager
    elif strcmp(name, b"contained_lazy") == 0:
        policy.mlock_rule = mlock_contained_lazy
    elif strcmp(name, b"pmd_only") == 0:
        policy.mlock_rule = mlock_pmd_only
    elif strcmp(name, b"whole") == 0:
        policy.mlock_rule = mlock_whole
    elif strcmp(name, b"split") == 0:
        policy.mlock_rule = mlock_split
    elif strcmp(name, b"forbid") == 0:
        policy.mlock_rule = mlock_forbid
    else:
        return -1
    return 0


cdef int set_pin(policy_t *policy, const char *point, const char *name) noexcept nogil:
    cdef bint split = strcmp(name, b"split") == 0
    if not split and strcmp(name, b"no_split") != 0:
        return -1
    if strcmp(point, b"pin_short") == 0:
        policy.pin_short = pin_split if split else pin_no_split
    else:
        policy.pin_long = pin_split if split else pin_no_split
    return 0


cdef int policy_set(policy_t *policy, const char *point, const char *name) noexcept nogil:
    if strcmp(point, b"vma_split") == 0:
        return set_vma_split(policy, name)
    if strcmp(point, b"mlock_rule") == 0:
        return set_mlock_rule(policy, name)
    if strcmp(point, b"pin_short") == 0 or strcmp(point, b"pin_long") == 0:
        return set_pin(policy, point, name)
    if strcmp(point, b"cow_order") == 0:
        if strcmp(name, b"order0") == 0:
            policy.cow_order = cow_order0
            return 0
        if strcmp(name, b"inherit") == 0:
            policy.cow_order = cow_inherit
            return 0
    return -1
