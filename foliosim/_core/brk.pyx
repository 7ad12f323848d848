# cython: language_level=3
"""The heap.  Follows: the system call brk and mm/vma.c's do_brk_flags."""
from libc.errno cimport ENOMEM
from libc.stdint cimport uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.gup cimport mm_populate
from foliosim._core.maple_tree cimport find_vma, maple_last
from foliosim._core.mmap cimport do_munmap
from foliosim._core.vma cimport *

cdef void mm_set_brk(mm_t *mm, uint64_t start) noexcept nogil:
    mm.start_brk = start
    mm.brk = start

cdef int do_brk_flags(machine_t *m, mm_t *mm, vma_t *prev, uint64_t addr, uint64_t len, uint64_t flags) noexcept nogil:
    """Follows: do_brk_flags."""
    cdef vma_t *vma = NULL
    cdef vmg_t vmg
    flags |= VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT | mm.def_flags
    if mm.map_count > m.max_map_count or not vm_enough_memory(m, len >> FS_PAGE_SHIFT):
        return -ENOMEM
    if prev != NULL and prev.end == addr:
        vmg_init(&vmg, mm, addr, addr + len, flags)
        vmg.pgoff = addr >> FS_PAGE_SHIFT
        vmg.prev = prev
        vmg.just_expand = True
        vma = vma_merge_new_range(m, &vmg)
    if vma == NULL:
        vma = vma_alloc(m, mm, addr, addr + len, addr >> FS_PAGE_SHIFT, flags)
        if vma == NULL:
            return -FS_EHOSTMEM
        if vma_link(m, mm, vma):
            remove_vma(m, vma)
            return -FS_EHOSTMEM
    mm.total_vm += <int64_t>(len >> FS_PAGE_SHIFT)
    if flags & VM_LOCKED:
        mm.locked_vm += <int64_t>(len >> FS_PAGE_SHIFT)
    if m.soft_dirty:
        vma.flags |= VM_SOFTDIRTY
        vma_set_page_prot(m, vma)
    return 0

cdef vma_t *brk_vma(const mm_t *mm, uint64_t end) noexcept nogil:
    # the area that ends where the heap does; what lies below the heap's start does not count
    cdef vma_t *next = find_vma(mm, end)
    cdef vma_t *prev = next.prev if next != NULL else maple_last(&mm.vmas)
    return prev if prev != NULL and prev.end > mm.start_brk else NULL

cdef bint room_above(const mm_t *mm, uint64_t end, uint64_t new_end) noexcept nogil:
    # one page is kept free above the heap, and the gap of a stack
    cdef const vma_t *next = find_vma(mm, end)
    return next == NULL or new_end + FS_PAGE_SIZE <= vm_start_gap(next)

cdef uint64_t do_brk(machine_t *m, mm_t *mm, uint64_t addr, bint *host_failed) noexcept nogil:
    cdef uint64_t new_end = fs_page_align(addr), end = fs_page_align(mm.brk)
    cdef int err = 0
    host_failed[0] = False
    if not mm.start_brk or addr < mm.start_brk or addr > m.task_size:
        return mm.brk
    if new_end < end:
        err = do_munmap(m, mm, new_end, end - new_end)
    elif new_end > end:
        if not room_above(mm, end, new_end):
            return mm.brk
        err = do_brk_flags(m, mm, brk_vma(mm, end), end, new_end - end, 0)
        if err == 0 and mm.def_flags & VM_LOCKED:
            host_failed[0] = mm_populate(m, mm, end, new_end - end, True) == -FS_EHOSTMEM
    if err == -FS_EHOSTMEM:
        host_failed[0] = True
    if err == 0:
        mm.brk = addr
    return mm.brk
