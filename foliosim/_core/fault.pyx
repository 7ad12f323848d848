# cython: language_level=3
"""User-mode loads and stores.  Follows do_user_addr_fault in arch/x86/mm/fault.c; the MMU's part is in pgtable.pxd.

A series of accesses goes table by table: entries that allow it are used at once, runs of empty entries that can only
get single pages are filled in one go, and everything else takes one fault at a time.
"""
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport uint32_t
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.stat cimport *
from foliosim._core.age cimport age_accessed
from foliosim._core.content cimport content_read, content_write, flags_with_byte0
from foliosim._core.folio cimport folio_materialize
from foliosim._core.expand_stack cimport vma_lookup_or_grow
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.maple_tree cimport vma_lookup
from foliosim._core.memory cimport anon_fault_orders, do_anonymous_run, handle_mm_fault

cdef enum:
    SIGBUS = 7
    SIGSEGV = 11


cdef inline bint is_write(const access_t *a) noexcept nogil:
    return a.kind == ACCESS_WRITE or a.kind == ACCESS_TOUCH_WRITE


# ---- faults ----

cdef int raise_signal(access_t *a, int signal, int code) noexcept nogil:
    a.signal = signal
    a.si_code = code
    a.si_addr = a.addr
    return 1


cdef bint access_error(const machine_t *m, const vma_t *vma, bint write, bint present) noexcept nogil:
    """Does the VMA refuse the access?"""
    if write:
        return not vma.flags & VM_WRITE
    return user_read_error(m, present) or not vma.flags & VM_ACCESS_FLAGS


cdef int user_fault(machine_t *m, mm_t *mm, access_t *a, bint present) noexcept nogil:
    """0: retry; 1: a signal; -ENOMEM."""
    cdef vma_t *vma = vma_lookup_or_grow(m, mm, a.addr) if a.addr < m.task_size else NULL
    cdef bint write = is_write(a)
    cdef int result
    if vma == NULL:
        return raise_signal(a, SIGSEGV, SEGV_MAPERR)
    if access_error(m, vma, write, present):
        return raise_signal(a, SIGSEGV, SEGV_ACCERR)
    result = handle_mm_fault(m, vma, a.addr, FAULT_FLAG_USER | (FAULT_FLAG_WRITE if write else 0))
    if result == VM_FAULT_RETRY:
        return 0
    count_vm_events(m, PGFAULT, 1)
    if result & VM_FAULT_OOM:
        return -ENOMEM
    if result & VM_FAULT_SIGSEGV:
        return raise_signal(a, SIGSEGV, SEGV_MAPERR)
    if result & VM_FAULT_SIGBUS:
        return raise_signal(a, SIGBUS, BUS_ADRERR)
    return 0


# ---- data ----

cdef int transfer(machine_t *m, access_t *a, uint32_t pfn, uint32_t n) noexcept nogil:
    """The bytes of n accesses at addr, addr + stride, ...; for n > 1 the stride is a page and frames are in a row."""
    cdef uint32_t offset = <uint32_t>(a.addr & (FS_PAGE_SIZE - 1)), i
    cdef uint8_t value = a.value + <uint8_t>a.done * a.delta
    if a.kind == ACCESS_READ:
        for i in range(n):
            a.out[a.done + i] = content_read(m, pfn + i, offset)
    elif a.kind == ACCESS_WRITE:
        if store_uniform(m, pfn, n, offset, value, a.delta):
            return 0
        for i in range(n):
            if content_read(m, pfn + i, offset) != value:
                folio_materialize(m, head_of(m, pfn + i))
                if content_write(m, pfn + i, offset, value) < 0:
                    return -FS_EHOSTMEM
            value += a.delta
    return 0


cdef bint store_uniform(machine_t *m, uint32_t pfn, uint32_t n, uint32_t offset, uint8_t value,
                        uint8_t delta) noexcept nogil:
    """A whole huge folio gets the same first byte in each page: its head can say that for all."""
    cdef page_t *folio
    if n != FS_HPAGE_PMD_NR or offset or delta:
        return False
    folio = page_of(m, pfn)
    if not folio.flags & PG_tails_implicit or folio.flags & PG_bytes:
        return False
    if folio.flags >> PG_FILL_SHIFT and not folio.flags & PG_byte0:
        return False
    folio.flags = flags_with_byte0(folio.flags, value)
    return True


cdef inline void advance(access_t *a, uint64_t n) noexcept nogil:
    a.addr += n * a.stride
    a.done += n


cdef inline uint64_t steps_below(const access_t *a, uint64_t limit) noexcept nogil:
    """How many accesses of the series lie below limit (and below its end)."""
    if a.end < limit:
        limit = a.end
    return (limit - a.addr + a.stride - 1) // a.stride


# ---- one PMD's span ----

cdef int access_leaf(machine_t *m, access_t *a, uint64_t *pmd, uint64_t limit) noexcept nogil:
    """Everything that the leaf allows; frames below the leaf's are reached page by page."""
    cdef uint64_t n = steps_below(a, limit), i
    cdef uint32_t pfn = pte_pfn(m, pmd[0])
    store_entry(m, pmd, pte_hw_access(m, pmd[0], is_write(a)))
    if a.kind <= ACCESS_TOUCH_WRITE:
        advance(a, n)
        return 0
    if a.stride == FS_PAGE_SIZE:
        if transfer(m, a, pfn + pte_index(a.addr), <uint32_t>n) < 0:
            return -FS_EHOSTMEM
        advance(a, n)
        return 0
    for i in range(n):
        if transfer(m, a, pfn + pte_index(a.addr), 1) < 0:
            return -FS_EHOSTMEM
        advance(a, 1)
    return 0


cdef uint32_t fill_run(machine_t *m, mm_t *mm, access_t *a, uint64_t *pte, uint64_t limit) noexcept nogil:
    """Write faults on a run of empty entries that can only get single pages; how many, 0: not that case."""
    cdef vma_t *vma
    cdef uint32_t max_nr, n
    if not is_write(a) or a.stride != FS_PAGE_SIZE or pte[0] or a.addr + FS_PAGE_SIZE >= a.end:
        return 0
    vma = vma_lookup(mm, a.addr)
    if vma == NULL or vma.file != NULL or not vma.flags & VM_WRITE or vma.flags & VM_LOCKED or m.fail.armed:
        return 0
    max_nr = <uint32_t>steps_below(a, limit if limit < vma.end else vma.end)
    n = empty_run(pte, max_nr)
    if n < 2 or anon_fault_orders(m, vma):
        return 0
    n = do_anonymous_run(m, vma, pte, a.addr & ~(FS_PAGE_SIZE - 1), n)
    count_vm_events(m, PGFAULT, n)
    return n


cdef int transfer_run(machine_t *m, access_t *a, const uint64_t *pte, uint32_t n) noexcept nogil:
    """Data of n accesses through n fresh entries."""
    cdef uint32_t i
    if a.kind <= ACCESS_TOUCH_WRITE:
        advance(a, n)
        return 0
    for i in range(n):
        if transfer(m, a, pte_pfn(m, pte[i]), 1) < 0:
            return -FS_EHOSTMEM
        advance(a, 1)
    return 0


cdef int access_table(machine_t *m, mm_t *mm, access_t *a, uint64_t *pmd, uint64_t limit) noexcept nogil:
    """Accesses through one PTE table, as long as the entries allow them; 1: a fault is needed at a.addr."""
    cdef bint write = is_write(a)
    cdef uint64_t *pte
    cdef uint32_t n
    while a.addr < limit and a.addr < a.end:
        pte = pte_offset(m, pmd[0], a.addr)
        if not pte_hw_allows(m, pte[0], write):
            n = fill_run(m, mm, a, pte, limit)
            if n == 0:
                return 1
            if transfer_run(m, a, pte, n) < 0:
                return -FS_EHOSTMEM
            continue
        store_entry(m, pte, pte_hw_access(m, pte[0], write))
        if a.kind > ACCESS_TOUCH_WRITE and transfer(m, a, pte_pfn(m, pte[0]), 1) < 0:
            return -FS_EHOSTMEM
        advance(a, 1)
    return 0


cdef int access_pud_leaf(machine_t *m, mm_t *mm, access_t *a, bint *present) noexcept nogil:
    """Accesses through a leaf above the PMDs, which maps device memory; 1: there is none, or it refuses."""
    cdef int level
    cdef uint64_t *pud = leaf_offset(m, mm, a.addr, &level)
    if not pud[0]:
        return 1
    present[0] = pte_hw_present(m, pud[0])
    if not pte_hw_allows(m, pud[0], is_write(a)):
        return 1
    store_entry(m, pud, pte_hw_access(m, pud[0], is_write(a)))
    advance(a, steps_below(a, level_addr_end(a.addr, a.end, level)))
    return 0


cdef int user_access(machine_t *m, mm_t *mm, access_t *a) noexcept nogil:
    cdef uint64_t *pmd
    cdef uint64_t limit, before
    cdef bint present
    cdef int result
    a.done = 0
    a.signal = 0
    while a.addr < a.end:
        if fatal_signal_pending(m):
            return -EINTR
        before = a.addr
        limit = (a.addr & ~(FS_PMD_SIZE - 1)) + FS_PMD_SIZE
        pmd = pmd_offset(m, mm, a.addr) if a.addr < m.task_size else NULL
        present = False
        result = 1
        if pmd != NULL and pmd[0]:
            if not pmd_leaf(m, pmd[0]):
                result = access_table(m, mm, a, pmd, limit)
                present = result == 1 and pte_hw_present(m, pte_offset(m, pmd[0], a.addr)[0])
            elif pte_hw_allows(m, pmd[0], is_write(a)):
                result = access_leaf(m, a, pmd, limit)
            else:
                present = pte_hw_present(m, pmd[0])
        elif pmd == NULL and m.nr_devices and a.addr < m.task_size:
            result = access_pud_leaf(m, mm, a, &present)
        if m.age.stamp != NULL and a.addr != before:
            age_accessed(m, mm, before, a.addr if a.addr < a.end else a.end, a.stride)
        if result == 1:
            result = user_fault(m, mm, a, present)
            if result == 1:
                return 0
        if result < 0:
            return result
    return 0
