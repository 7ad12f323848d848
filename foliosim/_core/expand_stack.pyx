# cython: language_level=3
"""Stack growth.  Follows: lock_mm_and_find_vma (mm/mmap_lock.c), expand_downwards, acct_stack_growth (mm/vma.c)."""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.maple_tree cimport find_vma

cdef bint gap_is_free(const vma_t *vma, uint64_t addr) noexcept nogil:
    # something accessible within the guard gap stops the growth; another stack does not
    cdef const vma_t *prev = vma.prev
    if prev == NULL or prev.flags & VM_GROWSDOWN or not prev.flags & VM_ACCESS_FLAGS:
        return prev == NULL or prev.end <= addr
    return addr >= prev.end and addr - prev.end >= FS_STACK_GUARD_GAP

cdef bint expand_downwards(machine_t *m, vma_t *vma, uint64_t addr) noexcept nogil:
    cdef uint64_t pages = (vma.start - addr) >> FS_PAGE_SHIFT
    if addr < FS_MMAP_MIN_ADDR or not gap_is_free(vma, addr) or pages > vma.pgoff:
        return False
    if vma.end - addr > vma.mm.rlimit_stack or anon_vma_prepare(m, vma) < 0:
        return False
    vma.start = addr
    vma.pgoff -= pages
    vma.mm.total_vm += <int64_t>pages
    if vma.flags & VM_LOCKED:
        vma.mm.locked_vm += <int64_t>pages
    return True

cdef vma_t *vma_lookup_or_grow(machine_t *m, mm_t *mm, uint64_t addr) noexcept nogil:
    cdef vma_t *vma = find_vma(mm, addr)
    if vma == NULL or vma.start <= addr:
        return vma
    if not vma.flags & VM_GROWSDOWN or not expand_downwards(m, vma, addr & ~(FS_PAGE_SIZE - 1)):
        return NULL
    return vma
