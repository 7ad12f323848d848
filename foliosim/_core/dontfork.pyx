# cython: language_level=3
"""P13 dontfork: ranges that are pinned for long are not for children, as a library that pins sees to (rdma-core)."""
from foliosim._core.flags cimport *
from foliosim._core.madvise cimport do_madvise
from foliosim._core.page cimport *
from foliosim._core.policy cimport FORK_PINNED_DONTFORK, ask_fork_pinned

cdef enum:
    MADV_DONTFORK = 10
    MADV_DOFORK = 11


cdef int pin_dontfork(machine_t *m, mm_t *mm, uint64_t addr, held_t *held) noexcept nogil:
    cdef int result
    if not held.flags & FOLL_LONGTERM or held.nr == 0:
        return 0
    if ask_fork_pinned(m, folio_order(folio_of(m, held.pfns[0]))) != FORK_PINNED_DONTFORK:
        return 0
    result = do_madvise(m, mm, addr, <uint64_t>held.nr << FS_PAGE_SHIFT, MADV_DONTFORK)
    held.dontfork, held.addr = mm.pid, addr
    return result


cdef uint64_t marked_until(machine_t *m, uint32_t pid, uint64_t at, uint64_t *stop) noexcept nogil:
    """Where the pins end that want the page at `at` marked; `at` if there are none, and then `*stop`: where the next
    begins, if that is before it."""
    cdef const held_t *other = m.held
    cdef uint64_t end
    while other != NULL:
        end = other.addr + (<uint64_t>other.nr << FS_PAGE_SHIFT)
        if other.dontfork == pid and end > at:
            if other.addr <= at:
                return end
            stop[0] = min(stop[0], other.addr)
        other = other.next
    return at


cdef void unpin_dofork(machine_t *m, held_t *held) noexcept nogil:
    cdef uint64_t at = held.addr, end = at + (<uint64_t>held.nr << FS_PAGE_SHIFT), stop, until
    cdef mm_t *mm = m.mm_first
    if not held.dontfork:
        return
    while mm != NULL and mm.pid != held.dontfork:
        mm = mm.next
    while mm != NULL and at < end:
        stop = end
        until = marked_until(m, held.dontfork, at, &stop)
        if until == at:
            do_madvise(m, mm, at, stop - at, MADV_DOFORK)
            until = stop
        at = until
    held.dontfork = 0
