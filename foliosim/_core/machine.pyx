# cython: language_level=3
"""The border between Python and the core: owners of the C structs, one method per operation.

Every public operation is one step: the per-CPU batches are drained when it ends, errors become exceptions here and
nowhere else, and an exception of a policy hook is raised after the operation has ended in a valid state.
"""
from cython cimport no_gc_clear
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EFAULT, EINVAL, ENOMEM
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from libc.stdint cimport uint8_t
from weakref import WeakValueDictionary
import numpy as np
from foliosim.errors import (BusError, ReentryError, SegvError, UnsupportedError, ValidationError, out_of_memory,
                              syscall_error)
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.age cimport age_deinit
from foliosim._core.brk cimport do_brk
from foliosim._core.content cimport content_deinit, content_read
from foliosim._core.corrupt cimport corrupt
from foliosim._core.counters cimport counters_delta, counters_snapshot
from foliosim._core.dontfork cimport pin_dontfork, unpin_dofork
from foliosim._core.fault cimport *
from foliosim._core.file_ops cimport do_msync
from foliosim._core.gup cimport get_user_pages_fast
from foliosim._core.gup_fast cimport put_user_pages
from foliosim._core.hooks cimport install_hook, remove_hooks
from foliosim._core.khugepaged cimport khugepaged_do_scan, khugepaged_wakes
from foliosim._core.kpage cimport get_kpage_count, stable_page_flags
from foliosim._core.madvise cimport FS_ENOTSIM, do_madvise, prctl_set_vma
from foliosim._core.mapping cimport mapping_put
from foliosim._core.memcontrol cimport mem_cgroup_usage, oom_report
from foliosim._core.vmscan cimport mem_cgroup_charge
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.mlock_syscall cimport do_mlock, do_mlock2, do_mlockall, do_munlock, do_munlockall
from foliosim._core.mmap cimport dup_mmap, exit_mmap, ksys_mmap, mm_alloc, mm_free
from foliosim._core.mmap cimport do_munmap
from foliosim._core.mprotect cimport do_mprotect
from foliosim._core.mremap cimport do_mremap
from foliosim._core.mseal cimport do_mseal
from foliosim._core.observe cimport observe_state
from foliosim._core.page_alloc cimport page_alloc_deinit, page_alloc_init
from foliosim._core.held cimport held_add, held_del
from foliosim._core.partial_unmap cimport split_marked
from foliosim._core.pfnmap cimport range_has_device
from foliosim._core.policy cimport *
from foliosim._core.split_folio cimport split_folio_to_order
from foliosim._core.stat cimport get_mm_rss
from foliosim._core.swap cimport folio_put
from foliosim._core.swapfile cimport swap_deinit
from foliosim._core.task_mmu cimport *
from foliosim._core.validate cimport validate_machine
from foliosim._core.walk cimport *
from foliosim._core.arch.x86_64_walk cimport walk_flag_names

cdef int64_t NEVER = 0x7fffffffffffffff

WALK_DTYPE = np.dtype([("pa", "u8"), ("error", "u4"), ("level", "i1"), ("rights", "u1"), ("_pad", "u2")])
SMAPS_NAMES = (
    "Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty",
    "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages",
    "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked",
    "THPeligible")
VMSTAT_NAMES = (
    "pgfault", "pgmajfault", "pgreuse", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed",
    "unevictable_pgs_culled", "unevictable_pgs_rescued", "unevictable_pgs_mlocked", "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared", "unevictable_pgs_stranded", "thp_fault_alloc", "thp_fault_fallback",
    "thp_collapse_alloc", "thp_collapse_alloc_failed", "thp_file_alloc", "thp_file_fallback", "thp_file_mapped",
    "thp_split_page", "thp_split_page_failed", "thp_deferred_split_page", "thp_underused_split_page",
    "thp_split_pmd", "thp_split_pud", "thp_zero_page_alloc", "nr_foll_pin_acquired", "nr_foll_pin_released",
    "cow_bytes", "pswpin", "pswpout", "swpin_zero", "swpout_zero", "pgscan_direct", "pgscan_anon", "pgscan_file",
    "pgsteal_direct", "pgsteal_anon", "pgsteal_file", "pgrefill", "pgrotated", "allocstall_movable",
    "workingset_refault_anon", "workingset_activate_anon", "oom", "thp_fault_fallback_charge", "thp_swpout",
    "thp_swpout_fallback", "thp_scan_exceed_none_pte", "thp_scan_exceed_swap_pte", "thp_scan_exceed_share_pte")
WALK_FLAGS = {name: 0x100 << i for i, name in enumerate(walk_flag_names().decode().split())}
_SI_CODES = {SEGV_MAPERR: "MAPERR", SEGV_ACCERR: "ACCERR"}


cdef class CoreMachine:
    """One emulated machine: physical memory, folios, processes, counters."""

    def __cinit__(self, uint64_t nr_pages, *, dict thp, dict rules, int va_bits=48, bint contpte=True,
                  bint hw_afdbm=True, int64_t max_map_count=65530, **_):
        cdef int i
        memset(&self.m, 0, sizeof(machine_t))
        if nr_pages < 2 * FS_HPAGE_PMD_NR or nr_pages > 0xfffff000ULL:
            raise ValueError(f"memory of {nr_pages} pages: must be {2 * FS_PMD_SIZE >> 20} MiB to "
                             f"{FS_PAGE_SIZE >> 8} TiB")
        self.previous = {}
        self.hooks = {}
        self.references = set()
        self.fails = {}
        self.wake = NEVER
        self.known = WeakValueDictionary()
        self.opened = WeakValueDictionary()
        self.kept = []
        if page_alloc_init(&self.m, nr_pages) < 0:
            raise MemoryError(f"cannot reserve address space for {nr_pages} frames")
        memset(&self.m.ledger, 0, sizeof(ledger_t))  # the zero pages do not count
        self.set_rules(**rules)
        address_space_init(&self.m, va_bits)
        self.m.contpte, self.m.hw_afdbm = contpte, hw_afdbm
        self.m.max_map_count = max_map_count
        self.m.mm_id_next = 1
        self.m.next_pid = 1
        self.m.next_ino = 1
        self.m.deferred_first = self.m.deferred_last = FS_NO_PFN
        for i in range(NR_LRU_LISTS):
            self.m.lru[i].first = self.m.lru[i].last = FS_NO_PFN
        self.m.thp.use_zero_page = True
        policy_init(&self.m.policy)
        self.set_thp(**thp)

    def __dealloc__(self):
        cdef mm_t *mm
        if self.m.phys == NULL:
            return
        remove_hooks(&self.m.policy)
        while self.m.mm_first != NULL:
            mm = self.m.mm_first
            exit_mmap(&self.m, mm)
            mm_free(&self.m, mm)
        swap_deinit(&self.m)
        content_deinit(&self.m)
        free(self.m.mappings)
        free(self.m.mm_ids)
        free(self.m.split_now)
        age_deinit(&self.m)
        page_alloc_deinit(&self.m)

    cdef int enter(self) except -1:
        if self.in_hook:
            raise ReentryError("a policy hook called back into its machine")
        self.m.memcg.oom = self.m.memcg.hit = False
        return 0

    cdef int leave(self) except -1:
        """End of a public operation, which is a step: what was put off until now is done, khugepaged may wake up."""
        self.steps += 1
        self.settle()
        if khugepaged_wakes(&self.m, self.steps):
            self.wake_khugepaged()
        if self.steps >= self.wake:
            self.wake = self.waken()
        return 0

    cdef int wake_khugepaged(self) except -1:
        """Another thread: no charge of it fails the operation."""
        cdef bint oom = self.m.memcg.oom
        cdef int result = khugepaged_do_scan(&self.m, self.m.khugepaged.pages_to_scan)
        self.m.memcg.oom = oom
        if result < 0:
            raise MemoryError("khugepaged: the host has no memory")
        self.settle()
        return 0

    def waken(self):
        """Called when step `wake` is over; the next one to be called at.  `Machine` does more."""
        return NEVER

    def set_wake(self, step=None):
        """Have waken() called at the end of a step; None: never."""
        self.wake = NEVER if step is None else step

    cdef int count_fail(self, which) except -1:
        self.fails[which] = self.fails.get(which, 0) + 1
        return 0

    cdef int settle(self) except -1:
        """Drain, then raise what a hook raised."""
        lru_add_drain(&self.m)
        if self.m.nr_split_now:
            split_marked(&self.m)
        if self.m.refused_point:
            self.refuse()
        if self.hook_error is not None:
            error, self.hook_error = self.hook_error, None
            raise error
        return 0

    cdef int refuse(self) except -1:
        """A compiled policy gave an answer that cannot be carried out."""
        cdef str point = policy_point_name(self.m.refused_point - 1)
        answer = self.m.refused_answer
        self.m.refused_point = 0
        if self.hook_error is None:
            self.hook_error = ValueError(f"policy {point}: answer {answer}{policy_refusal(point, answer)}")
        return 0

    cdef mm_t *find_mm(self, uint32_t pid) noexcept:
        cdef mm_t *mm = self.m.mm_first
        while mm != NULL and mm.pid != pid:
            mm = mm.next
        return mm

    def live_processes(self, cls):
        """All live processes in order of creation, also those that no Python object stands for any more."""
        cdef mm_t *mm = self.m.mm_first
        out = []
        while mm != NULL:
            process = self.known.get(mm.pid)
            out.append(cls(self, pid=mm.pid) if process is None else process)
            mm = mm.next
        return out

    def set_rules(self, *, bint soft_dirty, bint pt_reclaim, bint guard_flag, bint pmd_modify_keeps_dirty):
        """The rules of the kernel release; before the first process."""
        self.m.soft_dirty, self.m.pt_reclaim = soft_dirty, pt_reclaim
        self.m.guard_flag, self.m.pmd_modify_keeps_dirty = guard_flag, pmd_modify_keeps_dirty

    def set_thp(self, *, int enabled, uint32_t always, uint32_t madvise, uint32_t inherit, int shmem_enabled,
                uint32_t shmem_always, uint32_t shmem_inherit, uint32_t shmem_within_size, uint32_t shmem_advise):
        """The transparent_hugepage settings; masks have bit n for order n."""
        cdef thp_settings_t *thp = &self.m.thp
        thp.enabled = enabled
        thp.always, thp.madvise, thp.inherit = always, madvise, inherit
        thp.shmem_enabled = shmem_enabled
        thp.shmem_always, thp.shmem_inherit = shmem_always, shmem_inherit
        thp.shmem_within_size, thp.shmem_advise = shmem_within_size, shmem_advise

    def set_policy_point(self, str point, answer):
        """Let a point be decided by a compiled alternative, ``(name, number)``, or by a callable or capsule.

        KeyError if there is no such point or alternative; ValueError for a capsule of another kind.
        """
        cdef int slot = policy_point(point)
        self.enter()
        if isinstance(answer, tuple):
            policy_set(&self.m.policy, slot, answer[0], answer[1])
            self.hooks.pop(point, None)
        else:
            self.hooks[point] = install_hook(&self.m.policy, slot, <void *>self, answer)

    def drain(self):
        """Flush the per-CPU batches."""
        self.enter()
        self.settle()

    @property
    def task_size(self):
        """Where the user's addresses end."""
        return self.m.task_size

    @property
    def table_ops(self):
        """Contiguous blocks folded and unfolded, TLB flushes that this or the exchange of a PMD leaf needed, and valid
        entries changed without break before make: counts by name."""
        names = ("fold", "unfold", "flush", "bbm_violation")
        return {name: self.m.table_ops[i] for i, name in enumerate(names)}

    def counters(self):
        """A snapshot of the event counters, for counters_since."""
        return counters_snapshot(&self.m)

    def counters_since(self, bytes before):
        """What changed: ``{"vmstat": {...}, "mthp_stats": {size: {...}}}``, zero changes omitted."""
        return counters_delta(&self.m, before)

    def observe(self, dict procs, uint64_t start, uint64_t end, *, dict files=None, bint entries=False):
        """The state of processes in [start, end) in the shapes of a recorded scenario; names of files as given."""
        cdef mm_t **mms = <mm_t **>malloc((len(procs) + 1) * sizeof(mm_t *))
        cdef int n = 0
        cdef CoreProcess process
        cdef CoreMapping file
        cdef dict names = {}
        if mms == NULL:
            raise MemoryError("observe")
        try:
            for process in procs.values():
                mms[n] = process.enter()
                n += 1
            for name, file in (files or {}).items():
                if file.mapping != NULL:
                    names[file.mapping.id] = name
            return observe_state(&self.m, list(procs), mms, n, start, end, self.previous, names, entries)
        finally:
            free(mms)

    def differences(self):
        """Every count that is not what the page tables say: (object, field, counted, recomputed)."""
        gets, pins = {}, {}
        cdef CoreReference reference
        cdef int64_t i
        cdef dict where
        for reference in self.references:
            where = gets if reference.held.flags & FOLL_GET else pins
            for i in range(reference.held.nr):
                where[reference.held.pfns[i]] = where.get(reference.held.pfns[i], 0) + 1
        return validate_machine(&self.m, gets, pins)

    def corrupt(self, str kind, uint64_t number, str field, int64_t delta=1):
        """Damage a count on purpose; (object, field) that validation should name."""
        return corrupt(&self.m, kind, number, field, delta)

    def vmstat(self):
        """Event counters by their /proc/vmstat names, and gauges in pages.  pgscan_direct, pgsteal_direct, pgrefill and
        oom are those of the limit's cgroup (memory.stat, memory.events), which /proc/vmstat leaves out."""
        out = {name: self.m.vmstat[i] for i, name in enumerate(VMSTAT_NAMES)}
        names = ("nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file", "nr_unevictable")
        out.update({name: self.m.lru[i].nr_pages for i, name in enumerate(names)})
        out["nr_free_pages"] = self.m.free_pages
        out["nr_page_table_pages"] = self.m.nr_tables
        out["deferred_split_folios"] = self.m.deferred_len
        out["nr_swap_pages"] = self.m.swap.nr - self.m.swap.used
        out["memory_current"] = mem_cgroup_usage(&self.m)
        return out

    def mthp_stats(self):
        """``{order: {name: value}}`` of hugepages-<size>/stats."""
        names = ("anon_fault_alloc", "anon_fault_fallback", "split", "split_failed", "split_deferred", "nr_anon",
                 "nr_anon_partially_mapped", "shmem_alloc", "shmem_fallback", "anon_fault_fallback_charge", "swpin",
                 "swpout", "swpout_fallback")
        return {order: {name: self.m.mthp[order][i] for i, name in enumerate(names)}
                for order in range(1, FS_HPAGE_PMD_ORDER + 1)}

    def kpageflags(self, pfns):
        """Words of /proc/kpageflags for an array of frame numbers."""
        cdef const uint64_t[::1] at = np.ascontiguousarray(pfns, dtype=np.uint64)
        out = np.empty(at.shape[0], dtype=np.uint64)
        cdef uint64_t[::1] to = out
        for i in range(at.shape[0]):
            to[i] = stable_page_flags(&self.m, at[i])
        return out

    def kpagecount(self, pfns):
        """Words of /proc/kpagecount for an array of frame numbers."""
        cdef const uint64_t[::1] at = np.ascontiguousarray(pfns, dtype=np.uint64)
        out = np.empty(at.shape[0], dtype=np.uint64)
        cdef uint64_t[::1] to = out
        for i in range(at.shape[0]):
            to[i] = <uint64_t>get_kpage_count(&self.m, at[i])
        return out

    def folio_fields(self, uint64_t pfn):
        """Fields of the folio that holds a frame; None if the frame is in no folio."""
        cdef uint32_t head
        cdef page_t *folio
        cdef tail1_t *one
        if pfn >= self.m.nr_pages or pfn >= self.m.fresh_pfn:
            raise ValueError(f"pfn {pfn:#x}: beyond the memory in use, {self.m.fresh_pfn:#x} frames")
        head = head_of(&self.m, <uint32_t>pfn)
        folio = page_of(&self.m, head)
        if page_kind(folio) != PG_KIND_HEAD:
            return None
        out = {
            "pfn": head, "order": folio_order(folio), "refcount": folio.refcount, "mapcount": folio_mapcount(folio),
            "index": folio_index(folio), "flags": int(stable_page_flags(&self.m, head)),
            "maybe_shared": bool(folio_maybe_mapped_shared(folio)), "entire_mapcount": 0, "nr_pages_mapped": 0,
            "pincount": folio.refcount // FS_GUP_PIN_COUNTING_BIAS, "mm_ids": (), "mm_mapcounts": (),
            "partially_mapped": bool(folio.flags & PG_partially_mapped), "deferred": bool(folio.flags & PG_deferred),
            "anon_exclusive": bool(page_of(&self.m, head).flags & PG_anon_exclusive),
        }
        if folio_test_large(folio):
            one = folio_tail1(folio)
            out["mm_ids"] = (one.mm_id[0], one.mm_id[1] & 0x7fffffffU)
            out["mm_mapcounts"] = (one.mm_mapcount[0], one.mm_mapcount[1])
        if folio_order(folio) >= 2:
            out["entire_mapcount"] = folio_tail2(folio).entire_mapcount
            out["nr_pages_mapped"] = folio_tail2(folio).nr_pages_mapped & (FS_ENTIRELY_MAPPED - 1)
            out["pincount"] = folio_tail2(folio).pincount
        return out

    def split_folio(self, uint64_t pfn, *, int new_order=0):
        """Split the folio that holds a frame, as split_huge_page_to_list_to_order does for a caller with one reference.

        Raises SyscallError: EINVAL, EBUSY (not mapped), EAGAIN (other references).
        """
        cdef uint32_t head
        cdef int result
        self.enter()
        if pfn >= self.m.fresh_pfn or page_kind(folio_of(&self.m, <uint32_t>pfn)) != PG_KIND_HEAD:
            raise ValueError(f"pfn {pfn:#x}: no folio there")
        lru_add_drain(&self.m)
        head = head_of(&self.m, <uint32_t>pfn)
        page_of(&self.m, head).refcount += 1
        result = split_folio_to_order(&self.m, head, new_order, <uint32_t>pfn, SPLIT_USER)
        folio_put(&self.m, head_of(&self.m, <uint32_t>pfn))
        self.leave()
        if result < 0:
            raise syscall_error(result, "split_folio", (pfn, new_order))

    def peek_frame(self, uint64_t pfn, uint32_t offset=0):
        """One byte of a frame."""
        if pfn >= self.m.fresh_pfn or offset >= FS_PAGE_SIZE:
            raise ValueError(f"pfn {pfn:#x} offset {offset}: not in memory in use")
        return content_read(&self.m, <uint32_t>pfn, offset)

    def table(self, uint64_t pfn):
        """The entries of a page table, a copy."""
        if pfn >= self.m.fresh_pfn or page_kind(page_of(&self.m, <uint32_t>pfn)) != PG_KIND_TABLE:
            raise ValueError(f"pfn {pfn:#x}: not a page table")
        return np.asarray(<uint64_t[:FS_PTRS_PER_PTE]>table_of(&self.m, <uint32_t>pfn)).copy()

    def poke_table(self, uint64_t pfn, int index, uint64_t entry):
        """Overwrite an entry of a page table, behind the back of every rule; the old one.  For tests and teaching."""
        cdef uint64_t old
        if not 0 <= index < FS_PTRS_PER_PTE:
            raise ValueError(f"index {index}: must be 0 to {FS_PTRS_PER_PTE - 1}")
        if pfn >= self.m.fresh_pfn or page_kind(page_of(&self.m, <uint32_t>pfn)) != PG_KIND_TABLE:
            raise ValueError(f"pfn {pfn:#x}: not a page table")
        old = table_of(&self.m, <uint32_t>pfn)[index]
        table_of(&self.m, <uint32_t>pfn)[index] = entry
        return old


@no_gc_clear
cdef class CoreMapping:
    """A reference on a page cache; what can be done with it is in file_handle.pyx."""

    def __dealloc__(self):
        if self.mapping != NULL:
            mapping_put(&self.machine.m, self.mapping)


cdef class CoreProcess:
    """One address space."""

    def __cinit__(self, CoreMachine machine, *_, uint32_t pid=0, **__):
        """A new address space; with a pid, that of a live process whose Python object is gone."""
        self.machine = machine
        machine.enter()
        if pid:
            self.mm = machine.find_mm(pid)
        elif mem_cgroup_charge(&machine.m, 1):   # the PGD, as pgd_alloc's GFP_PGTABLE_USER has it charged
            self.mm = mm_alloc(&machine.m)
        if self.mm == NULL:
            machine.count_fail(ENOMEM)
            if machine.m.memcg.oom:
                raise out_of_memory("fork", (), oom_report(&machine.m))
            raise syscall_error(ENOMEM, "fork")
        machine.known[self.mm.pid] = self
        if machine.m.refused_point or machine.hook_error is not None:
            machine.settle()                     # reclaim asked a hook

    cdef mm_t *enter(self) except NULL:
        if self.mm == NULL:
            raise ValueError("the process has exited")
        self.machine.enter()
        return self.mm

    cdef int64_t leave(self, int64_t result, str syscall, tuple args) except? -1:
        self.machine.syscalls += syscall != "access"
        self.machine.leave()
        if result >= 0:
            return result
        if result == -FS_EHOSTMEM:
            raise MemoryError(f"{syscall}: the host has no memory")
        if result == -FS_ENOTSIM:
            raise UnsupportedError(f"{syscall}{args}: not emulated")
        self.machine.count_fail(<int>-result)
        if (result == -ENOMEM or result == -EAGAIN) and self.machine.m.memcg.oom:
            raise out_of_memory(syscall, args, oom_report(&self.machine.m))
        raise syscall_error(result, syscall, args)

    @property
    def pid(self):
        return self.enter().pid

    @property
    def alive(self):
        return self.mm != NULL

    @property
    def pgd(self):
        """Frame number of the root page table (CR3 >> 12)."""
        return self.enter().pgd

    def counts(self):
        """Counters of the address space: pages, but for nr_* (tables) and map_count (VMAs)."""
        cdef mm_t *mm = self.enter()
        return {"map_count": mm.map_count, "total_vm": mm.total_vm, "locked_vm": mm.locked_vm,
                "pinned_vm": mm.pinned_vm, "swapents": mm.swapents,
                "rss_anon": mm.rss_anon, "rss_file": mm.rss_file, "rss_shmem": mm.rss_shmem,
                "nr_ptes": mm.nr_ptes, "nr_pmds": mm.nr_pmds, "nr_puds": mm.nr_puds,
                "hiwater_rss": max(mm.hiwater_rss, get_mm_rss(mm)), "hiwater_vm": max(mm.hiwater_vm, mm.total_vm)}

    # ---- system calls ----

    def sys_mmap(self, uint64_t addr, uint64_t length, uint64_t prot, uint64_t flags, CoreMapping file=None,
                 uint64_t offset=0):
        cdef mm_t *mm = self.enter()
        cdef mapping_t *mapping = NULL
        cdef bint writable = file is None or file.writable
        cdef int64_t result
        if file is not None:
            if file.machine is not self.machine:
                raise ValueError("the file belongs to another machine")
            mapping = file.mapping
        result = ksys_mmap(&self.machine.m, mm, addr, length, prot, flags, mapping, writable, offset)
        return self.leave(result, "mmap", (addr, length, prot, flags))

    def sys_munmap(self, uint64_t addr, uint64_t length):
        cdef mm_t *mm = self.enter()
        self.leave(do_munmap(&self.machine.m, mm, addr, length), "munmap", (addr, length))

    def sys_mprotect(self, uint64_t addr, uint64_t length, uint64_t prot):
        cdef mm_t *mm = self.enter()
        self.leave(do_mprotect(&self.machine.m, mm, addr, length, prot), "mprotect", (addr, length, prot))

    def sys_mremap(self, uint64_t old_addr, uint64_t old_length, uint64_t new_length, uint64_t flags,
                   uint64_t new_addr):
        cdef mm_t *mm = self.enter()
        cdef int64_t result = do_mremap(&self.machine.m, mm, old_addr, old_length, new_length, flags, new_addr)
        return self.leave(result, "mremap", (old_addr, old_length, new_length, flags, new_addr))

    def sys_mseal(self, uint64_t addr, uint64_t length):
        cdef mm_t *mm = self.enter()
        self.leave(do_mseal(&self.machine.m, mm, addr, length, 0), "mseal", (addr, length))

    def sys_madvise(self, uint64_t addr, uint64_t length, int advice):
        cdef mm_t *mm = self.enter()
        self.leave(do_madvise(&self.machine.m, mm, addr, length, advice), "madvise", (addr, length, advice))

    def sys_mlock(self, uint64_t addr, uint64_t length):
        cdef mm_t *mm = self.enter()
        self.leave(do_mlock(&self.machine.m, mm, addr, length), "mlock", (addr, length))

    def sys_mlock2(self, uint64_t addr, uint64_t length, uint64_t flags):
        cdef mm_t *mm = self.enter()
        self.leave(do_mlock2(&self.machine.m, mm, addr, length, flags), "mlock2", (addr, length, flags))

    def sys_munlock(self, uint64_t addr, uint64_t length):
        cdef mm_t *mm = self.enter()
        self.leave(do_munlock(&self.machine.m, mm, addr, length), "munlock", (addr, length))

    def sys_mlockall(self, uint64_t flags):
        cdef mm_t *mm = self.enter()
        self.leave(do_mlockall(&self.machine.m, mm, flags), "mlockall", (flags,))

    def sys_munlockall(self):
        do_munlockall(&self.machine.m, self.enter())
        self.machine.leave()

    def sys_brk(self, uint64_t addr):
        cdef mm_t *mm = self.enter()
        cdef bint host_failed
        cdef uint64_t end = do_brk(&self.machine.m, mm, addr, &host_failed)
        self.leave(-FS_EHOSTMEM if host_failed else 0, "brk", (addr,))
        return end

    def sys_set_vma_name(self, uint64_t addr, uint64_t length, uint32_t name):
        cdef mm_t *mm = self.enter()
        self.leave(prctl_set_vma(&self.machine.m, mm, addr, length, name), "prctl", (addr, length, name))

    def sys_mincore(self, uint64_t addr, uint64_t length):
        cdef mm_t *mm = self.enter()
        cdef uint64_t pages = (length + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        cdef int64_t result
        if pages > 1ULL << 32:
            raise syscall_error(ENOMEM, "mincore", (addr, length))
        vec = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>pages)
        result = mincore(&self.machine.m, mm, addr, length, <uint8_t *>PyBytes_AS_STRING(vec))
        self.leave(result, "mincore", (addr, length))
        return vec

    def sys_msync(self, uint64_t addr, uint64_t length, uint64_t flags):
        cdef mm_t *mm = self.enter()
        self.leave(do_msync(&self.machine.m, mm, addr, length, flags), "msync", (addr, length, flags))

    def sys_clear_refs(self, int value):
        cdef mm_t *mm = self.enter()
        self.leave(clear_refs(&self.machine.m, mm, value), "clear_refs", (value,))

    def sys_thp_disable(self, uint64_t value, uint64_t flags):
        """PR_SET_THP_DISABLE; flags: 2 is PR_THP_DISABLE_EXCEPT_ADVISED.  Follows prctl_set_thp_disable."""
        cdef mm_t *mm = self.enter()
        if flags & ~2ULL or (flags and not value):
            raise syscall_error(EINVAL, "prctl", (value, flags))
        mm.thp_disable = (2 if flags else 1) if value else 0

    def fork_into(self, CoreProcess child):
        """Fill a new process with a copy of this one."""
        cdef mm_t *mm = self.enter()
        cdef int result
        self.machine.settle()
        result = dup_mmap(&self.machine.m, child.mm, mm)
        if result < 0:
            child.destroy()
        self.leave(result, "fork", ())

    def end(self):
        """Drop references and pins, unmap everything, leave."""
        self.enter()
        self.destroy()
        self.machine.syscalls += 1
        self.machine.leave()

    cdef int destroy(self) except -1:
        cdef mm_t *mm = self.mm
        cdef CoreReference reference
        for reference in [r for r in self.machine.references if r.process is self]:
            reference.put()
        self.mm = NULL
        self.machine.known.pop(mm.pid, None)
        exit_mmap(&self.machine.m, mm)
        mm_free(&self.machine.m, mm)
        return 0

    # ---- user-mode accesses ----

    def access(self, uint64_t addr, uint64_t length, int kind, step, uint8_t value=0, uint8_t delta=0,
               uint64_t offset=0):
        """Loads or stores at addr + offset, + step (None: a page), ...; bytes for a read, else how many were made."""
        cdef mm_t *mm = self.enter()
        cdef access_t a
        cdef int64_t count = 0
        cdef int result
        cdef uint64_t stride = FS_PAGE_SIZE if step is None else <uint64_t>step
        if stride == 0:
            raise ValueError("stride 0: must be at least 1")
        memset(&a, 0, sizeof(a))
        a.addr = addr + offset
        a.end = addr + length
        if a.end < addr:
            raise ValueError(f"range {addr:#x} + {length:#x} wraps around")
        a.stride, a.kind, a.value, a.delta = stride, kind, value, delta
        if a.end > a.addr:
            count = (a.end - a.addr + stride - 1) // stride
        if kind > ACCESS_TOUCH_WRITE and range_has_device(&self.machine.m, mm, a.addr, a.end):
            raise UnsupportedError(f"access({addr:#x}, {length:#x}): device memory has no content; touch() uses it")
        out = b""
        if kind == ACCESS_READ:
            out = PyBytes_FromStringAndSize(NULL, count)
            a.out = <uint8_t *>PyBytes_AS_STRING(out)
        result = user_access(&self.machine.m, mm, &a)
        self.leave(result, "access", (addr, length))
        if a.signal:
            kind_name = "write" if kind in (ACCESS_WRITE, ACCESS_TOUCH_WRITE) else "read"
            self.machine.count_fail("sigbus" if a.signal == 7 else "sigsegv")
            if a.signal == 7:
                raise BusError(a.si_addr, "ADRERR", kind_name)
            raise SegvError(a.si_addr, _SI_CODES[a.si_code], kind_name)
        return out if kind == ACCESS_READ else a.done

    # ---- references ----

    cdef int64_t take(self, CoreReference reference, uint64_t addr, uint64_t length, uint64_t batch) except? -1:
        """Let a new reference have the pages of [addr, addr + length), batch pages at a time; bytes, or an errno."""
        cdef mm_t *mm = self.enter()
        cdef uint32_t flags = reference.held.flags
        cdef uint64_t first = addr & ~(FS_PAGE_SIZE - 1)
        cdef int64_t nr = (addr + length - first + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        cdef int64_t got = 0, more
        if addr + length < addr or nr > 1LL << 36:
            return -EFAULT
        reference.held.pfns = <uint32_t *>malloc(nr * sizeof(uint32_t) + 1)
        if reference.held.pfns == NULL:
            raise MemoryError(f"get_user_pages: {nr} pages")
        while got < nr:
            more = nr - got if nr - got < <int64_t>batch else <int64_t>batch
            more = get_user_pages_fast(&self.machine.m, mm, first + (<uint64_t>got << FS_PAGE_SHIFT), more, flags,
                                       reference.held.pfns + got)
            if more <= 0:
                if got == 0:
                    got = more
                break
            got += more
            if got % <int64_t>batch and got < nr:
                break
        if got < nr and (got < 0 or flags & FOLL_PIN):
            if got > 0:
                put_user_pages(&self.machine.m, reference.held.pfns, got, flags)
                got = -EFAULT
            return got
        reference.held.nr = got
        held_add(&self.machine.m, &reference.held)
        reference.offset = addr - first
        reference.nbytes = min(<int64_t>length, (got << FS_PAGE_SHIFT) - reference.offset)
        self.machine.references.add(reference)
        more = pin_dontfork(&self.machine.m, mm, first, &reference.held)
        if more < 0:
            reference.put()
            return more
        return reference.nbytes

    def references_to(self, uint64_t addr, uint64_t length, uint32_t flags, cls, uint64_t batch):
        """References on the pages of [addr, addr + length), taken batch pages at a time as one user call does."""
        cdef CoreReference reference = cls(self.machine, self, flags)
        self.leave(self.take(reference, addr, length, batch), "get_user_pages", (addr, length))
        return reference

    # ---- views ----

    def translate(self, uint64_t addr):
        """Physical address of a byte; SegvError if nothing is mapped there."""
        cdef mm_t *mm = self.enter()
        cdef machine_t *m = &self.machine.m
        cdef int level = 0
        cdef uint64_t entry = leaf_offset(m, mm, addr, &level)[0] if addr < m.task_size else 0
        if not pte_hw_present(m, entry):
            raise SegvError(addr, "MAPERR", "read")
        return (<uint64_t>pte_pfn(m, entry) << FS_PAGE_SHIFT) + (addr & (level_size(level) - 1))

    def walk_array(self, addrs, uint32_t access, uint32_t on=0, uint32_t off=0, int pa_bits=0):
        """Hardware walks of an array of addresses; on, off: what differs from the processor as Linux sets it up."""
        cdef mm_t *mm = self.enter()
        cdef const uint64_t[::1] at = np.ascontiguousarray(addrs, dtype=np.uint64)
        cdef walk_mmu_t mmu
        out = np.zeros(at.shape[0], dtype=WALK_DTYPE)
        cdef uint8_t[::1] to = out.view(np.uint8)
        walk_mmu_init(&mmu, &self.machine.m, mm)
        mmu.flags = mmu.flags & ~off | on
        if pa_bits:
            mmu.pa_bits = pa_bits
        if at.shape[0]:
            walk_batch(&mmu, &at[0], at.shape[0], access, <walk_result_t *>&to[0])
        return out

    def pagemap_words(self, uint64_t addr, uint64_t length):
        """Words of /proc/PID/pagemap for the pages of a range."""
        cdef mm_t *mm = self.enter()
        cdef uint64_t nr = (length + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        out = np.zeros(nr, dtype=np.uint64)
        cdef uint64_t[::1] to = out
        if nr:
            pagemap_read(&self.machine.m, mm, addr & ~(FS_PAGE_SIZE - 1),
                         (addr & ~(FS_PAGE_SIZE - 1)) + (nr << FS_PAGE_SHIFT), &to[0])
        return out


def walk_image(uint8_t[::1] image, uint64_t root, uint64_t addr, uint32_t access, *, uint32_t flags,
               int maxphyaddr=0, int va_bits=48):
    """Walk tables in a copy of physical memory that begins at address 0.

    Returns (physical address, error, level, rights) as a record of `Process.walk`; ``flags`` are bits of the
    processor's state: on x86-64 0x100 EFER.NXE, 0x200 CR0.WP, 0x400 CR4.SMEP, 0x800 CR4.SMAP, 0x1000 EFLAGS.AC, on
    arm64 0x100 TCR.HA, 0x200 TCR.HD, 0x400 PSTATE.PAN, 0x800 SCTLR.WXN; and 0x2000 to set accessed and dirty bits in
    the image; ``access``: 2 write, 4 user, 0x10 fetch; ``maxphyaddr``: bits of a physical address, 0: all there are.
    """
    cdef walk_mmu_t mmu
    cdef walk_result_t result
    if image.shape[0] < <int64_t>FS_PAGE_SIZE:
        raise ValueError(f"image of {image.shape[0]} bytes: must hold at least one page")
    mmu.phys, mmu.size = &image[0], image.shape[0]
    mmu.root, mmu.flags, mmu.pa_bits, mmu.va_bits = root, flags, maxphyaddr or 52, va_bits
    walk_mmu_levels(&mmu)
    walk(&mmu, addr, access, &result)
    return result.pa, result.error, result.level, result.rights


cdef class CoreReference:
    """References on pages, held until released."""

    def __cinit__(self, CoreMachine machine, CoreProcess process, uint32_t flags):
        self.process = process
        self.machine = machine
        machine.next_reference += 1
        self.number = machine.next_reference
        self.held.flags = flags
        self.held.pfns = NULL
        self.held.nr = 0

    def __dealloc__(self):
        free(self.held.pfns)

    @property
    def pinned(self):
        return bool(self.held.flags & FOLL_PIN)

    @property
    def page_frames(self):
        """Frame numbers, in order."""
        return [self.held.pfns[i] for i in range(self.held.nr)]

    def bytes_at(self, uint32_t offset):
        """The byte at an offset in each page."""
        return bytes([content_read(&self.machine.m, self.held.pfns[i], offset) for i in range(self.held.nr)])

    def drop(self):
        """Drop the references; nothing if that was done."""
        self.machine.enter()
        if self in self.machine.references:
            self.put()
            self.machine.leave()

    cdef int put(self) except -1:
        self.machine.references.discard(self)
        held_del(&self.machine.m, &self.held)
        unpin_dofork(&self.machine.m, &self.held)
        if self.locks:
            folio_of(&self.machine.m, self.held.pfns[0]).flags &= ~PG_locked
        put_user_pages(&self.machine.m, self.held.pfns, self.held.nr, self.held.flags)
        self.held.nr = 0
        return 0
