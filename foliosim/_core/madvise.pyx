# cython: language_level=3
"""madvise: checks, the walk over VMAs, and the advices that change VMA flags.  Follows mm/madvise.c."""
from libc.errno cimport EACCES, EAGAIN, EBADF, EFAULT, EINVAL, ENOMEM, EPERM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.file_ops cimport madvise_remove, madvise_willneed
from foliosim._core.guard cimport madvise_guard_install, madvise_guard_remove
from foliosim._core.gup cimport faultin_page_range
from foliosim._core.khugepaged cimport madvise_collapse
from foliosim._core.ksm cimport ksm_madvise
from foliosim._core.madvise_cold cimport madvise_cold, madvise_pageout
from foliosim._core.madvise_free cimport madvise_free
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.vma cimport fs_page_align, vma_is_anonymous, vma_modify_flags, vma_modify_name
from foliosim._core.zap cimport madvise_dontneed

cdef enum:
    MADV_NORMAL = 0
    MADV_RANDOM = 1
    MADV_SEQUENTIAL = 2
    MADV_WILLNEED = 3
    MADV_DONTNEED = 4
    MADV_FREE = 8
    MADV_REMOVE = 9
    MADV_DONTFORK = 10
    MADV_DOFORK = 11
    MADV_MERGEABLE = 12
    MADV_UNMERGEABLE = 13
    MADV_HUGEPAGE = 14
    MADV_NOHUGEPAGE = 15
    MADV_DONTDUMP = 16
    MADV_DODUMP = 17
    MADV_WIPEONFORK = 18
    MADV_KEEPONFORK = 19
    MADV_COLD = 20
    MADV_PAGEOUT = 21
    MADV_POPULATE_READ = 22
    MADV_POPULATE_WRITE = 23
    MADV_DONTNEED_LOCKED = 24
    MADV_COLLAPSE = 25
    MADV_HWPOISON = 100
    MADV_SOFT_OFFLINE = 101
    MADV_GUARD_INSTALL = 102
    MADV_GUARD_REMOVE = 103

cdef bint madvise_behavior_valid(int advice) noexcept nogil:
    """Follows: madvise_behavior_valid.  5, 6, 7 were never given out."""
    return (MADV_NORMAL <= advice <= MADV_DONTNEED or MADV_FREE <= advice <= MADV_COLLAPSE
            or MADV_HWPOISON <= advice <= MADV_GUARD_REMOVE)

cdef bint is_discard(int advice) noexcept nogil:
    """Follows: is_discard."""
    return (advice == MADV_FREE or advice == MADV_DONTNEED or advice == MADV_DONTNEED_LOCKED or advice == MADV_REMOVE
            or advice == MADV_DONTFORK or advice == MADV_WIPEONFORK or advice == MADV_GUARD_INSTALL)

cdef bint can_madvise_modify(const vma_t *vma, int advice) noexcept nogil:
    """Follows: can_madvise_modify.  Sealed read-only anonymous memory keeps its contents."""
    return (not vma.flags & VM_SEALED or not is_discard(advice) or not vma_is_anonymous(vma)
            or (vma.flags & VM_WRITE) != 0)

# ---- advices that change flags ----

cdef int new_flags_of(const vma_t *vma, int advice, uint64_t *flags) noexcept nogil:
    """What the advice makes of the VMA's flags; -EINVAL if it may not.  Follows: madvise_vma_behavior,
    hugepage_madvise."""
    cdef uint64_t f = vma.flags
    if advice == MADV_NORMAL:
        f &= ~(VM_RAND_READ | VM_SEQ_READ)
    elif advice == MADV_RANDOM:
        f = f & ~VM_SEQ_READ | VM_RAND_READ
    elif advice == MADV_SEQUENTIAL:
        f = f & ~VM_RAND_READ | VM_SEQ_READ
    elif advice == MADV_DONTFORK:
        f |= VM_DONTCOPY
    elif advice == MADV_DOFORK:
        if f & VM_IO:
            return -EINVAL
        f &= ~VM_DONTCOPY
    elif advice == MADV_WIPEONFORK:
        if vma.file != NULL or f & VM_SHARED:
            return -EINVAL
        f |= VM_WIPEONFORK
    elif advice == MADV_KEEPONFORK:
        f &= ~VM_WIPEONFORK
    elif advice == MADV_DONTDUMP:
        f |= VM_DONTDUMP
    elif advice == MADV_DODUMP:
        if f & VM_SPECIAL and not f & VM_HUGETLB:
            return -EINVAL
        f &= ~VM_DONTDUMP
    elif advice == MADV_HUGEPAGE:
        f = f & ~VM_NOHUGEPAGE | VM_HUGEPAGE
    elif advice == MADV_NOHUGEPAGE:
        f = f & ~VM_HUGEPAGE | VM_NOHUGEPAGE
    elif advice == MADV_MERGEABLE or advice == MADV_UNMERGEABLE:
        f = ksm_madvise(f, advice == MADV_MERGEABLE)
    else:
        return -FS_ENOTSIM
    flags[0] = f
    return 0

cdef int madvise_update_vma(machine_t *m, vma_t **vma, uint64_t start, uint64_t end, int advice) noexcept nogil:
    """Set the flags of [start, end); `*vma` becomes the VMA that holds it.  Follows: madvise_update_vma."""
    cdef uint64_t flags
    cdef int err = new_flags_of(vma[0], advice, &flags)
    if err or flags == vma[0].flags:
        return err
    err = vma_modify_flags(m, vma[0], start, end, &flags, vma)
    if err:
        return -EAGAIN if err == -ENOMEM else err
    vma[0].flags = flags
    return 0

# ---- advices that work on pages ----

cdef int check_pages_advice(const vma_t *vma, int advice) noexcept nogil:
    """The errno that the advice's own function gives before it looks at pages."""
    cdef uint64_t flags = vma.flags
    if advice == MADV_DONTNEED_LOCKED:
        return -EINVAL if flags & VM_PFNMAP else 0
    if advice == MADV_DONTNEED:
        return -EINVAL if flags & (VM_LOCKED | VM_PFNMAP) else 0
    if advice == MADV_FREE:
        return -EINVAL if flags & (VM_LOCKED | VM_PFNMAP) or not vma_is_anonymous(vma) else 0
    if advice == MADV_COLD or advice == MADV_PAGEOUT:
        return -EINVAL if flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB) else 0
    if advice == MADV_REMOVE:
        if flags & VM_LOCKED or vma.file == NULL:
            return -EINVAL
        return -EACCES if flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE else 0
    if advice == MADV_GUARD_INSTALL:
        return -EINVAL if flags & (VM_SPECIAL | VM_HUGETLB | VM_LOCKED) else 0
    if advice == MADV_GUARD_REMOVE:
        return -EINVAL if flags & (VM_SPECIAL | VM_HUGETLB) else 0
    return 0

cdef bint is_pages_advice(int advice) noexcept nogil:
    return (advice == MADV_DONTNEED or advice == MADV_DONTNEED_LOCKED or advice == MADV_FREE or advice == MADV_REMOVE
            or advice == MADV_COLD or advice == MADV_PAGEOUT or advice == MADV_COLLAPSE or advice == MADV_WILLNEED
            or advice == MADV_GUARD_INSTALL or advice == MADV_GUARD_REMOVE)

cdef int madvise_pages(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, int advice) noexcept nogil:
    cdef int err = check_pages_advice(vma, advice)
    if err:
        return err
    if advice == MADV_DONTNEED or advice == MADV_DONTNEED_LOCKED:
        return madvise_dontneed(m, vma, start, end)
    if advice == MADV_FREE:
        return madvise_free(m, vma, start, end)
    if advice == MADV_COLD:
        return madvise_cold(m, vma, start, end)
    if advice == MADV_PAGEOUT:
        return madvise_pageout(m, vma, start, end)
    if advice == MADV_GUARD_INSTALL:
        return madvise_guard_install(m, vma, start, end)
    if advice == MADV_GUARD_REMOVE:
        return madvise_guard_remove(m, vma, start, end)
    if advice == MADV_COLLAPSE:
        return madvise_collapse(m, vma, start, end)
    if advice == MADV_WILLNEED and vma.file == NULL:
        return 0    # reads ahead from swap, and there is none
    if advice == MADV_WILLNEED:
        return madvise_willneed(m, vma, start, end)
    if advice == MADV_REMOVE:
        return madvise_remove(m, vma, start, end)
    return -FS_ENOTSIM

cdef int madvise_populate(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, bint write) noexcept nogil:
    """Follows: madvise_populate."""
    cdef int64_t pages
    while start < end:
        pages = faultin_page_range(m, mm, start, end, write)
        if pages < 0:
            if pages == -EINVAL or pages == -EFAULT or pages == -FS_EHOSTMEM:
                return <int>pages
            return -ENOMEM
        start += <uint64_t>pages << FS_PAGE_SHIFT
    return 0

# ---- the walk ----

cdef int madvise_vma(machine_t *m, vma_t **vma, uint64_t start, uint64_t end, int advice) noexcept nogil:
    """Follows: madvise_vma_behavior."""
    if not can_madvise_modify(vma[0], advice):
        return -EPERM
    if is_pages_advice(advice):
        return madvise_pages(m, vma[0], start, end, advice)
    return madvise_update_vma(m, vma, start, end, advice)

cdef int madvise_walk_vmas(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, int advice) noexcept nogil:
    """Advise each VMA in the range, over holes too.  Follows: madvise_walk_vmas."""
    cdef vma_t *vma = find_vma(mm, start)
    cdef int unmapped_error = 0
    cdef uint64_t tmp
    cdef int err
    while True:
        if vma == NULL:
            return -ENOMEM
        if start < vma.start:
            unmapped_error = -ENOMEM
            start = vma.start
            if start >= end:
                return unmapped_error
        tmp = vma.end if vma.end < end else end
        err = madvise_vma(m, &vma, start, tmp, advice)
        if err:
            return err
        start = vma.end if tmp < vma.end else tmp
        if start >= end:
            return unmapped_error
        vma = find_vma(mm, vma.end)

cdef int do_madvise(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, int advice) noexcept nogil:
    """Follows: do_madvise.  Fidelity: customised - no memory failure."""
    cdef uint64_t size = fs_page_align(len)
    if not madvise_behavior_valid(advice) or start & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if (len and not size) or start + size < start:
        return -EINVAL
    if not size:
        return 0
    if advice == MADV_HWPOISON or advice == MADV_SOFT_OFFLINE:
        return -FS_ENOTSIM
    if advice == MADV_POPULATE_READ or advice == MADV_POPULATE_WRITE:
        return madvise_populate(m, mm, start, start + size, advice == MADV_POPULATE_WRITE)
    return madvise_walk_vmas(m, mm, start, start + size, advice)

# ---- names of areas ----

cdef int madvise_update_name(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint32_t name,
                             vma_t **result) noexcept nogil:
    """Follows: madvise_vma_anon_name, madvise_update_vma.  Files have names of their own."""
    cdef int err
    result[0] = vma
    if vma.file != NULL and vma.file.kind != MAPPING_SHMEM:
        return -EBADF
    if vma.anon_name == name:
        return 0
    err = vma_modify_name(m, vma, start, end, name, result)
    if err == 0:
        result[0].anon_name = name
    return err

cdef int prctl_set_vma(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint32_t name) noexcept nogil:
    """Follows: madvise_set_anon_name, and madvise_walk_vmas."""
    cdef uint64_t end = start + fs_page_align(len)
    cdef int unmapped_error = 0, err
    cdef vma_t *vma
    if start & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if (len and end == start) or end < start:
        return -ENOMEM
    while start < end:
        vma = find_vma(mm, start)
        if vma == NULL or vma.start >= end:
            return -ENOMEM
        if start < vma.start:
            unmapped_error = -ENOMEM
            start = vma.start
        err = madvise_update_name(m, vma, start, vma.end if vma.end < end else end, name, &vma)
        if err:
            return err
        start = vma.end
    return unmapped_error
