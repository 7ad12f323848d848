# cython: language_level=3
"""Sealing VMAs against change.  Follows mm/mseal.c; what a seal forbids is checked by those who are forbidden."""
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.maple_tree cimport vma_lookup
from foliosim._core.vma cimport fs_page_align, vma_modify_flags

cdef bint range_contains_unmapped(const vma_t *vma, uint64_t end) noexcept nogil:
    """Is there a hole between the start of the first VMA of the range (NULL: none there) and end?"""
    cdef uint64_t mapped_to
    if vma == NULL:
        return True
    mapped_to = vma.end
    while mapped_to < end:
        vma = vma.next
        if vma == NULL or vma.start > mapped_to:
            return True
        mapped_to = vma.end
    return False

cdef int mseal_apply(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """Follows: mseal_apply."""
    cdef uint64_t flags, stop
    cdef int err
    while vma != NULL and vma.start < end:
        stop = vma.end if vma.end < end else end
        if not vma.flags & VM_SEALED:
            flags = vma.flags | VM_SEALED
            err = vma_modify_flags(m, vma, start, stop, &flags, &vma)
            if err:
                return err
            vma.flags |= VM_SEALED
        start = vma.end
        vma = vma.next
    return 0

cdef int do_mseal(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil:
    """Follows: do_mseal."""
    cdef uint64_t size = fs_page_align(len)
    cdef vma_t *vma
    if flags or start & (FS_PAGE_SIZE - 1) or (len and not size) or start + size < start:
        return -EINVAL
    if not size:
        return 0
    vma = vma_lookup(mm, start)
    if range_contains_unmapped(vma, start + size):
        return -ENOMEM
    return mseal_apply(m, vma, start, start + size)
