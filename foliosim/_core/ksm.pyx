# cython: language_level=3
"""Memory that a whole process offers to KSM.  Follows mm/ksm.c."""
from foliosim._core.flags cimport VM_MERGEABLE
from foliosim._core.types cimport mm_t, vma_t

cdef void ksm_set_merge_any(mm_t *mm, bint enable) noexcept nogil:
    """Follows: ksm_enable_merge_any, ksm_disable_merge_any.  VMAs that are alike now are not merged."""
    cdef vma_t *vma = mm.mmap
    if enable == ((mm.def_flags & VM_MERGEABLE) != 0):
        return
    mm.def_flags ^= VM_MERGEABLE
    while vma != NULL:
        vma.flags = ksm_madvise(vma.flags, enable)
        vma = vma.next
