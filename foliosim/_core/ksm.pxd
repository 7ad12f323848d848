# cython: language_level=3
"""Which VMAs KSM may look at (mm/ksm.c).  Nothing is merged: ksmd does not run, as with ksm/run 0."""
from libc.stdint cimport uint64_t
from foliosim._core.flags cimport VM_HUGETLB, VM_MAYSHARE, VM_MERGEABLE, VM_SHARED, VM_SPECIAL
from foliosim._core.types cimport mm_t

cdef inline bint ksm_compatible(uint64_t flags) noexcept nogil:
    """Follows: ksm_compatible."""
    return not flags & (VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB)

cdef inline uint64_t ksm_vma_flags(uint64_t flags) noexcept nogil:
    """Of a new VMA; def_flags has VM_MERGEABLE after PR_SET_MEMORY_MERGE.  Follows: ksm_vma_flags."""
    return flags if ksm_compatible(flags) else flags & ~VM_MERGEABLE

cdef inline uint64_t ksm_madvise(uint64_t flags, bint mergeable) noexcept nogil:
    """What MADV_MERGEABLE or MADV_UNMERGEABLE makes of a VMA's flags.  Follows: ksm_madvise."""
    if not mergeable:
        return flags & ~VM_MERGEABLE
    return flags | VM_MERGEABLE if ksm_compatible(flags) else flags

# PR_SET_MEMORY_MERGE: all VMAs that there are, and those to come.
cdef void ksm_set_merge_any(mm_t *mm, bint enable) noexcept nogil
