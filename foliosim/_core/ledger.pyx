# cython: language_level=3
"""Who made the kernel copy, whether anybody could have seen the old page, and why folios could not be split."""
from libc.errno cimport EAGAIN, EINVAL, ENOMEM
from libc.stdint cimport int32_t, int64_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.stat cimport *


cdef int64_t needless(machine_t *m, page_t *folio, uint32_t pfn, uint32_t nr) noexcept nogil:
    """Pages that this mapping alone reaches: no other entry maps them, and nobody holds the folio."""
    cdef int64_t n = 0
    cdef uint32_t i
    if folio.refcount != folio_mapcount(folio):
        return 0
    for i in range(nr):
        n += page_precise_mapcount(m, pfn + i) == 1
    return n


cdef void count_copy(machine_t *m, const vma_t *vma, uint32_t pfn, uint32_t nr, uint32_t flags) noexcept nogil:
    cdef page_t *folio = folio_of(m, pfn)
    cdef int who = COW_FILE
    count_vm_events(m, COW_BYTES, FS_PAGE_SIZE * nr)
    if folio.flags & PG_anon:
        if not flags & FAULT_FLAG_USER:
            who = COW_SYSCALL
        elif vma.anon_vma != NULL and folio_mapping_id(folio) == vma.anon_vma.id:
            who = COW_PARENT
        else:
            who = COW_CHILD
        m.ledger.cow_bytes[<int>COW_NEEDLESS] += needless(m, folio, pfn, nr) << FS_PAGE_SHIFT
    m.ledger.cow_bytes[who] += <int64_t>FS_PAGE_SIZE * nr


cdef void count_fork_copy(machine_t *m) noexcept nogil:
    count_vm_events(m, COW_BYTES, FS_PAGE_SIZE)
    m.ledger.cow_bytes[<int>COW_FORK] += FS_PAGE_SIZE


cdef int split_failure(page_t *folio, int result) noexcept nogil:
    if folio.flags & PG_locked:
        return SPLIT_LOCKED
    if result == -ENOMEM:
        return SPLIT_NOMEM
    if result != -EAGAIN:
        return SPLIT_BUSY
    return SPLIT_PINNED if folio_maybe_dma_pinned(folio) else SPLIT_EXTRA_REF


cdef void count_split_attempt(machine_t *m, page_t *folio, int reason, int result) noexcept nogil:
    if result == -EINVAL:
        return
    m.ledger.split_attempt[reason] += 1
    if result == 0:
        m.ledger.split_ok[reason] += 1
    else:
        m.ledger.split_failed[split_failure(folio, result)] += 1
