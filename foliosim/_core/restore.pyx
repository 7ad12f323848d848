# cython: language_level=3
"""A border for building a state that was read somewhere else: areas, and anonymous folios mapped in them.

Nothing here follows a path of the kernel; what it builds is what the kernel's paths lead to, and `Machine.validate`
holds afterwards.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
import numpy as np
from foliosim.errors import RestoreError
from foliosim._core.anon_vma cimport anon_vma_clone, anon_vma_fork, anon_vma_prepare
from foliosim._core.deferred_split cimport deferred_split_folio
from foliosim._core.flags cimport *
from foliosim._core.folio cimport folio_alloc
from foliosim._core.huge_memory cimport pgtable_deposit
from foliosim._core.machine cimport CoreMachine, CoreMapping, CoreProcess
from foliosim._core.maple_tree cimport vma_find, vma_lookup
from foliosim._core.pgalloc cimport pmd_alloc, pte_alloc
from foliosim._core.mlock cimport lru_add_drain, mlock_folio, munlock_folio
from foliosim._core.page cimport *
from foliosim._core.page_alloc cimport table_alloc
from foliosim._core.pgtable cimport *
from foliosim._core.pte_ops cimport set_pte, set_ptes
from foliosim._core.rmap cimport *
from foliosim._core.stat cimport mod_mthp_stat
from foliosim._core.swap cimport folio_add_lru, folio_put
from foliosim._core.swapfile cimport swap_take
from foliosim._core.task_mmu cimport show_smap_vma_flags
from foliosim._core.turn cimport leave_turn
from foliosim._core.types cimport *
from foliosim._core.vma cimport *

RUN_DTYPE = np.dtype([("addr", "u8"), ("folio", "i4"), ("first", "u2"), ("n", "u2"), ("bits", "u4")], align=True)
PMD, WRITE, DIRTY, YOUNG, EXCLUSIVE, SHARED = 1, 2, 4, 8, 16, 32       # bits of a run
MLOCKED, ACTIVE, REFERENCED, PAGE_DIRTY, PARTIAL = 1, 2, 4, 8, 16      # bits of a folio

_EMULATED = (VM_READ | VM_WRITE | VM_EXEC | VM_SHARED | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_MAYSHARE
             | VM_GROWSDOWN | VM_PFNMAP | VM_MAYBE_GUARD | VM_LOCKED | VM_IO | VM_SEQ_READ | VM_RAND_READ | VM_DONTCOPY
             | VM_DONTEXPAND | VM_LOCKONFAULT | VM_ACCOUNT | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP | VM_MIXEDMAP
             | VM_HUGEPAGE | VM_NOHUGEPAGE | VM_MERGEABLE | VM_SEALED)

cdef struct run_t:           # pages of a folio mapped in a row
    uint64_t addr
    int32_t folio            # number in the array of heads
    uint16_t first, n        # pages of the folio
    uint32_t bits


cdef enum:
    PMD_BIT = 1
    WRITE_BIT = 2
    DIRTY_BIT = 4
    YOUNG_BIT = 8
    EXCLUSIVE_BIT = 16
    SHARED_BIT = 32          # several processes map it: it is found through the root of their anon_vmas


# ---- areas ----

def vm_flags(CoreMachine machine, text):
    """vm_flags of a line VmFlags of smaps, and the codes in it that are not emulated."""
    cdef uint64_t flags = 0
    cdef int bit, n
    cdef char code[256]
    names = {}
    for bit in range(43):
        n = show_smap_vma_flags(&machine.m, 1ULL << bit, code)
        if n:
            names[code[:2].decode()] = 1ULL << bit
    unknown = [one for one in text.split() if one != "sd" and not names.get(one, 0) & _EMULATED]
    for one in text.split():
        flags |= <uint64_t>names.get(one, 0)
    return flags & _EMULATED, unknown


def add_area(CoreProcess process, uint64_t start, uint64_t end, uint64_t pgoff, uint64_t flags,
             CoreMapping file=None, uint32_t name=0):
    """An area that is merged with none; pgoff in pages; name: as `Process.name_area` takes it."""
    cdef mm_t *mm = process.look()
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma
    if start >= end or end > m.task_size or (start | end) & (FS_PAGE_SIZE - 1):
        raise RestoreError(f"{start:#x}-{end:#x}: no area of a process can lie there")
    if vma_find(mm, start, end) != NULL:
        raise RestoreError(f"{start:#x}-{end:#x}: an area is there")
    vma = vma_alloc(m, mm, start, end, pgoff, flags)
    if vma == NULL:
        raise MemoryError("restore: the host has no memory")
    vma.anon_name = name
    if file is not None:
        vma.file = file.mapping
        file.mapping.refcount += 1
    if vma_link(m, mm, vma):
        remove_vma(m, vma)
        raise MemoryError("restore: the host has no memory")
    mm.total_vm += <int64_t>vma_pages(vma)
    if flags & VM_LOCKED:
        mm.locked_vm += <int64_t>vma_pages(vma)
    vma_set_page_prot(m, vma)


cdef vma_t *area_at(CoreProcess process, uint64_t addr) except NULL:
    cdef vma_t *vma = vma_lookup(process.look(), addr)
    if vma == NULL:
        raise RestoreError(f"{addr:#x}: no area there")
    return vma


def join(CoreProcess process, uint64_t start, uint64_t other):
    """The area at `start` was once one with the area at `other`: their folios are found through the same anon_vma."""
    cdef vma_t *vma = area_at(process, start)
    cdef vma_t *source = area_at(process, other)
    if vma.anon_vma != NULL or source.anon_vma == NULL:
        return
    vma.anon_vma = source.anon_vma
    check(anon_vma_clone(&process.machine.m, vma, source))


def inherit(CoreProcess child, uint64_t start, CoreProcess parent, uint64_t other):
    """The area at `start` came by fork from that at `other` of another process."""
    cdef vma_t *vma = area_at(child, start)
    cdef vma_t *source = area_at(parent, other)
    if vma.anon_vma != NULL or source.anon_vma == NULL:
        return
    check(anon_vma_fork(&child.machine.m, vma, source))


def set_file(CoreMapping file, bint resident, bint one_by_one):
    """resident: every page counts as read before; one_by_one: a fault maps no pages around."""
    file.mapping.resident, file.mapping.special = resident, one_by_one


def set_heap(CoreProcess process, uint64_t start, uint64_t end):
    """start_brk and brk."""
    cdef mm_t *mm = process.look()
    mm.start_brk, mm.brk = start, end


cdef int check(int result) except -1:
    if result < 0:
        raise MemoryError("restore: no memory for an anon_vma")
    return 0


# ---- folios ----

def make_folios(CoreMachine machine, const uint8_t[::1] orders):
    """Anonymous folios of these orders that nothing maps yet; their frames.  `finish` must follow."""
    cdef machine_t *m = &machine.m
    cdef int64_t i = 0
    cdef uint32_t head = 0
    out = np.zeros(len(orders), np.uint32)
    cdef uint32_t[::1] heads = out
    machine.begin(len(orders))
    for i in range(heads.shape[0]):
        head = folio_alloc(m, orders[i]) if orders[i] <= FS_HPAGE_PMD_ORDER else FS_NO_PFN
        if head == FS_NO_PFN:
            break
        page_of(m, head).flags |= PG_swapbacked | PG_anon
        mod_mthp_stat(m, orders[i], MTHP_NR_ANON, 1)
        heads[i] = head
    leave_turn(&machine.turn)
    if head == FS_NO_PFN:
        raise MemoryError(f"restore: no memory for a folio of order {orders[i]}")
    return out


cdef int place_in_mapping(machine_t *m, page_t *folio, vma_t *vma, const run_t *run) except -1:
    """The folio's first mapping says where it belongs; others must find it there."""
    cdef uint64_t index = linear_page_index(vma, run.addr) - run.first
    cdef const avc_t *avc
    check(anon_vma_prepare(m, vma))
    if not folio_mapping_id(folio):
        folio_set_mapping(folio, vma.anon_vma.root.id if run.bits & <uint32_t>SHARED_BIT else vma.anon_vma.id, index)
        return 0
    if folio_index(folio) != index:
        raise RestoreError(f"{run.addr:#x}: the folio is mapped at another place of its mapping")
    avc = vma.chain
    while avc != NULL and avc.anon_vma.id != folio_mapping_id(folio):
        avc = avc.vma_next
    if avc == NULL:
        raise RestoreError(f"{run.addr:#x}: the area has not inherited the folio")
    return 0


cdef uint64_t made_entry(machine_t *m, uint64_t entry, uint32_t bits) noexcept:
    entry = pte_mkyoung(m, entry) if bits & <uint32_t>YOUNG_BIT else pte_mkold(m, entry)
    if bits & <uint32_t>DIRTY_BIT:
        entry = pte_mkdirty(m, entry)
    return pte_mkwrite(m, entry) if bits & <uint32_t>WRITE_BIT else entry


cdef int check_shape(machine_t *m, const vma_t *vma, uint32_t head, const run_t *run) except -1:
    cdef int order = folio_order(page_of(m, head))
    if run.bits & <uint32_t>PMD_BIT:
        if order != FS_HPAGE_PMD_ORDER or run.addr & (FS_PMD_SIZE - 1) or run.addr + FS_PMD_SIZE > vma.end:
            raise RestoreError(f"{run.addr:#x}: a folio of order {order} cannot be mapped by a PMD there")
    elif run.addr + run.n * FS_PAGE_SIZE > vma.end or pte_index(run.addr) + run.n > FS_PTRS_PER_PTE \
            or run.first + run.n > 1 << order or run.n == 0:
        raise RestoreError(f"{run.addr:#x}: {run.n} pages reach out of their area, table or folio")
    return 0


cdef int map_huge(machine_t *m, vma_t *vma, uint32_t head, const run_t *run) except -1:
    cdef page_t *folio = page_of(m, head)
    cdef uint64_t *pmd
    cdef uint32_t table
    pmd = pmd_alloc(m, vma.mm, run.addr)
    table = table_alloc(m) if pmd != NULL else FS_NO_PFN
    if table == FS_NO_PFN:
        raise MemoryError("restore: no memory for a page table")
    if pmd[0]:
        raise RestoreError(f"{run.addr:#x}: something is mapped there")
    pgtable_deposit(m, pmd, table)
    vma.mm.nr_ptes += 1
    folio.refcount += 1
    folio_add_rmap_pmd(m, head, vma)
    store_entry(m, pmd, made_entry(m, mk_pmd_leaf(m, head, vma.page_prot), run.bits))
    vma.mm.rss_anon += FS_HPAGE_PMD_NR
    return 0


def map_huge_zero(CoreProcess process, uint64_t addr):
    """A PMD that maps the huge zero page."""
    cdef mm_t *mm = process.look()
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma = area_at(process, addr)
    cdef uint64_t *pmd
    cdef uint32_t table
    if addr & (FS_PMD_SIZE - 1) or addr < vma.start or addr + FS_PMD_SIZE > vma.end:
        raise RestoreError(f"{addr:#x}: a PMD cannot map the huge zero page there")
    check(anon_vma_prepare(m, vma))
    pmd = pmd_alloc(m, mm, addr)
    table = table_alloc(m) if pmd != NULL else FS_NO_PFN
    if table == FS_NO_PFN:
        raise MemoryError("restore: no memory for a page table")
    if pmd[0]:
        raise RestoreError(f"{addr:#x}: something is mapped there")
    pgtable_deposit(m, pmd, table)
    mm.nr_ptes += 1
    mm.huge_zero = True
    store_entry(m, pmd, pte_mkspecial(m, mk_pmd_leaf(m, m.huge_zero_pfn, vma.page_prot)))


def map_swapped(CoreProcess process, const uint64_t[::1] addrs, const uint32_t[::1] slots,
                const uint8_t[::1] exclusive):
    """Pages that are swapped out, and the slots of the device that hold them."""
    cdef mm_t *mm = process.look()
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma
    cdef uint64_t *pmd
    cdef uint64_t *pte
    cdef uint64_t entry
    cdef int64_t i
    for i in range(len(addrs)):
        vma = area_at(process, addrs[i])
        check(anon_vma_prepare(m, vma))
        pmd = pmd_alloc(m, mm, addrs[i])
        if pmd == NULL or pte_alloc(m, mm, pmd) < 0:
            raise MemoryError("restore: no memory for a page table")
        pte = NULL if pmd_leaf(m, pmd[0]) else pte_offset(m, pmd[0], addrs[i])
        if pte == NULL or pte[0]:
            raise RestoreError(f"{addrs[i]:#x}: something is mapped there")
        if not swap_take(m, slots[i]):
            raise RestoreError(f"{addrs[i]:#x}: the swap device has no slot {slots[i]}")
        entry = mk_swap(m, slots[i])
        set_pte(m, pte, pte_swp_mkexclusive(m, entry) if exclusive[i] else entry)
        mm.swapents += 1


cdef int map_pages(machine_t *m, vma_t *vma, uint32_t head, const run_t *run) except -1:
    cdef uint64_t *pmd
    cdef uint64_t *pte
    cdef uint32_t i
    pmd = pmd_alloc(m, vma.mm, run.addr)
    if pmd == NULL or pte_alloc(m, vma.mm, pmd) < 0:
        raise MemoryError("restore: no memory for a page table")
    if pmd_leaf(m, pmd[0]):
        raise RestoreError(f"{run.addr:#x}: something is mapped there")
    pte = pte_offset(m, pmd[0], run.addr)
    for i in range(run.n):
        if pte[i]:
            raise RestoreError(f"{run.addr + i * FS_PAGE_SIZE:#x}: something is mapped there")
    page_of(m, head).refcount += run.n
    folio_add_rmap_ptes(m, head + run.first, run.n, vma)
    set_ptes(m, pte, made_entry(m, mk_pte(m, head + run.first, vma.page_prot), run.bits), run.n)
    vma.mm.rss_anon += run.n
    return 0


def map_runs(CoreProcess process, const uint32_t[::1] heads, runs):
    """Map pages of folios that `make_folios` made; `runs` has RUN_DTYPE, no run leaves its area, table or folio."""
    cdef mm_t *mm = process.look()
    cdef machine_t *m = &process.machine.m
    cdef const uint8_t[::1] raw = np.ascontiguousarray(runs, RUN_DTYPE).view(np.uint8)
    cdef int64_t i, nr = len(runs)
    cdef const run_t *run
    cdef vma_t *vma
    cdef uint32_t head
    for i in range(nr):
        run = <const run_t *>&raw[i * sizeof(run_t)]
        vma = vma_lookup(mm, run.addr)
        if vma == NULL or vma.start > run.addr:
            raise RestoreError(f"{run.addr:#x}: no area there")
        if not 0 <= run.folio < len(heads):
            raise RestoreError(f"{run.addr:#x}: no folio {run.folio}")
        head = heads[run.folio]
        check_shape(m, vma, head, run)
        place_in_mapping(m, page_of(m, head), vma, run)
        if run.bits & <uint32_t>PMD_BIT:
            map_huge(m, vma, head, run)
        else:
            map_pages(m, vma, head, run)
        if run.bits & <uint32_t>EXCLUSIVE_BIT:
            pages_set_exclusive(m, head + run.first, 1 if run.bits & <uint32_t>PMD_BIT else run.n)


def finish(CoreMachine machine, const uint32_t[::1] heads, const uint8_t[::1] bits):
    """All mappings are made: put the folios on their lists, and drop what nothing maps."""
    cdef machine_t *m = &machine.m
    cdef int64_t i
    cdef page_t *folio
    machine.begin(len(heads))
    for i in range(heads.shape[0]):
        folio = page_of(m, heads[i])
        folio.flags |= PG_dirty if bits[i] & 8 else 0
        folio.flags |= PG_referenced if bits[i] & 4 else 0
        folio.flags |= PG_active if bits[i] & 2 else 0
        folio_add_lru(m, heads[i])
    lru_add_drain(m)
    for i in range(heads.shape[0]):
        folio = page_of(m, heads[i])
        if bits[i] & 1 and not folio.flags & PG_mlocked:
            mlock_folio(m, heads[i])
        elif not bits[i] & 1 and folio.flags & PG_mlocked:
            munlock_folio(m, heads[i])
        if bits[i] & 16:
            deferred_split_folio(m, heads[i], True)
    lru_add_drain(m)
    for i in range(heads.shape[0]):
        folio_put(m, heads[i])
    machine.done(0)
    machine.settle()
