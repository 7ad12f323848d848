# cython: language_level=3
"""mremap on VMAs.  Follows mm/mremap.c.

Fidelity: customised - no hugetlb, userfaultfd, KSM and uprobes, no limits of the process.
"""
from libc.errno cimport EFAULT, EINVAL, ENOMEM, EPERM
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.anon_vma cimport unlink_anon_vmas
from foliosim._core.fault_inject cimport slab_errno
from foliosim._core.gup cimport mm_populate
from foliosim._core.madvise cimport FS_ENOTSIM
from foliosim._core.maple_tree cimport vma_find, vma_lookup
from foliosim._core.mmap cimport do_munmap
from foliosim._core.mremap_tables cimport move_page_tables
from foliosim._core.pfnmap cimport range_has_device
from foliosim._core.unmapped_area cimport get_unmapped_area
from foliosim._core.vma cimport *

cdef enum:
    MREMAP_MAYMOVE = 1
    MREMAP_FIXED = 2
    MREMAP_DONTUNMAP = 4

cdef struct vrm_t:           # vma_remap_struct
    mm_t *mm
    vma_t *vma               # the one at addr
    uint64_t addr, old_len
    uint64_t new_addr, new_len
    uint64_t flags
    uint64_t delta           # bytes between old_len and new_len
    bint populate_expand     # locked memory grows: fault the new part in

cdef inline bint vrm_expands(const vrm_t *vrm) noexcept nogil:
    return vrm.new_len > vrm.old_len

cdef inline bint vrm_implies_new_addr(const vrm_t *vrm) noexcept nogil:
    return (vrm.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0

# ---- checks ----

cdef int check_mremap_params(const machine_t *m, const vrm_t *vrm) noexcept nogil:
    """Follows: check_mremap_params."""
    if vrm.flags & ~<uint64_t>(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP):
        return -EINVAL
    if vrm.addr & (FS_PAGE_SIZE - 1) or not vrm.new_len or vrm.new_len > m.task_size:
        return -EINVAL
    if not vrm_implies_new_addr(vrm):
        return 0
    if vrm.new_addr > m.task_size - vrm.new_len or vrm.new_addr & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if not vrm.flags & MREMAP_MAYMOVE or (vrm.flags & MREMAP_DONTUNMAP and vrm.old_len != vrm.new_len):
        return -EINVAL
    if vrm.addr + vrm.old_len > vrm.new_addr and vrm.new_addr + vrm.new_len > vrm.addr:
        return -EINVAL
    return -ENOMEM if vrm.mm.map_count + 2 >= m.max_map_count - 3 else 0

cdef inline bint moves_device(const machine_t *m, const vrm_t *vrm) noexcept nogil:
    """Device memory is not moved here (move_huge_pud, and what has no rule if a leaf is cut)."""
    if not vrm.flags & MREMAP_FIXED or vrm.flags & MREMAP_DONTUNMAP or vrm.new_len > vrm.old_len:
        return False
    return range_has_device(m, vrm.mm, vrm.addr, vrm.addr + vrm.old_len)

cdef int check_prep_vma(vrm_t *vrm) noexcept nogil:
    """Follows: check_prep_vma."""
    cdef const vma_t *vma = vrm.vma
    cdef uint64_t old_len = vrm.old_len
    cdef uint64_t pgoff
    if vma == NULL:
        return -EFAULT
    if vma.flags & VM_SEALED:
        return -EPERM
    vrm.delta = vrm.new_len - old_len if vrm_expands(vrm) else old_len - vrm.new_len
    if not vrm_implies_new_addr(vrm):
        vrm.new_addr = vrm.addr
        if not vrm_expands(vrm):
            return 0
    if not old_len and not vma.flags & (VM_SHARED | VM_MAYSHARE):
        return -EINVAL
    if vrm.flags & MREMAP_DONTUNMAP and vma.flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -EINVAL
    if not vrm_expands(vrm):
        old_len = vrm.new_len
    if old_len > vma.end - vrm.addr:
        return -EFAULT
    if vrm.new_len == old_len:
        return 0
    vrm.populate_expand = (vma.flags & VM_LOCKED) != 0
    pgoff = vma.pgoff + ((vrm.addr - vma.start) >> FS_PAGE_SHIFT)
    if pgoff + (vrm.new_len >> FS_PAGE_SHIFT) < pgoff:
        return -EINVAL
    return -EFAULT if vma.flags & (VM_DONTEXPAND | VM_PFNMAP) else 0

cdef int vrm_charge(const machine_t *m, const vrm_t *vrm) noexcept nogil:
    """Follows: vrm_calc_charge; only the refusal shows."""
    cdef uint64_t bytes = vrm.new_len if vrm.flags & MREMAP_DONTUNMAP else vrm.delta
    if not vrm.vma.flags & VM_ACCOUNT or vm_enough_memory(m, bytes >> FS_PAGE_SHIFT):
        return 0
    return -ENOMEM

cdef void vrm_stat_account(const vrm_t *vrm, uint64_t bytes) noexcept nogil:
    """Follows: vrm_stat_account."""
    cdef int64_t pages = <int64_t>(bytes >> FS_PAGE_SHIFT)
    vrm.mm.total_vm += pages
    if vrm.vma.flags & VM_LOCKED:
        vrm.mm.locked_vm += pages

# ---- moving ----

cdef int vrm_set_new_addr(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Follows: vrm_set_new_addr."""
    cdef const vma_t *vma = vrm.vma
    cdef uint64_t pgoff = vma.pgoff + ((vrm.addr - vma.start) >> FS_PAGE_SHIFT)
    cdef uint64_t map_flags = FS_MAP_FIXED if vrm.flags & MREMAP_FIXED else 0
    cdef int64_t found
    if vma.flags & VM_MAYSHARE:
        map_flags |= FS_MAP_SHARED
    found = get_unmapped_area(m, vrm.mm, vma.file, vrm.new_addr if vrm_implies_new_addr(vrm) else 0, vrm.new_len, pgoff,
                              map_flags)
    if found < 0:
        return <int>found
    vrm.new_addr = <uint64_t>found
    return 0

cdef int copy_vma_and_data(machine_t *m, vrm_t *vrm, vma_t **new_vma) noexcept nogil:
    """Follows: copy_vma_and_data.  If the tables cannot be moved, vrm describes the new VMA, to be unmapped."""
    cdef uint64_t pgoff = vrm.vma.pgoff + ((vrm.addr - vrm.vma.start) >> FS_PAGE_SHIFT)
    cdef uint64_t moved
    cdef vma_t *new = copy_vma(m, &vrm.vma, vrm.new_addr, vrm.new_len, pgoff)
    new_vma[0] = new
    if new == NULL:
        return slab_errno(m)
    moved = move_page_tables(m, vrm.vma, new, vrm.addr, vrm.new_addr, vrm.old_len)
    if moved >= vrm.old_len:
        return 0
    move_page_tables(m, new, vrm.vma, vrm.new_addr, vrm.addr, moved)
    vrm.vma = new
    vrm.old_len = vrm.new_len
    vrm.addr = vrm.new_addr
    return -ENOMEM

cdef void dontunmap_complete(machine_t *m, vrm_t *vrm, const vma_t *new_vma) noexcept nogil:
    """Follows: dontunmap_complete.  The whole old VMA is unlocked, but its pages stay counted as locked; if all of it
    moved it is as if never touched."""
    cdef vma_t *vma = vrm.vma
    if vma.flags & VM_LOCKED:
        vrm.mm.locked_stale += <int64_t>vma_pages(vma)
    vma.flags &= ~VM_LOCKED_MASK
    if new_vma != vma and vrm.addr == vma.start and vrm.addr + vrm.old_len == vma.end:
        unlink_anon_vmas(m, vma)

cdef int64_t move_vma(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Follows: move_vma, prep_move_vma, unmap_source_vma.  With old_len 0 the source stays: a duplicate.  That both
    were there for a moment does not count as a high-water mark."""
    cdef vma_t *new_vma
    cdef int err, unmapped
    cdef int64_t hiwater_vm = vrm.mm.hiwater_vm
    if vrm.mm.map_count >= m.max_map_count - 3:
        return -ENOMEM
    err = vrm_charge(m, vrm)
    if err:
        return err
    err = copy_vma_and_data(m, vrm, &new_vma)
    if new_vma == NULL:
        return err
    vrm_stat_account(vrm, vrm.new_len)
    if not err and vrm.flags & MREMAP_DONTUNMAP:
        dontunmap_complete(m, vrm, new_vma)
    elif vrm.old_len:
        unmapped = do_munmap(m, vrm.mm, vrm.addr, vrm.old_len)
        if unmapped == -FS_EHOSTMEM:
            return unmapped
    vrm.mm.hiwater_vm = hiwater_vm
    return err if err else <int64_t>vrm.new_addr

cdef int shrink_vma(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Unmap the end of the range; it may hold other VMAs and holes.  Follows: shrink_vma."""
    cdef int err = do_munmap(m, vrm.mm, vrm.addr + vrm.new_len, vrm.delta)
    if err:
        return err
    vrm.vma = vma_lookup(vrm.mm, vrm.addr)
    return 0 if vrm.vma != NULL else -EFAULT

cdef int64_t mremap_to(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Follows: mremap_to."""
    cdef int err
    if vrm.flags & MREMAP_FIXED:
        err = do_munmap(m, vrm.mm, vrm.new_addr, vrm.new_len)
        if err:
            return err
        vrm.vma = vma_lookup(vrm.mm, vrm.addr)
        if vrm.vma == NULL:
            return -EFAULT
    if vrm.new_len < vrm.old_len:
        err = shrink_vma(m, vrm)
        if err:
            return err
        vrm.old_len = vrm.new_len
    err = vrm_set_new_addr(m, vrm)
    if err:
        return err
    return move_vma(m, vrm)

cdef int64_t remap_move(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Move all VMAs of the range and keep the holes between them.  Follows: remap_move."""
    cdef uint64_t start = vrm.addr, end = vrm.addr + vrm.old_len
    cdef uint64_t target = vrm.new_addr, last_end = start
    cdef vma_t *vma = vma_find(vrm.mm, start, end)
    cdef int64_t moved, result = -EFAULT
    if vma != NULL and vma.start > start:
        return -EFAULT
    while vma != NULL:
        vrm.vma = vma
        vrm.addr = vma.start if vma.start > start else start
        vrm.new_addr = target + (vrm.addr - last_end)
        last_end = vma.end
        vrm.old_len = vrm.new_len = (last_end if last_end < end else end) - vrm.addr
        moved = check_prep_vma(vrm)
        if moved == 0:
            moved = mremap_to(m, vrm)
        if moved < 0:
            return moved
        if result < 0:
            result = moved
        target = <uint64_t>moved + vrm.new_len
        # What was moved may have merged with what stays of its source: that VMA reaches beyond the range, and is done.
        vma = vma_find(vrm.mm, last_end, end) if last_end < end else NULL
    return result

# ---- growing and shrinking where it is ----

cdef bint vrm_can_expand_in_place(machine_t *m, const vrm_t *vrm) noexcept nogil:
    """The range ends where its VMA does, and what follows is free.  Follows: vrm_can_expand_in_place,
    vma_expandable."""
    cdef const vma_t *vma = vrm.vma
    cdef uint64_t end = vma.end + vrm.delta
    if vma.end - vrm.addr != vrm.old_len or end < vma.end or vma_find(vrm.mm, vma.end, end) != NULL:
        return False
    return get_unmapped_area(m, vrm.mm, NULL, vma.start, end - vma.start, 0, FS_MAP_FIXED) >= 0

cdef int64_t expand_vma(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Follows: expand_vma, expand_vma_in_place."""
    cdef int err
    if vrm_can_expand_in_place(m, vrm):
        err = vrm_charge(m, vrm)
        if err:
            return err
        vrm.vma = vma_merge_extend(m, vrm.vma, vrm.delta)
        if vrm.vma == NULL:
            return slab_errno(m)
        vrm_stat_account(vrm, vrm.delta)
        return <int64_t>vrm.addr
    if not vrm.flags & MREMAP_MAYMOVE:
        return -ENOMEM
    err = vrm_set_new_addr(m, vrm)
    if err:
        return err
    return move_vma(m, vrm)

cdef int64_t mremap_at(machine_t *m, vrm_t *vrm) noexcept nogil:
    """Follows: mremap_at."""
    cdef int err
    if vrm_expands(vrm):
        return expand_vma(m, vrm)
    if vrm.new_len < vrm.old_len:
        err = do_munmap(m, vrm.mm, vrm.addr + vrm.new_len, vrm.delta)
        if err:
            return err
    return <int64_t>vrm.addr

cdef int64_t do_mremap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, uint64_t flags,
                       uint64_t new_addr) noexcept nogil:
    """Follows: do_mremap."""
    cdef vrm_t vrm
    cdef int64_t result
    memset(&vrm, 0, sizeof(vrm))
    vrm.mm = mm
    vrm.addr = addr
    vrm.old_len = fs_page_align(old_len)
    vrm.new_len = fs_page_align(new_len)
    vrm.new_addr = new_addr
    vrm.flags = flags
    result = check_mremap_params(m, &vrm)
    if result == 0 and moves_device(m, &vrm):
        result = -FS_ENOTSIM
    if result:
        return result
    if flags & MREMAP_FIXED and vrm.old_len == vrm.new_len:
        return remap_move(m, &vrm)
    vrm.vma = vma_lookup(mm, addr)
    result = check_prep_vma(&vrm)
    if result:
        return result
    result = mremap_to(m, &vrm) if vrm_implies_new_addr(&vrm) else mremap_at(m, &vrm)
    if result >= 0 and vrm.populate_expand:
        if mm_populate(m, mm, vrm.new_addr + vrm.old_len, vrm.delta, True) == -FS_EHOSTMEM:
            return -FS_EHOSTMEM
    return result
