# cython: language_level=3
"""Guard regions.  Follows madvise_guard_install and madvise_guard_remove in mm/madvise.c.

The VMA flag that says "may have markers" stays once it is set; a merge hands it on, a split leaves it on both parts.
"""
from libc.errno cimport ENOMEM
from foliosim._core.flags cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport *
from foliosim._core.anon_vma cimport anon_vma_prepare
from foliosim._core.pgalloc cimport pmd_alloc, pte_alloc
from foliosim._core.zap cimport zap_page_range_single


cdef int fill_with_markers(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end) noexcept nogil:
    """Put markers into what is empty, making missing tables.  1: something else is mapped."""
    cdef uint64_t *pmd
    cdef uint64_t *pte
    cdef uint64_t next
    cdef uint32_t i
    while addr < end:
        pmd = pmd_alloc(m, vma.mm, addr)
        if pmd == NULL or pte_alloc(m, vma.mm, pmd) < 0:
            return -ENOMEM
        next = pmd_addr_end(addr, end)
        if pmd_leaf(m, pmd[0]):
            return 1
        pte = pte_offset(m, pmd[0], addr)
        for i in range(<uint32_t>((next - addr) >> FS_PAGE_SHIFT)):
            if pte[i] and not pte_guard(m, pte[i]):
                return 1
            set_pte(m, pte + i, mk_guard(m))
        addr = next
    return 0


cdef int madvise_guard_install(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    """The anon_vma makes fork copy the tables; file memory has them copied for VM_MAYBE_GUARD, where that exists."""
    cdef int result
    if vma.file == NULL or not m.guard_flag:
        result = anon_vma_prepare(m, vma)
        if result < 0:
            return result
    if m.guard_flag:
        vma.flags |= VM_MAYBE_GUARD
    result = fill_with_markers(m, vma, start, end)
    while result == 1:
        zap_page_range_single(m, vma, start, end)
        result = fill_with_markers(m, vma, start, end)
    return result


cdef int madvise_guard_remove(machine_t *m, vma_t *vma, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t addr = start, next
    cdef uint64_t *pmd
    cdef uint64_t *pte
    cdef uint32_t i
    while addr < end:
        pmd = pmd_offset(m, vma.mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, vma.mm, addr, end)
            continue
        next = pmd_addr_end(addr, end)
        if pmd_table(m, pmd[0]):
            pte = pte_offset(m, pmd[0], addr)
            for i in range(<uint32_t>((next - addr) >> FS_PAGE_SHIFT)):
                if pte_guard(m, pte[i]):
                    clear_ptes(m, pte + i, 1)
        addr = next
    return 0
