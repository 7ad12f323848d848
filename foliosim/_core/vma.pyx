# cython: language_level=3
"""VMAs: making, linking, merging and splitting them.  Follows mm/vma.c."""
from libc.errno cimport ENOMEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.fault_inject cimport failslab, slab_errno
from foliosim._core.anon_vma cimport anon_vma_clone, unlink_anon_vmas, vma_is_fork_child
from foliosim._core.huge_memory cimport vma_adjust_trans_huge
from foliosim._core.maple_tree cimport maple_erase, maple_find, maple_insert, maple_last, maple_split, maple_store
from foliosim._core.mapping cimport mapping_put
from foliosim._core.policy cimport policy_is_linux
from foliosim._core.stat cimport count_op
from foliosim._core.vma_split cimport vma_split_policy

# ---- life of a VMA ----

cdef vma_t *vm_area_alloc(machine_t *m) noexcept nogil:
    if failslab(m, FAIL_VMA):
        return NULL
    count_op(m, OP_VMA, 1)
    return <vma_t *>malloc(sizeof(vma_t))

cdef vma_t *vma_alloc(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, uint64_t pgoff,
                      uint64_t flags) noexcept nogil:
    cdef vma_t *vma = vm_area_alloc(m)
    if vma == NULL:
        return NULL
    memset(vma, 0, sizeof(vma_t))
    vma.mm = mm
    vma.start = start
    vma.end = end
    vma.pgoff = pgoff
    vma.flags = flags
    vma_set_page_prot(m, vma)
    return vma

cdef void vma_free(vma_t *vma) noexcept nogil:
    free(vma)

cdef vma_t *vma_dup(const vma_t *vma) noexcept nogil:
    """Follows: vm_area_dup."""
    cdef vma_t *new = vm_area_alloc(vma.mm.m)
    if new == NULL:
        return NULL
    new[0] = vma[0]
    new.chain = NULL
    new.nr_chain = 0
    new.next = NULL
    new.prev = NULL
    new.i_mmap_next = NULL
    new.i_mmap_prev = NULL
    return new

cdef void remove_vma(machine_t *m, vma_t *vma) noexcept nogil:
    if vma.file != NULL:
        mapping_put(m, vma.file)
    vma_free(vma)

cdef void vma_link_file(vma_t *vma) noexcept nogil:
    cdef vma_t *first
    if vma.file == NULL:
        return
    first = vma.file.i_mmap
    vma.i_mmap_prev = NULL
    vma.i_mmap_next = first
    if first != NULL:
        first.i_mmap_prev = vma
    vma.file.i_mmap = vma

cdef void vma_unlink_file(vma_t *vma) noexcept nogil:
    if vma.file == NULL:
        return
    if vma.i_mmap_prev != NULL:
        vma.i_mmap_prev.i_mmap_next = vma.i_mmap_next
    elif vma.file.i_mmap == vma:
        vma.file.i_mmap = vma.i_mmap_next
    if vma.i_mmap_next != NULL:
        vma.i_mmap_next.i_mmap_prev = vma.i_mmap_prev
    vma.i_mmap_next = NULL
    vma.i_mmap_prev = NULL

cdef void link_list(mm_t *mm, vma_t *vma, vma_t *prev, vma_t *next) noexcept nogil:
    vma.prev = prev
    vma.next = next
    if prev != NULL:
        prev.next = vma
    else:
        mm.mmap = vma
    if next != NULL:
        next.prev = vma

cdef int vma_link(machine_t *m, mm_t *mm, vma_t *vma) noexcept nogil:
    """Follows: vma_link."""
    cdef vma_t *next = maple_find(&mm.vmas, vma.start)
    cdef vma_t *prev = next.prev if next != NULL else maple_last(&mm.vmas)
    if maple_insert(&mm.vmas, vma):
        return -FS_EHOSTMEM
    link_list(mm, vma, prev, next)
    vma_link_file(vma)
    mm.map_count += 1
    return 0

cdef void unlink_list(mm_t *mm, vma_t *vma) noexcept nogil:
    if vma.prev != NULL:
        vma.prev.next = vma.next
    else:
        mm.mmap = vma.next
    if vma.next != NULL:
        vma.next.prev = vma.prev
    vma.next = NULL
    vma.prev = NULL
    mm.map_count -= 1

cdef void vma_unlink(mm_t *mm, vma_t *vma) noexcept nogil:
    maple_erase(&mm.vmas, vma)
    unlink_list(mm, vma)

# ---- may they merge? ----

cdef bint is_mergeable_vma(const vmg_t *vmg, bint merge_next) noexcept nogil:
    cdef const vma_t *vma = vmg.next if merge_next else vmg.prev
    return (not (vma.flags ^ vmg.flags) & ~VM_IGNORE_MERGE and vma.file == vmg.file
            and vma.anon_name == vmg.anon_name)

cdef bint is_mergeable_anon_vma(const vmg_t *vmg, bint merge_next) noexcept nogil:
    """Follows: is_mergeable_anon_vma.  Nothing that was forked may hand its anon_vmas to a VMA without any, else
    chains would grow without bound."""
    cdef const vma_t *tgt = vmg.next if merge_next else vmg.prev
    if tgt.anon_vma == NULL and vmg.anon_vma != NULL:
        return not vma_is_fork_child(vmg.middle) and not vma_is_fork_child(vmg.copied_from)
    if tgt.anon_vma != NULL and vmg.anon_vma == NULL:
        return not vma_is_fork_child(tgt)
    return tgt.anon_vma == vmg.anon_vma

cdef bint can_vma_merge_left(const vmg_t *vmg) noexcept nogil:
    """Follows: can_vma_merge_left, can_vma_merge_after."""
    cdef const vma_t *prev = vmg.prev
    return (prev != NULL and prev.end == vmg.start
            and is_mergeable_vma(vmg, False) and is_mergeable_anon_vma(vmg, False)
            and prev.pgoff + vma_pages(prev) == vmg.pgoff)

cdef bint can_vma_merge_right(const vmg_t *vmg, bint merge_left) noexcept nogil:
    """Follows: can_vma_merge_right, can_vma_merge_before."""
    cdef const vma_t *next = vmg.next
    if next == NULL or next.start != vmg.end:
        return False
    if not is_mergeable_vma(vmg, True) or not is_mergeable_anon_vma(vmg, True):
        return False
    if next.pgoff != vmg.pgoff + ((vmg.end - vmg.start) >> FS_PAGE_SHIFT):
        return False
    if not merge_left or vmg.prev.anon_vma == NULL or next.anon_vma == NULL:
        return True
    return vmg.prev.anon_vma == next.anon_vma

# ---- merging ----

cdef int dup_anon_vma(machine_t *m, vma_t *dst, vma_t *src) noexcept nogil:
    """Follows: dup_anon_vma.  dst takes src's anon_vmas over if it has none."""
    if src.anon_vma == NULL or dst.anon_vma != NULL:
        return 0
    dst.anon_vma = src.anon_vma
    return anon_vma_clone(m, dst, src)

cdef void vma_set_range(vma_t *vma, uint64_t start, uint64_t end, uint64_t pgoff) noexcept nogil:
    vma.start = start
    vma.end = end
    vma.pgoff = pgoff

cdef void swallow(machine_t *m, vma_t *vma) noexcept nogil:
    # vma_complete's part for a VMA that became part of another one, which has its place in the tree
    unlink_list(vma.mm, vma)
    vma_unlink_file(vma)
    unlink_anon_vmas(m, vma)
    remove_vma(m, vma)

cdef void commit_merge(machine_t *m, vmg_t *vmg) noexcept nogil:
    """Follows: commit_merge, vmg_adjust_set_range, vma_complete."""
    cdef vma_t *vma = vmg.middle if vmg.adjust_next_start else vmg.target
    cdef vma_t *moved
    vma_adjust_trans_huge(m, vma, vmg.start, vmg.end, vmg.middle if vmg.adjust_middle_start else NULL)
    maple_store(&vma.mm.vmas, vma, vmg.start, vmg.end)
    if vmg.remove_middle:
        swallow(m, vmg.middle)
    if vmg.remove_next:
        swallow(m, vmg.next)
    vma_set_range(vma, vmg.start, vmg.end, vmg.pgoff)
    if vmg.adjust_middle_start:
        moved = vmg.middle
        moved.pgoff += (vmg.end - moved.start) >> FS_PAGE_SHIFT
        moved.start = vmg.end
    elif vmg.adjust_next_start:
        moved = vmg.next
        moved.pgoff -= (moved.start - vmg.end) >> FS_PAGE_SHIFT
        moved.start = vmg.end

cdef int vma_expand(machine_t *m, vmg_t *vmg) noexcept nogil:
    """Follows: vma_expand.  The target grows to [start, end), over next if that ends there."""
    cdef vma_t *target = vmg.target
    cdef vma_t *next = vmg.next
    cdef uint64_t sticky = (vmg.flags | target.flags) & VM_MAYBE_GUARD
    if next != NULL and target != next and vmg.end == next.end:
        if dup_anon_vma(m, target, next):
            return slab_errno(m)
        vmg.remove_next = True
        sticky |= next.flags & VM_MAYBE_GUARD
    if vmg.copied_from != NULL and dup_anon_vma(m, target, vmg.copied_from):
        return slab_errno(m)
    commit_merge(m, vmg)
    target.flags |= sticky
    return 0

cdef vma_t *vma_merge_new_range(machine_t *m, vmg_t *vmg) noexcept nogil:
    """Follows: vma_merge_new_range."""
    cdef bint left, right
    if vmg.flags & VM_SPECIAL or (vmg.prev == NULL and vmg.next == NULL):
        return NULL
    left = can_vma_merge_left(vmg)
    right = not vmg.just_expand and can_vma_merge_right(vmg, left)
    if right:
        vmg.end = vmg.next.end
        vmg.target = vmg.next
    if left:
        vmg.start = vmg.prev.start
        vmg.pgoff = vmg.prev.pgoff
        vmg.target = vmg.prev
    if vmg.target == NULL or vma_expand(m, vmg):
        return NULL
    return vmg.target

cdef void vmg_copied_range(vmg_t *vmg, const vma_t *vma, uint64_t start, uint64_t end, uint64_t pgoff) noexcept nogil:
    # VMG_VMA_STATE for a new range that gets what vma has
    vmg_init(vmg, vma.mm, start, end, vma.flags)
    vmg.pgoff = pgoff
    vmg.file = vma.file
    vmg.anon_name = vma.anon_name
    vmg.anon_vma = vma.anon_vma
    vmg.next = maple_find(&vma.mm.vmas, start)
    vmg.prev = vmg.next.prev if vmg.next != NULL else maple_last(&vma.mm.vmas)

cdef vma_t *vma_merge_extend(machine_t *m, vma_t *vma, uint64_t delta) noexcept nogil:
    """Follows: vma_merge_extend."""
    cdef vmg_t vmg
    vmg_copied_range(&vmg, vma, vma.end, vma.end + delta, vma.pgoff + vma_pages(vma))
    return vma_merge_new_range(m, &vmg)

cdef vma_t *copy_vma(machine_t *m, vma_t **vma, uint64_t addr, uint64_t len, uint64_t pgoff) noexcept nogil:
    """Follows: copy_vma.  Memory without pages takes the offset of its new address; others keep theirs."""
    cdef vma_t *old = vma[0]
    cdef vma_t *new
    cdef uint64_t old_start = old.start
    cdef vmg_t vmg
    if vma_is_anonymous(old) and old.anon_vma == NULL:
        pgoff = addr >> FS_PAGE_SHIFT
    vmg_copied_range(&vmg, old, addr, addr + len, pgoff)
    vmg.copied_from = old
    new = vma_merge_new_range(m, &vmg)
    if new != NULL:
        if new.start <= old_start < new.end:
            vma[0] = new
        return new
    new = vma_dup(old)
    if new == NULL:
        return NULL
    new.start = addr
    new.end = addr + len
    new.pgoff = pgoff
    if anon_vma_clone(m, new, old):
        vma_free(new)
        return NULL
    if new.file != NULL:
        new.file.refcount += 1
    if vma_link(m, new.mm, new):
        unlink_anon_vmas(m, new)
        remove_vma(m, new)
        return NULL
    return new

cdef int prepare_merge(machine_t *m, vmg_t *vmg, bint left, bint right) noexcept nogil:
    """The second half of vma_merge_existing_range: who grows, who shrinks, who goes.

    left and right, middle whole    prev takes middle and next
    left, middle whole              prev takes middle
    left                            prev grows, middle's start moves up
    right, middle whole             next takes middle
    right                           middle's end moves down, next grows
    """
    cdef vma_t *middle = vmg.middle
    cdef uint64_t nr_pages = (vmg.end - vmg.start) >> FS_PAGE_SHIFT
    vmg.remove_middle = vmg.start == middle.start and vmg.end == middle.end
    vmg.remove_next = left and right
    vmg.target = vmg.prev if left else vmg.next
    if left:
        vmg.start = vmg.prev.start
        vmg.pgoff = vmg.prev.pgoff
        vmg.adjust_middle_start = not vmg.remove_middle
        if right:
            vmg.end = vmg.next.end
            return dup_anon_vma(m, vmg.prev, vmg.next if vmg.next.anon_vma != NULL else middle)
        return dup_anon_vma(m, vmg.prev, middle)
    if vmg.remove_middle:
        vmg.end = vmg.next.end
        vmg.pgoff = vmg.next.pgoff - nr_pages
    else:
        vmg.adjust_next_start = True
        vmg.end = vmg.start
        vmg.start = middle.start
        vmg.pgoff = middle.pgoff
    return dup_anon_vma(m, vmg.next, middle)

cdef int moved_edge_policy(machine_t *m, vmg_t *vmg, bint left_side, bint right_side) noexcept nogil:
    """P01 where a merge moves the edge of middle into it; an errno: the edge must not move."""
    if left_side and right_side:
        return 0
    if left_side:
        return vma_split_policy(m, vmg.middle, vmg.end, False, False)
    return vma_split_policy(m, vmg.middle, vmg.start, True, False)

cdef vma_t *vma_merge_existing_range(machine_t *m, vmg_t *vmg) noexcept nogil:
    """Follows: vma_merge_existing_range.  Only a range at an edge of its VMA can merge."""
    cdef vma_t *middle = vmg.middle
    cdef bint left_side = vmg.start == middle.start
    cdef bint right_side = vmg.end == middle.end
    cdef bint left, right
    cdef uint64_t sticky = vmg.flags & VM_MAYBE_GUARD
    if vmg.flags & VM_SPECIAL or not (left_side or right_side):
        return NULL
    vmg.prev = middle.prev if left_side else NULL
    vmg.next = middle.next if right_side else NULL
    left = left_side and can_vma_merge_left(vmg)
    right = right_side and can_vma_merge_right(vmg, left)
    if not left and not right:
        return NULL
    if not policy_is_linux(m, POINT_VMA_SPLIT) and moved_edge_policy(m, vmg, left_side, right_side):
        return NULL
    if left:
        sticky |= vmg.prev.flags & VM_MAYBE_GUARD
    if right:
        sticky |= vmg.next.flags & VM_MAYBE_GUARD
    vmg.error = prepare_merge(m, vmg, left, right)
    if vmg.error:
        return NULL
    commit_merge(m, vmg)
    vmg.target.flags |= sticky
    return vmg.target

cdef int vma_modify(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t flags, uint32_t name,
                    vma_t **result) noexcept nogil:
    """Follows: vma_modify."""
    cdef vmg_t vmg
    cdef int err
    vmg_init(&vmg, vma.mm, start, end, flags)
    vmg.middle = vma
    vmg.pgoff = vma.pgoff + ((start - vma.start) >> FS_PAGE_SHIFT)
    vmg.file = vma.file
    vmg.anon_name = name
    vmg.anon_vma = vma.anon_vma
    result[0] = vma_merge_existing_range(m, &vmg)
    if result[0] != NULL:
        return 0
    if vmg.error:
        return vmg.error
    if vma.start < start:
        err = split_vma(m, vma, start, True)
        if err:
            return err
    if vma.end > end:
        err = split_vma(m, vma, end, False)
        if err:
            return err
    result[0] = vma
    return 0

cdef int vma_modify_flags(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t *flags,
                          vma_t **result) noexcept nogil:
    """Follows: vma_modify_flags."""
    cdef int err = vma_modify(m, vma, start, end, flags[0], vma.anon_name, result)
    if err == 0:
        flags[0] |= result[0].flags & VM_MAYBE_GUARD
    return err

cdef int vma_modify_name(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint32_t name,
                         vma_t **result) noexcept nogil:
    """Follows: vma_modify_name."""
    return vma_modify(m, vma, start, end, vma.flags, name, result)

# ---- splitting ----

cdef int split_vma_for(machine_t *m, vma_t *vma, uint64_t addr, bint new_below, bint going) noexcept nogil:
    """Follows: __split_vma.  The part that vma stands for afterwards is going to be changed, or unmapped."""
    cdef mm_t *mm = vma.mm
    cdef uint64_t below = (addr - vma.start) >> FS_PAGE_SHIFT
    cdef vma_t *new
    cdef int err
    if not policy_is_linux(m, POINT_VMA_SPLIT):
        err = vma_split_policy(m, vma, addr, new_below, going)
        if err:
            return err
    new = vma_dup(vma)
    if new == NULL:
        return slab_errno(m)
    if anon_vma_clone(m, new, vma):
        vma_free(new)
        return slab_errno(m)
    if maple_split(&mm.vmas, addr, new if new_below else vma, vma if new_below else new):
        unlink_anon_vmas(m, new)
        vma_free(new)
        return -FS_EHOSTMEM
    if new_below:
        new.end = addr
    else:
        new.start = addr
        new.pgoff += below
    vma_adjust_trans_huge(m, vma, vma.start, addr, NULL)
    if new_below:
        vma.start = addr
        vma.pgoff += below
        link_list(mm, new, vma.prev, vma)
    else:
        vma.end = addr
        link_list(mm, new, vma, vma.next)
    if new.file != NULL:
        new.file.refcount += 1
        vma_link_file(new)
    mm.map_count += 1
    return 0

cdef int split_vma_nocheck(machine_t *m, vma_t *vma, uint64_t addr, bint new_below) noexcept nogil:
    return split_vma_for(m, vma, addr, new_below, True)

cdef int split_vma(machine_t *m, vma_t *vma, uint64_t addr, bint new_below) noexcept nogil:
    if vma.mm.map_count >= m.max_map_count:
        return -ENOMEM
    return split_vma_for(m, vma, addr, new_below, False)
