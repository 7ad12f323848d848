# cython: language_level=3
"""Policy points: the one place where each decision is asked for.  Names and compiled alternatives: policy.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.page cimport *

# ---- answers ----

cdef enum vma_split_e:       # P01
    VMA_SPLIT_KEEP
    VMA_SPLIT_TRY
    VMA_SPLIT_TRY_DEFER
    VMA_SPLIT_DEFER_ALWAYS
    VMA_SPLIT_NONUNIFORM

cdef enum mlock_e:           # P02
    MLOCK_NO
    MLOCK_YES
    MLOCK_SPLIT              # split the folio, then ask again for the pieces

cdef enum mlock_event_e:     # when P02 is asked
    MLOCK_AT_SYSCALL         # mlock() meets an existing mapping
    MLOCK_AT_RMAP_ADD        # a mapping of a folio is made in a VM_LOCKED VMA
    MLOCK_AT_RMAP_REMOVE     # a mapping of a folio goes away in a VM_LOCKED VMA: unlock it?
    MLOCK_AT_MUNLOCK         # munlock() meets an existing mapping: unlock it?

cdef enum cow_order_e:       # P06
    COW_ORDER0
    COW_INHERIT

cdef enum pin_e:             # P10, P11
    PIN_NO_SPLIT
    PIN_SPLIT

# ---- the table ----

# Every point as Linux 6.18 decides it.
cdef void policy_init(policy_t *policy) noexcept nogil
# The number of a point; KeyError if there is no such point.
cdef int policy_point(str point) except -1
# Put a compiled alternative into its slot; KeyError if there is no such alternative.
cdef int policy_set(policy_t *policy, int point, str name, int param) except -1
# Put a function in; it is called with ctx and param.
cdef void policy_put(policy_t *policy, int point, decide_t decide, void *ctx, int param) noexcept nogil
# What Linux 6.18 answers.
cdef int policy_linux(int point, const int64_t *arg) noexcept nogil


cdef inline bint policy_is_linux(const machine_t *m, int point) noexcept nogil:
    return not (m.policy.custom >> point) & 1


cdef inline int policy_ask(const machine_t *m, int point, const int64_t *arg) noexcept nogil:
    return m.policy.point[point].decide(m.policy.point[point].ctx, m.policy.point[point].param, arg)


# ---- the questions ----

cdef inline int ask_vma_split(const machine_t *m, int order, int page, bint shared) noexcept nogil:
    """P01: the folio is cut before this page of it; shared: maybe mapped by another process too.  vma_split_e."""
    cdef int64_t arg[3]
    arg[0], arg[1], arg[2] = order, page, shared
    return policy_ask(m, POINT_VMA_SPLIT, arg)


cdef inline int ask_mlock_rule(const machine_t *m, int event, page_t *folio, int nr_mapped, bint pmd,
                               bint within) noexcept nogil:
    """P02: is the folio mlocked (or, when a mapping goes, munlocked) because of this mapping?  mlock_e.

    nr_mapped pages of it are concerned, by a PMD or by PTEs; within: the whole folio lies in the locked range.
    Small folios are never a question.
    """
    cdef int64_t arg[5]
    if not folio_test_large(folio):
        return MLOCK_YES
    arg[0], arg[1], arg[2], arg[3], arg[4] = event, folio_order(folio), nr_mapped, pmd, within
    return policy_ask(m, POINT_MLOCK_RULE, arg)


cdef inline int ask_cow_order(const machine_t *m, int order, bint pmd) noexcept nogil:
    """P06: how much of a folio of this order, mapped by a PMD or not, a write fault copies.  cow_order_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = order, pmd
    return policy_ask(m, POINT_COW_ORDER, arg)


cdef inline int ask_pin(const machine_t *m, int order, int nr_pages, bint longterm) noexcept nogil:
    """P10, P11: nr_pages of the folio are about to be referenced or pinned.  pin_e."""
    cdef int64_t arg[2]
    arg[0], arg[1] = order, nr_pages
    return policy_ask(m, POINT_PIN_LONG if longterm else POINT_PIN_SHORT, arg)
