# cython: language_level=3
"""Policy points: the one place where each decision is asked for.  Names and alternatives: policy.pyx."""
from libc.stdint cimport int32_t, uint32_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.page cimport *

# Fill the struct with what Linux 6.18 does.
cdef void policy_init(policy_t *policy) noexcept nogil
# The slot of a point; KeyError if there is no such point.
cdef void **policy_slot(policy_t *policy, str point) except NULL
# Put a compiled alternative into its slot; KeyError if there is no such point or alternative.
cdef int policy_set(policy_t *policy, str point, str name) except -1

cdef inline int ask_mlock_rule(machine_t *m, int event, page_t *folio, int nr_mapped, bint pmd,
                               bint within) noexcept nogil:
    """P02: is the folio mlocked (or, when a mapping goes, munlocked) because of this mapping?  mlock_e.

    nr_mapped pages of it are concerned, by a PMD or by PTEs; within: the whole folio lies in the locked range.
    Small folios are never a question.
    """
    if not folio_test_large(folio):
        return MLOCK_YES
    return m.policy.mlock_rule(m.policy.ctx, event, folio_order(folio), nr_mapped, pmd, within)
