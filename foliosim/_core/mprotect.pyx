# cython: language_level=3
"""mprotect on VMAs.  Follows do_mprotect_pkey and mprotect_fixup (mm/mprotect.c)."""
from libc.errno cimport EACCES, EINVAL, ENOMEM, EPERM
from libc.stdint cimport uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.change_prot cimport change_protection
from foliosim._core.gup cimport mm_populate
from foliosim._core.maple_tree cimport vma_find
from foliosim._core.policy cimport policy_is_linux
from foliosim._core.vma cimport *
from foliosim._core.vma_split cimport fork_child_mprotect_policy

cdef extern from *:
    """
    #define FS_PROT_SEM 8
    #define FS_PROT_GROWSDOWN 0x01000000
    #define FS_PROT_GROWSUP 0x02000000
    #define VM_PKEY_SHIFT 32
    """
    enum:
        FS_PROT_SEM, FS_PROT_GROWSDOWN, FS_PROT_GROWSUP, VM_PKEY_SHIFT

cdef bint vma_wants_manual_pte_write_upgrade(const machine_t *m, const vma_t *vma) noexcept nogil:
    """Follows: vma_wants_manual_pte_write_upgrade (include/linux/mm.h)."""
    if vma.flags & VM_SHARED:
        return vma_wants_writenotify(m, vma)
    return (vma.flags & VM_WRITE) != 0

cdef int mprotect_fixup(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t newflags,
                        vma_t **result) noexcept nogil:
    """Give [start, end) of vma the new flags; `*result` is the VMA that holds it then.  Follows: mprotect_fixup."""
    cdef uint64_t oldflags = vma.flags
    cdef uint64_t nr_pages = (end - start) >> FS_PAGE_SHIFT
    cdef int err
    result[0] = vma
    if oldflags & VM_SEALED:
        return -EPERM
    if newflags == oldflags:
        return 0
    if newflags & VM_WRITE:
        if not oldflags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            if not vm_enough_memory(m, nr_pages):
                return -ENOMEM
            newflags |= VM_ACCOUNT
    elif oldflags & VM_ACCOUNT and vma_is_anonymous(vma) and vma.anon_vma == NULL:
        newflags &= ~VM_ACCOUNT
    if not policy_is_linux(m, POINT_FORK_CHILD_MPROTECT):
        fork_child_mprotect_policy(m, vma, start, end)
    err = vma_modify_flags(m, vma, start, end, &newflags, result)
    if err:
        return err
    vma = result[0]
    vma.flags = newflags
    vma_set_page_prot(m, vma)
    change_protection(m, vma, start, end, vma_wants_manual_pte_write_upgrade(m, vma))
    if oldflags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and newflags & VM_WRITE:
        if mm_populate(m, vma.mm, start, end - start, True) == -FS_EHOSTMEM:
            return -FS_EHOSTMEM
    return 0

cdef inline uint64_t new_vma_flags(const vma_t *vma, uint64_t prot, uint64_t pkey) noexcept nogil:
    """Follows: calc_vm_prot_bits, and arch_override_mprotect_pkey but for its key of what may only be executed."""
    cdef uint64_t flags = (vma.flags & ~VM_ACCESS_FLAGS) | (prot & (FS_PROT_READ | FS_PROT_WRITE | FS_PROT_EXEC))
    if pkey == FS_PKEY_NONE:
        return flags
    return flags & ~((FS_PKEYS - 1) << VM_PKEY_SHIFT) | pkey << VM_PKEY_SHIFT

cdef int mprotect_range(machine_t *m, vma_t *vma, uint64_t start, uint64_t end, uint64_t prot,
                        uint64_t pkey) noexcept nogil:
    # the loop of do_mprotect_pkey over the VMAs from the first one in the range
    cdef uint64_t nstart = start
    cdef uint64_t tmp = vma.start
    cdef uint64_t newflags
    cdef int err
    while vma != NULL and vma.start < end:
        if vma.start != tmp:
            return -ENOMEM
        newflags = new_vma_flags(vma, prot, pkey)
        if newflags & ~(newflags >> 4) & VM_ACCESS_FLAGS:
            return -EACCES
        tmp = vma.end if vma.end < end else end
        err = mprotect_fixup(m, vma, nstart, tmp, newflags, &vma)
        if err:
            return err
        tmp = vma.end
        nstart = tmp
        vma = vma.next
    return -ENOMEM if tmp < end else 0

cdef int do_mprotect(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t prot,
                     uint64_t pkey) noexcept nogil:
    """Follows: do_mprotect_pkey.  Fidelity: customised - a key is a property of an area, and forbids no access."""
    cdef uint64_t grows = prot & (FS_PROT_GROWSDOWN | FS_PROT_GROWSUP)
    cdef uint64_t end
    cdef vma_t *vma
    prot &= ~<uint64_t>(FS_PROT_GROWSDOWN | FS_PROT_GROWSUP)
    if grows == (FS_PROT_GROWSDOWN | FS_PROT_GROWSUP) or start & (FS_PAGE_SIZE - 1):
        return -EINVAL
    if not len:
        return 0
    end = start + fs_page_align(len)
    if end <= start:
        return -ENOMEM
    if prot & ~<uint64_t>(FS_PROT_READ | FS_PROT_WRITE | FS_PROT_EXEC | FS_PROT_SEM):
        return -EINVAL
    if pkey != FS_PKEY_NONE and pkey >= FS_PKEYS:
        return -EINVAL
    vma = vma_find(mm, start, end)
    if vma == NULL:
        return -ENOMEM
    if grows & FS_PROT_GROWSDOWN:
        start = vma.start
        if not vma.flags & VM_GROWSDOWN:
            return -EINVAL
    elif vma.start > start:
        return -ENOMEM
    elif grows:
        return -EINVAL
    return mprotect_range(m, vma, start, end, prot, pkey)
