# cython: language_level=3
"""mlock, mlock2 and munlock on VMAs.  Follows the second part of mm/mlock.c."""
from libc.errno cimport EAGAIN, EFAULT, EINVAL, ENOMEM
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.gup cimport mm_populate
from foliosim._core.maple_tree cimport vma_lookup
from foliosim._core.mlock_range cimport mlock_vma_pages_range
from foliosim._core.vma cimport fs_page_align, vma_modify_flags

cdef enum:
    MLOCK_ONFAULT = 1
    MCL_CURRENT = 1
    MCL_FUTURE = 2
    MCL_ONFAULT = 4

cdef int mlock_fixup(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t newflags,
                     vma_t **result) noexcept nogil:
    """Lock or unlock [start, end) of vma; `*result` is the VMA that holds it then.  Follows: mlock_fixup."""
    cdef uint64_t oldflags = vma.flags
    cdef int64_t nr_pages = <int64_t>((end - start) >> FS_PAGE_SHIFT)
    cdef int err
    result[0] = vma
    if newflags == oldflags or oldflags & (VM_SPECIAL | VM_HUGETLB):
        return 0
    err = vma_modify_flags(m, vma, start, end, &newflags, result)
    if err:
        return err
    vma = result[0]
    if not newflags & VM_LOCKED:
        vma.mm.locked_vm -= nr_pages
    elif not oldflags & VM_LOCKED:
        vma.mm.locked_vm += nr_pages
    if newflags & VM_LOCKED and oldflags & VM_LOCKED:
        vma.flags = newflags
    else:
        mlock_vma_pages_range(m, vma, start, end, newflags)
    return 0

cdef int apply_vma_lock_flags(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil:
    """Follows: apply_vma_lock_flags."""
    cdef uint64_t end = start + len
    cdef uint64_t nstart = start
    cdef uint64_t tmp
    cdef vma_t *vma
    cdef int err
    if end < start:
        return -EINVAL
    if end == start:
        return 0
    vma = vma_lookup(mm, start)
    if vma == NULL:
        return -ENOMEM
    tmp = vma.start
    while vma != NULL and vma.start < end:
        if vma.start != tmp:
            return -ENOMEM
        tmp = vma.end if vma.end < end else end
        err = mlock_fixup(m, vma, nstart, tmp, (vma.flags & ~VM_LOCKED_MASK) | flags, &vma)
        if err:
            return err
        tmp = vma.end
        nstart = tmp
        vma = vma.next
    return -ENOMEM if tmp < end else 0

cdef int mlock_posix_error(int64_t err) noexcept nogil:
    """Follows: __mlock_posix_error_return."""
    if err == -EFAULT:
        return -ENOMEM
    if err == -ENOMEM:
        return -EAGAIN
    return <int>err

cdef int mlock_range(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t vm_flags) noexcept nogil:
    """Follows: do_mlock."""
    cdef int64_t populated
    cdef int err
    len = fs_page_align(len + (start & (FS_PAGE_SIZE - 1)))
    start &= ~(FS_PAGE_SIZE - 1)
    err = apply_vma_lock_flags(m, mm, start, len, vm_flags)
    if err:
        return err
    populated = mm_populate(m, mm, start, len, False)
    return mlock_posix_error(populated) if populated < 0 else 0

cdef int do_mlock(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil:
    return mlock_range(m, mm, start, len, VM_LOCKED)

cdef int do_mlock2(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil:
    if flags & ~<uint64_t>MLOCK_ONFAULT:
        return -EINVAL
    return mlock_range(m, mm, start, len, VM_LOCKED_MASK if flags else VM_LOCKED)

cdef int do_munlock(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil:
    len = fs_page_align(len + (start & (FS_PAGE_SIZE - 1)))
    start &= ~(FS_PAGE_SIZE - 1)
    return apply_vma_lock_flags(m, mm, start, len, 0)

cdef void apply_mlockall_flags(machine_t *m, mm_t *mm, uint64_t flags) noexcept nogil:
    """What new areas get, and what those that are there get; an area that cannot be locked is passed over.

    Follows: apply_mlockall_flags.
    """
    cdef vma_t *vma = mm.mmap
    cdef uint64_t wanted = VM_LOCKED_MASK if flags & MCL_ONFAULT else VM_LOCKED
    mm.def_flags &= ~VM_LOCKED_MASK
    if flags & MCL_FUTURE:
        mm.def_flags |= wanted
        if not flags & MCL_CURRENT:
            return
    if not flags & MCL_CURRENT:
        wanted = 0
    while vma != NULL:
        mlock_fixup(m, vma, vma.start, vma.end, (vma.flags & ~VM_LOCKED_MASK) | wanted, &vma)
        vma = vma.next

cdef int do_mlockall(machine_t *m, mm_t *mm, uint64_t flags) noexcept nogil:
    """Follows: the system call mlockall."""
    if not flags or flags & ~<uint64_t>(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -EINVAL
    apply_mlockall_flags(m, mm, flags)
    if flags & MCL_CURRENT and mm_populate(m, mm, 0, m.task_size, True) == -FS_EHOSTMEM:
        return -FS_EHOSTMEM
    return 0

cdef void do_munlockall(machine_t *m, mm_t *mm) noexcept nogil:
    apply_mlockall_flags(m, mm, 0)
