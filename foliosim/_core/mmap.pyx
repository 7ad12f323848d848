# cython: language_level=3
"""mmap, munmap, and the life of address spaces.  Follows mm/mmap.c, mm/vma.c (mmap_region, do_vmi_munmap) and
kernel/fork.c (mm_init, dup_mmap)."""
from libc.errno cimport EACCES, EBADF, EEXIST, EINTR, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.anon_vma cimport anon_vma_fork, unlink_anon_vmas
from foliosim._core.fault_inject cimport slab_errno
from foliosim._core.fork cimport copy_page_range
from foliosim._core.gup cimport mm_populate
from foliosim._core.ksm cimport ksm_vma_flags
from foliosim._core.madvise cimport FS_ENOTSIM
from foliosim._core.mapping cimport mapping_put
from foliosim._core.maple_tree cimport find_vma, maple_destroy, maple_last, vma_find
from foliosim._core.page_alloc cimport table_alloc, table_free
from foliosim._core.shmem cimport shmem_file_setup
from foliosim._core.stat cimport count_op, update_hiwater_vm
from foliosim._core.unmapped_area cimport get_unmapped_area
from foliosim._core.vma cimport *
from foliosim._core.zap cimport free_pgtables, unmap_vma_range

cdef extern from *:
    """
    #define FS_MAP_DROPPABLE 0x08
    #define FS_MAP_HUGETLB 0x40000
    /* what MAP_SHARED_VALIDATE knows: all classic flags, but neither MAP_SYNC nor MAP_FIXED_NOREPLACE */
    #define FS_LEGACY_MAP_MASK 0x7c07f9f3ULL
    #define FS_MAX_LFS_FILESIZE 0x7fffffffffffffffULL
    #define FS_STACK_LIMIT (8ULL << 20)
    """
    enum:
        FS_MAP_DROPPABLE, FS_MAP_HUGETLB
    const uint64_t FS_LEGACY_MAP_MASK, FS_MAX_LFS_FILESIZE, FS_STACK_LIMIT

# ---- unmapping ----

cdef int gather_vmas(machine_t *m, mm_t *mm, uint64_t start, uint64_t end, vma_t **first,
                     int64_t *nr_accounted) noexcept nogil:
    """Cut VMAs at both ends of the range; the first VMA inside (NULL: none), and pages with VM_ACCOUNT.

    Follows: vms_gather_munmap_vmas.
    """
    cdef vma_t *vma = vma_find(mm, start, end)
    cdef int err
    first[0] = vma
    nr_accounted[0] = 0
    if vma == NULL:
        return 0
    if start > vma.start:
        if end < vma.end and mm.map_count >= m.max_map_count:
            return -ENOMEM
        if vma.flags & VM_SEALED:
            return -EPERM
        err = split_vma_nocheck(m, vma, start, True)
        if err:
            return err
    while vma != NULL and vma.start < end:
        if vma.flags & VM_SEALED:
            return -EPERM
        if vma.end > end:
            err = split_vma_nocheck(m, vma, end, False)
            if err:
                return err
        if vma.flags & VM_ACCOUNT:
            nr_accounted[0] += <int64_t>vma_pages(vma)
        vma = vma.next
    return 0

cdef void free_pgtables_of(machine_t *m, mm_t *mm, vma_t *vma, vma_t *stop, uint64_t floor,
                           uint64_t ceiling) noexcept nogil:
    """Free page tables of the VMAs from vma to before stop; detach them from rmap.  Follows: free_pgtables
    (mm/memory.c).

    Neighbours at most 2 MiB apart are done in one go.
    """
    cdef vma_t *next
    cdef uint64_t addr
    while vma != stop:
        addr = vma.start
        next = vma.next
        unlink_anon_vmas(m, vma)
        vma_unlink_file(vma)
        while next != stop and next.start <= vma.end + FS_PMD_SIZE:
            vma = next
            next = vma.next
            unlink_anon_vmas(m, vma)
            vma_unlink_file(vma)
        free_pgtables(m, mm, addr, vma.end, floor, ceiling if next == stop else next.start)
        vma = next

cdef int unmap_region(machine_t *m, mm_t *mm, vma_t *first, vma_t *stop, bint killable) noexcept nogil:
    """Unmap and free the VMAs from first to before stop; or -EINTR: a part of the pages has gone.

    Follows: vms_clear_ptes, vms_complete_munmap_vmas.
    """
    cdef vma_t *vma = first
    cdef vma_t *next
    cdef uint64_t floor = first.prev.end if first.prev != NULL else 0
    cdef uint64_t ceiling = stop.start if stop != NULL else 0
    while vma != stop:
        if not unmap_vma_range(m, vma, vma.start, vma.end, killable):
            return -EINTR
        vma = vma.next
    free_pgtables_of(m, mm, first, stop, floor, ceiling)
    update_hiwater_vm(mm)
    vma = first
    while vma != stop:
        next = vma.next
        mm.total_vm -= <int64_t>vma_pages(vma)
        if vma.flags & VM_LOCKED:
            mm.locked_vm -= <int64_t>vma_pages(vma)
        vma_unlink(mm, vma)
        remove_vma(m, vma)
        vma = next
    return 0

cdef int munmap_range(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, bint killable) noexcept nogil:
    """Follows: do_vmi_munmap, do_vmi_align_munmap."""
    cdef vma_t *first
    cdef int64_t nr_accounted
    cdef uint64_t end
    cdef int err
    if start & (FS_PAGE_SIZE - 1) or start > m.task_size or len > m.task_size - start:
        return -EINVAL
    end = start + fs_page_align(len)
    if end == start:
        return -EINVAL
    err = gather_vmas(m, mm, start, end, &first, &nr_accounted)
    if err == 0 and first != NULL:
        return unmap_region(m, mm, first, find_vma(mm, end), killable)
    return err

cdef int do_munmap(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil:
    return munmap_range(m, mm, start, len, False)

cdef int vm_munmap(machine_t *m, mm_t *mm, uint64_t start, uint64_t len) noexcept nogil:
    return munmap_range(m, mm, start, len, True)

# ---- mapping ----

cdef uint64_t calc_vm_flags(uint64_t prot, uint64_t flags) noexcept nogil:
    """Follows: calc_vm_prot_bits, calc_vm_flag_bits (include/linux/mman.h)."""
    cdef uint64_t vm_flags = prot & (FS_PROT_READ | FS_PROT_WRITE | FS_PROT_EXEC)
    if flags & FS_MAP_GROWSDOWN:
        vm_flags |= VM_GROWSDOWN
    if flags & FS_MAP_LOCKED:
        vm_flags |= VM_LOCKED
    if flags & FS_MAP_STACK:
        vm_flags |= VM_NOHUGEPAGE
    return vm_flags

cdef int check_file(mapping_t *file, bint writable, uint64_t len, uint64_t pgoff, uint64_t flags,
                    uint64_t *vm_flags) noexcept nogil:
    # do_mmap's checks for a file, which is open for reading, and perhaps for writing
    cdef uint64_t kind = flags & FS_MAP_TYPE
    if len > FS_MAX_LFS_FILESIZE or pgoff > (FS_MAX_LFS_FILESIZE - len) >> FS_PAGE_SHIFT:
        return -EOVERFLOW
    if kind == FS_MAP_SHARED_VALIDATE and flags & ~FS_LEGACY_MAP_MASK:
        return -EOPNOTSUPP
    if kind == FS_MAP_SHARED or kind == FS_MAP_SHARED_VALIDATE:
        if not writable and vm_flags[0] & VM_WRITE:
            return -EACCES
        vm_flags[0] |= VM_SHARED | VM_MAYSHARE
        if not writable:
            vm_flags[0] &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != FS_MAP_PRIVATE:
        return -EINVAL
    if vm_flags[0] & VM_GROWSDOWN:
        return -EINVAL
    return 0

cdef int check_anonymous(uint64_t addr, uint64_t flags, uint64_t *pgoff, uint64_t *vm_flags) noexcept nogil:
    # do_mmap's checks without a file
    cdef uint64_t kind = flags & FS_MAP_TYPE
    if kind == FS_MAP_SHARED:
        if vm_flags[0] & VM_GROWSDOWN:
            return -EINVAL
        vm_flags[0] |= VM_SHARED | VM_MAYSHARE
        pgoff[0] = 0
        return 0
    if kind == FS_MAP_PRIVATE:
        pgoff[0] = addr >> FS_PAGE_SHIFT
        return 0
    return -FS_ENOTSIM if kind == FS_MAP_DROPPABLE else -EINVAL

cdef int64_t do_mmap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                     mapping_t *file, bint writable, uint64_t pgoff, uint64_t *populate) noexcept nogil:
    """Follows: do_mmap.  Fidelity: customised - no MAP_DROPPABLE, protection keys, sealing of files."""
    cdef uint64_t vm_flags
    cdef int64_t found
    cdef int err
    populate[0] = 0
    if not len:
        return -EINVAL
    if flags & FS_MAP_FIXED_NOREPLACE:
        flags |= FS_MAP_FIXED
    if not flags & FS_MAP_FIXED:
        addr &= ~(FS_PAGE_SIZE - 1)
        if addr and addr < FS_MMAP_MIN_ADDR:
            addr = FS_MMAP_MIN_ADDR
    len = fs_page_align(len)
    if not len:
        return -ENOMEM
    if pgoff + (len >> FS_PAGE_SHIFT) < pgoff:
        return -EOVERFLOW
    if mm.map_count > m.max_map_count:
        return -ENOMEM
    vm_flags = calc_vm_flags(prot, flags) | mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    found = get_unmapped_area(m, mm, file, addr, len, pgoff, flags)
    if found < 0:
        return found
    addr = <uint64_t>found
    if flags & FS_MAP_FIXED_NOREPLACE and vma_find(mm, addr, addr + len) != NULL:
        return -EEXIST
    if file != NULL:
        err = check_file(file, writable, len, pgoff, flags, &vm_flags)
    else:
        err = check_anonymous(addr, flags, &pgoff, &vm_flags)
    if err:
        return err
    if flags & FS_MAP_NORESERVE:
        vm_flags |= VM_NORESERVE
    err = mmap_region(m, mm, file, addr, len, vm_flags, pgoff)
    if err:
        return err
    if vm_flags & VM_LOCKED or flags & (FS_MAP_POPULATE | FS_MAP_NONBLOCK) == FS_MAP_POPULATE:
        populate[0] = len
    return <int64_t>addr

cdef int mmap_region(machine_t *m, mm_t *mm, mapping_t *file, uint64_t addr, uint64_t len, uint64_t vm_flags,
                     uint64_t pgoff) noexcept nogil:
    """Follows: __mmap_region, __mmap_setup, __mmap_complete."""
    cdef vma_t *first
    cdef vma_t *vma
    cdef vmg_t vmg
    cdef int64_t charge
    cdef int64_t pages = <int64_t>(len >> FS_PAGE_SHIFT)
    cdef int err = gather_vmas(m, mm, addr, addr + len, &first, &charge)
    if err:
        return err
    if vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE:
        charge = pages - charge
        if charge > 0 and not vm_enough_memory(m, <uint64_t>charge):
            return -ENOMEM
        vm_flags |= VM_ACCOUNT
    if first != NULL:
        unmap_region(m, mm, first, find_vma(mm, addr + len), False)
    if file != NULL and file.kind == MAPPING_DEVICE:
        err = vfio_pci_core_mmap(file, len, pgoff, &vm_flags)
        if err:
            return err
    vm_flags = ksm_vma_flags(vm_flags)
    vmg_init(&vmg, mm, addr, addr + len, vm_flags)
    vmg.pgoff = pgoff
    vmg.file = file
    vmg.next = find_vma(mm, addr)
    vmg.prev = vmg.next.prev if vmg.next != NULL else maple_last(&mm.vmas)
    vma = vma_merge_new_range(m, &vmg)
    if vma == NULL:
        err = mmap_new_vma(m, mm, file, addr, len, vm_flags, pgoff, &vma)
        if err:
            return err
    mm.total_vm += pages
    if vm_flags & VM_LOCKED:
        mm.locked_vm += pages
    if m.soft_dirty:
        vma.flags |= VM_SOFTDIRTY
    vma_set_page_prot(m, vma)
    return 0

cdef int vfio_pci_core_mmap(const mapping_t *file, uint64_t len, uint64_t pgoff, uint64_t *vm_flags) noexcept nogil:
    """A device refuses when old mappings are gone already.  Such memory is never locked (vma_supports_mlock)."""
    if not vm_flags[0] & VM_SHARED or (pgoff << FS_PAGE_SHIFT) + len > file.size:
        return -EINVAL
    vm_flags[0] |= VM_ALLOW_ANY_UNCACHED | VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP
    vm_flags[0] &= ~VM_LOCKED_MASK
    return 0

cdef int mmap_new_vma(machine_t *m, mm_t *mm, mapping_t *file, uint64_t addr, uint64_t len, uint64_t vm_flags,
                      uint64_t pgoff, vma_t **result) noexcept nogil:
    """Follows: __mmap_new_vma, shmem_zero_setup."""
    cdef vma_t *vma = vma_alloc(m, mm, addr, addr + len, pgoff, vm_flags)
    if vma == NULL:
        return slab_errno(m)
    if file != NULL:
        file.refcount += 1
    elif vm_flags & VM_SHARED:
        if not vm_flags & VM_NORESERVE and not vm_enough_memory(m, len >> FS_PAGE_SHIFT):
            vma_free(vma)
            return -ENOMEM
        file = shmem_file_setup(m, len)
        if file == NULL:
            vma_free(vma)
            return -FS_EHOSTMEM
    vma.file = file
    if vma_link(m, mm, vma):
        remove_vma(m, vma)
        return -FS_EHOSTMEM
    result[0] = vma
    return 0

cdef int check_hugetlb(mapping_t *file, uint64_t flags) noexcept nogil:
    # ksys_mmap_pgoff's part for MAP_HUGETLB: 2 MiB and 1 GiB pages are known, but there is none in the pools
    cdef uint64_t size = flags >> 26 & 0x3f
    if file != NULL or (size and size != 21 and size != 30):
        return -EINVAL
    return -ENOMEM

cdef mapping_t **hold_files(const mm_t *mm, uint64_t start, uint64_t end, int *nr) noexcept nogil:
    """One more reference on what the areas of a range map; NULL: none, or the host has no memory."""
    cdef vma_t *first = find_vma(mm, start)
    cdef vma_t *vma = first
    cdef mapping_t **files
    nr[0] = 0
    while vma != NULL and vma.start < end:
        nr[0] += vma.file != NULL
        vma = vma.next
    files = <mapping_t **>calloc(nr[0], sizeof(mapping_t *)) if nr[0] else NULL
    if files == NULL:
        nr[0] = 0
        return NULL
    nr[0] = 0
    vma = first
    while vma != NULL and vma.start < end:
        if vma.file != NULL:
            vma.file.refcount += 1
            files[nr[0]] = vma.file
            nr[0] += 1
        vma = vma.next
    return files

cdef int64_t mmap_over(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                       mapping_t *file, bint writable, uint64_t offset) noexcept nogil:
    """Follows: fput, which puts the end of a file off until the call returns: new pages do not get its frames."""
    cdef int nr, i
    cdef mapping_t **files = hold_files(mm, addr, addr + len, &nr)
    cdef int64_t result = mmap_and_populate(m, mm, addr, len, prot, flags, file, writable, offset)
    for i in range(nr):
        mapping_put(m, files[i])
    free(files)
    return result

cdef int64_t ksys_mmap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                       mapping_t *file, bint writable, uint64_t offset) noexcept nogil:
    """Follows: the system call mmap of x86-64, ksys_mmap_pgoff, vm_mmap_pgoff."""
    if offset & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if flags & FS_MAP_ANONYMOUS:
        file = NULL
    elif file == NULL:
        return -EBADF
    if flags & FS_MAP_HUGETLB:
        return check_hugetlb(file, flags)
    if flags & FS_MAP_FIXED and flags & FS_MAP_POPULATE:
        return mmap_over(m, mm, addr, len, prot, flags, file, writable, offset)
    return mmap_and_populate(m, mm, addr, len, prot, flags, file, writable, offset)

cdef int64_t mmap_and_populate(machine_t *m, mm_t *mm, uint64_t addr, uint64_t len, uint64_t prot, uint64_t flags,
                               mapping_t *file, bint writable, uint64_t offset) noexcept nogil:
    cdef uint64_t populate
    cdef int64_t result = do_mmap(m, mm, addr, len, prot, flags, file, writable, offset >> FS_PAGE_SHIFT, &populate)
    if result >= 0 and populate:
        if mm_populate(m, mm, <uint64_t>result, populate, True) == -FS_EHOSTMEM:
            return -FS_EHOSTMEM
    return result

# ---- address spaces ----

cdef int reserve_mm_id(machine_t *m, uint32_t *id) noexcept nogil:
    # the next id; the stack always has room for every id given out
    cdef uint32_t cap
    cdef void *grown
    if m.mm_ids_nr:
        m.mm_ids_nr -= 1
        id[0] = m.mm_ids[m.mm_ids_nr]
        return 0
    if m.mm_id_next == 0:
        m.mm_id_next = 1
    if m.mm_id_next >= m.mm_ids_cap:
        cap = m.mm_ids_cap * 2 if m.mm_ids_cap else 16
        grown = realloc(m.mm_ids, cap * sizeof(uint32_t))
        if grown == NULL:
            return -FS_EHOSTMEM
        m.mm_ids = <uint32_t *>grown
        m.mm_ids_cap = cap
    id[0] = m.mm_id_next
    m.mm_id_next += 1
    return 0

cdef void release_mm_id(machine_t *m, uint32_t id) noexcept nogil:
    m.mm_ids[m.mm_ids_nr] = id
    m.mm_ids_nr += 1

cdef mm_t *mm_alloc(machine_t *m) noexcept nogil:
    """Follows: mm_alloc, mm_init (kernel/fork.c)."""
    cdef mm_t *mm = <mm_t *>calloc(1, sizeof(mm_t))
    if mm == NULL:
        return NULL
    if reserve_mm_id(m, &mm.id):
        free(mm)
        return NULL
    mm.pgd = table_alloc(m)
    if mm.pgd == FS_NO_PFN:
        release_mm_id(m, mm.id)
        free(mm)
        return NULL
    if m.next_pid == 0:
        m.next_pid = 1
    mm.pid = m.next_pid
    m.next_pid += 1
    mm.m = m
    mm.rlimit_stack = FS_STACK_LIMIT
    mm.prev = m.mm_last
    if m.mm_last != NULL:
        m.mm_last.next = mm
    else:
        m.mm_first = mm
    m.mm_last = mm
    return mm

cdef void mm_free(machine_t *m, mm_t *mm) noexcept nogil:
    """Follows: __mmdrop (kernel/fork.c)."""
    table_free(m, mm.pgd)
    release_mm_id(m, mm.id)
    if mm.prev != NULL:
        mm.prev.next = mm.next
    else:
        m.mm_first = mm.next
    if mm.next != NULL:
        mm.next.prev = mm.prev
    else:
        m.mm_last = mm.prev
    maple_destroy(&mm.vmas)
    free(mm)

cdef int exit_mmap(machine_t *m, mm_t *mm, bint killable) noexcept nogil:
    """Follows: exit_mmap (mm/mmap.c).  The tree goes as a whole, not VMA by VMA.  -EINTR: a part of the pages has gone
    (as the oom reaper leaves a process)."""
    cdef vma_t *vma = mm.mmap
    cdef vma_t *next
    while vma != NULL:
        if not unmap_vma_range(m, vma, vma.start, vma.end, killable):
            return -EINTR
        vma = vma.next
    free_pgtables_of(m, mm, mm.mmap, NULL, 0, 0)
    vma = mm.mmap
    mm.mmap = NULL
    maple_destroy(&mm.vmas)
    while vma != NULL:
        next = vma.next
        remove_vma(m, vma)
        vma = next
    mm.map_count = 0
    mm.total_vm = 0
    mm.locked_vm = 0
    return 0

cdef bint vma_needs_copy(const vma_t *src) noexcept nogil:
    """Follows: vma_needs_copy (mm/memory.c).  Other page tables are filled by faults."""
    return src.anon_vma != NULL or (src.flags & (VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD)) != 0

cdef int dup_vma(machine_t *m, mm_t *mm, vma_t *mpnt) noexcept nogil:
    # one turn of dup_mmap's loop
    cdef vma_t *tmp
    if mpnt.flags & VM_ACCOUNT and not vm_enough_memory(m, vma_pages(mpnt)):
        return -ENOMEM
    tmp = vma_dup(mpnt)
    if tmp == NULL:
        return slab_errno(m)
    tmp.mm = mm
    tmp.anon_vma = NULL
    if not mpnt.flags & VM_WIPEONFORK and anon_vma_fork(m, tmp, mpnt):
        vma_free(tmp)
        return slab_errno(m)
    tmp.flags &= ~VM_LOCKED_MASK
    if tmp.file != NULL:
        tmp.file.refcount += 1
    if vma_link(m, mm, tmp):
        unlink_anon_vmas(m, tmp)
        remove_vma(m, tmp)
        return -FS_EHOSTMEM
    if not mpnt.flags & VM_WIPEONFORK and vma_needs_copy(mpnt):
        return copy_page_range(m, tmp, mpnt)
    return 0

cdef int dup_mmap(machine_t *m, mm_t *mm, mm_t *oldmm) noexcept nogil:
    """Follows: dup_mmap (mm/mmap.c); the inherited settings are mm_init's."""
    cdef vma_t *mpnt = oldmm.mmap
    cdef int err
    mm.def_flags = oldmm.def_flags & (VM_NOHUGEPAGE | VM_MERGEABLE)
    mm.thp_disable = oldmm.thp_disable
    mm.start_brk, mm.brk, mm.rlimit_stack = oldmm.start_brk, oldmm.brk, oldmm.rlimit_stack
    mm.total_vm = oldmm.total_vm
    while mpnt != NULL:
        if mpnt.flags & VM_DONTCOPY:
            mm.total_vm -= <int64_t>vma_pages(mpnt)
        else:
            err = dup_vma(m, mm, mpnt)
            if err:
                return err
        mpnt = mpnt.next
    count_op(m, OP_TLB_FLUSH, 1)
    return 0
