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
from foliosim.errors import BusError, SegvError, UnsupportedError, out_of_memory, syscall_error
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.brk cimport do_brk
from foliosim._core.content cimport content_read
from foliosim._core.corrupt cimport corrupt
from foliosim._core.ends cimport drain_batches, free_machine
from foliosim._core.dontfork cimport pin_dontfork, unpin_dofork
from foliosim._core.fault cimport *
from foliosim._core.frames cimport CoreFrames
from foliosim._core.file_ops cimport do_msync
from foliosim._core.gup cimport get_user_pages_fast
from foliosim._core.gup_fast cimport put_user_pages
from foliosim._core.hooks cimport calls_python, install_hook, remove_hooks
from foliosim._core.khugepaged cimport khugepaged_do_scan, khugepaged_wakes
from foliosim._core.ksm cimport ksm_set_merge_any
from foliosim._core.madvise cimport FS_ENOTSIM, do_madvise, prctl_set_vma
from foliosim._core.mapping cimport mapping_put
from foliosim._core.memcontrol cimport oom_report
from foliosim._core.vmscan cimport mem_cgroup_charge
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.mlock_syscall cimport do_mlock, do_mlock2, do_mlockall, do_munlock, do_munlockall
from foliosim._core.mmap cimport dup_mmap, exit_mmap, ksys_mmap, mm_alloc, mm_free, vm_munmap
from foliosim._core.mprotect cimport FS_PKEY_NONE, do_mprotect
from foliosim._core.mremap cimport do_mremap
from foliosim._core.mseal cimport do_mseal
from foliosim._core.numbers cimport *
from foliosim._core.numbers import addresses
from foliosim._core.page_alloc cimport page_alloc_init
from foliosim._core.held cimport held_add, held_del
from foliosim._core.pfnmap cimport range_has_device
from foliosim._core.policy cimport *
from foliosim._core.split_folio cimport split_folio_to_order
from foliosim._core.signals cimport look_for_signals
from foliosim._core.stat cimport get_mm_rss
from foliosim._core.swap cimport folio_put
from foliosim._core.task_mmu cimport *
from foliosim._core.task_mmu import SMAPS_FIELDS as SMAPS_NAMES
from foliosim._core.turn cimport *
from foliosim._core.walk cimport *
from foliosim._core.arch.x86_64_walk cimport walk_flag_names

cdef int64_t NEVER = 0x7fffffffffffffff

WALK_DTYPE = np.dtype([("pa", "u8"), ("error", "u4"), ("level", "i1"), ("rights", "u1"), ("_pad", "u2")])
WALK_FLAGS = {name: 0x100 << i for i, name in enumerate(walk_flag_names().decode().split())}
_SI_CODES = {SEGV_MAPERR: "MAPERR", SEGV_ACCERR: "ACCERR"}


cdef bytes room_for(int64_t nr, str syscall, tuple args):
    """As many bytes, to be filled."""
    try:
        return PyBytes_FromStringAndSize(NULL, nr if nr >= 0 else NEVER)
    except (MemoryError, OverflowError):
        raise MemoryError(f"{syscall}{args}: the host has no room for {<uint64_t>nr:,} bytes") from None


cdef class CoreMachine(CoreFrames):
    """One emulated machine: physical memory, folios, processes, counters."""

    def __cinit__(self, uint64_t nr_pages, *, dict thp, dict rules, int va_bits=48, bint contpte=True,
                  bint hw_afdbm=True, int64_t max_map_count=65530, **_):
        cdef int i
        memset(&self.m, 0, sizeof(machine_t))
        memset(&self.turn, 0, sizeof(turn_t))
        if nr_pages < 2 * FS_HPAGE_PMD_NR or nr_pages > 0xfffff000ULL:
            raise ValueError(f"memory of {nr_pages * FS_PAGE_SIZE >> 10:,} KiB: must be {2 * FS_PMD_SIZE >> 10:,} to "
                             f"{0xfffff000ULL * FS_PAGE_SIZE >> 10:,} KiB")
        self.previous = {}
        self.hooks = {}
        self.references = {}
        self.fails = {}
        self.wake = NEVER
        self.known = WeakValueDictionary()
        self.opened = WeakValueDictionary()
        self.kept = []
        self.put_later = []
        turn_init(&self.turn)
        self.m.interrupt.ask, self.m.interrupt.ctx = look_for_signals, <void *>self
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
        turn_deinit(&self.turn)
        if self.m.phys == NULL:
            return
        remove_hooks(&self.m.policy)
        self.m.interrupt.ask = NULL
        for mapping in self.put_later or ():  # None: a collection took it
            mapping_put(&self.m, <mapping_t *><size_t>mapping)
        with nogil:
            free_machine(&self.m)

    cdef int begin(self, uint64_t pages) except -1:
        """An operation on so many pages begins.  Nothing may touch Python from here to `done`."""
        self.go_on(pages)
        self.m.memcg.oom = self.m.memcg.hit = False
        return 0

    cdef int go_on(self, uint64_t pages) except -1:
        """The same for one more part of an operation."""
        enter_turn(&self.turn, pages)
        run_turn(&self.turn)
        return 0

    cdef int64_t done(self, int64_t result) noexcept:
        """The core's part of an operation is over: drain, do what was put off, and let others in.  The result."""
        drain_batches(&self.m)
        leave_turn(&self.turn)
        return result

    cdef int drain_now(self) except -1:
        self.go_on(0)
        self.done(0)
        return 0

    cdef int leave(self) except -1:
        """A public operation is over, which is a step; khugepaged may wake up."""
        self.steps += 1
        if self.put_later:
            self.put_mappings()
        self.settle()
        if khugepaged_wakes(&self.m, self.steps):
            self.wake_khugepaged()
        if self.steps >= self.wake:
            with Hold(self):
                self.wake = self.waken()
        return 0

    cdef int put_mappings(self) except -1:
        """Of files that went while an operation was going on."""
        self.go_on(0)
        while self.put_later:
            mapping_put(&self.m, <mapping_t *><size_t>self.put_later.pop())
        self.done(0)
        return 0

    cdef int wake_khugepaged(self) except -1:
        """Another thread: no charge of it fails the operation."""
        cdef bint oom = self.m.memcg.oom
        cdef int64_t result
        self.go_on(self.m.khugepaged.pages_to_scan)
        result = self.done(khugepaged_do_scan(&self.m, self.m.khugepaged.pages_to_scan))
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
        """Raise what a hook, or a signal's handler, raised."""
        if self.m.refused_point:
            self.refuse()
        if self.hook_error is not None:
            error, self.hook_error = self.hook_error, None
            self.m.interrupt.stop = False
            raise error
        return 0

    cdef void keep_error(self, error) noexcept:
        """Raise it when the operation has ended, which shall be soon unless it is an ordinary exception."""
        if self.hook_error is None:
            self.hook_error = error
        if not isinstance(error, Exception):
            self.m.interrupt.stop, self.m.interrupt.left = True, 0

    cdef int refuse(self) except -1:
        """A compiled policy gave an answer that cannot be carried out."""
        cdef str point = policy_point_name(self.m.refused_point - 1)
        answer = self.m.refused_answer
        self.m.refused_point = 0
        if self.hook_error is None:
            self.hook_error = ValueError(f"policy {point}: answer {answer}{policy_refusal(point, answer)}")
        return 0

    cdef uint32_t pid_after(self, uint32_t pid) noexcept:
        """The next live process, in order of creation; 0: none."""
        cdef mm_t *mm = self.m.mm_first
        while mm != NULL and mm.pid <= pid:
            mm = mm.next
        return 0 if mm == NULL else mm.pid

    cdef mm_t *find_mm(self, uint32_t pid) noexcept:
        cdef mm_t *mm = self.m.mm_first
        while mm != NULL and mm.pid != pid:
            mm = mm.next
        return mm

    def live_processes(self, cls):
        """All live processes in order of creation, also those that no Python object stands for any more."""
        cdef uint32_t pid
        out = []
        with Hold(self):
            pid = self.pid_after(0)
            while pid:
                process = self.known.get(pid)
                if process is None:
                    self.reviving_process = pid
                    try:
                        process = cls(self)
                    finally:
                        self.reviving_process = 0
                out.append(process)
                pid = self.pid_after(pid)
        return out

    def set_rules(self, *, bint soft_dirty, bint pt_reclaim, bint guard_flag, bint pmd_modify_keeps_dirty):
        """The rules of the kernel release; before the first process."""
        self.m.soft_dirty, self.m.pt_reclaim = soft_dirty, pt_reclaim
        self.m.guard_flag, self.m.pmd_modify_keeps_dirty = guard_flag, pmd_modify_keeps_dirty

    def set_thp(self, *, int enabled, uint32_t always, uint32_t madvise, uint32_t inherit, int shmem_enabled,
                uint32_t shmem_always, uint32_t shmem_inherit, uint32_t shmem_within_size, uint32_t shmem_advise):
        """The transparent_hugepage settings; masks have bit n for order n."""
        cdef thp_settings_t *thp = &self.m.thp
        self.look()
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
        self.look()
        if isinstance(answer, tuple):
            name, number = answer
            policy_set(&self.m.policy, slot, name, number)
            self.hooks.pop(point, None)
        else:
            self.hooks[point] = install_hook(&self.m.policy, slot, <void *>self, answer)
        self.turn.hooks = calls_python(&self.m.policy)

    def drain(self):
        """Flush the per-CPU batches."""
        self.drain_now()
        self.settle()

    def corrupt(self, str kind, uint64_t number, str field, int64_t delta=1):
        """Damage a count on purpose; (object, field) that validation should name."""
        self.look()
        return corrupt(&self.m, kind, number, field, delta)

    def split_folio(self, pfn, *, new_order=0):
        """Split the folio that holds a frame, as split_huge_page_to_list_to_order does for a caller with one reference.

        Raises SyscallError: EINVAL, EBUSY (not mapped), EAGAIN (other references).
        """
        cdef uint64_t frame = u64(pfn, "pfn")
        cdef int32_t order = i32(new_order, "new_order")
        cdef uint32_t head
        cdef int result
        self.look()
        if folio_at(&self.m, frame) == FS_NO_PFN:
            raise ValueError(f"pfn {frame:#x}: no folio there")
        self.begin(0)
        lru_add_drain(&self.m)
        head = head_of(&self.m, <uint32_t>frame)
        page_of(&self.m, head).refcount += 1
        result = split_folio_to_order(&self.m, head, order, <uint32_t>frame, SPLIT_USER)
        folio_put(&self.m, head_of(&self.m, <uint32_t>frame))
        self.done(0)
        self.leave()
        if result < 0:
            raise syscall_error(result, "split_folio", (pfn, new_order))

cdef class Hold:
    """A context manager: its block has the machine for itself, and may operate it; other threads wait for it.

    busy: the block is an operation, so what calls back meanwhile (finalizers, handlers of signals) is refused.
    """

    def __cinit__(self, CoreMachine machine not None, *, bint busy=False):
        self.machine, self.busy = machine, busy

    def __enter__(self):
        hold_turn(&self.machine.turn)
        self.entered += 1
        if self.busy:
            take_turn(&self.machine.turn, False)
        return self.machine

    def __exit__(self, *exc):
        check_holder(&self.machine.turn, self.entered, self.busy)
        self.entered -= 1
        if self.busy:
            leave_turn(&self.machine.turn)
        release_turn(&self.machine.turn)


@no_gc_clear
cdef class CoreMapping:
    """A reference on a page cache; what can be done with it is in file_handle.pyx."""

    def __dealloc__(self):
        if self.mapping == NULL:
            return
        if self.machine.turn.owner:      # somebody may be using it, this thread too
            self.machine.put_later.append(<size_t>self.mapping)
        else:
            mapping_put(&self.machine.m, self.mapping)


cdef class CoreProcess:
    """One address space."""

    def __cinit__(self, CoreMachine machine not None, *_, **__):
        """A new address space; that of a live process whose Python object is gone if one is revived."""
        self.machine = machine
        machine.begin(0)
        if machine.reviving_process:
            self.mm = machine.find_mm(machine.reviving_process)
            machine.reviving_process = 0
        elif mem_cgroup_charge(&machine.m, 1):   # the PGD, as pgd_alloc's GFP_PGTABLE_USER has it charged
            self.mm = mm_alloc(&machine.m)
        leave_turn(&machine.turn)
        if self.mm == NULL:
            machine.count_fail(ENOMEM)
            if machine.m.memcg.oom:
                raise out_of_memory("fork", (), oom_report(&machine.m))
            raise syscall_error(ENOMEM, "fork")
        machine.known[self.mm.pid] = self
        if machine.m.refused_point or machine.hook_error is not None:
            try:
                machine.drain()                  # reclaim asked a hook
            except BaseException:
                self.destroy(False)
                raise

    cdef mm_t *living(self) except NULL:
        if self.mm == NULL:
            raise ValueError("the process has exited")
        return self.mm

    cdef mm_t *look(self) except NULL:
        """See `CoreMachine.look`."""
        self.machine.look()
        return self.living()

    cdef mm_t *begin(self, uint64_t length) except NULL:
        """An operation on so many bytes; see `CoreMachine.begin`."""
        cdef turn_t *turn = &self.machine.turn
        enter_turn(turn, length >> FS_PAGE_SHIFT)
        if self.mm == NULL:
            leave_turn(turn)
        self.living()
        self.machine.m.memcg.oom = self.machine.m.memcg.hit = False
        run_turn(turn)
        return self.mm

    cdef int64_t done(self, int64_t result) noexcept:
        return self.machine.done(result)

    cdef uint64_t span(self) except? 0:
        """Bytes that are mapped: how long an operation on all of them is."""
        return <uint64_t>self.look().total_vm << FS_PAGE_SHIFT

    cdef int64_t leave(self, int64_t result) except? -1:
        """A system call is over, which is a step.  Its result; what is negative goes to `fail`."""
        self.machine.syscalls += 1
        self.machine.leave()
        return result

    cdef fail(self, int64_t result, str syscall, tuple args):
        if result == -FS_EHOSTMEM:
            raise MemoryError(f"{syscall}{args}: the host has no memory")
        if result == -FS_ENOTSIM:
            raise UnsupportedError(f"{syscall}{args}: not emulated")
        self.machine.count_fail(<int>-result)
        if (result == -ENOMEM or result == -EAGAIN) and self.machine.m.memcg.oom:
            raise out_of_memory(syscall, args, oom_report(&self.machine.m))
        raise syscall_error(result, syscall, args)

    @property
    def pid(self):
        return self.look().pid

    @property
    def alive(self):
        return self.mm != NULL

    @property
    def pgd(self):
        """Frame number of the root page table (CR3 >> 12)."""
        return self.look().pgd

    def counts(self):
        """Counters of the address space: pages, but for nr_* (tables) and map_count (VMAs)."""
        cdef mm_t *mm = self.look()
        return {"map_count": mm.map_count, "total_vm": mm.total_vm, "locked_vm": mm.locked_vm,
                "pinned_vm": mm.pinned_vm, "swapents": mm.swapents,
                "rss_anon": mm.rss_anon, "rss_file": mm.rss_file, "rss_shmem": mm.rss_shmem,
                "nr_ptes": mm.nr_ptes, "nr_pmds": mm.nr_pmds, "nr_puds": mm.nr_puds,
                "hiwater_rss": max(mm.hiwater_rss, get_mm_rss(mm)), "hiwater_vm": max(mm.hiwater_vm, mm.total_vm)}

    # ---- system calls ----

    def sys_mmap(self, addr, length, prot, flags, CoreMapping file=None, offset=0):
        cdef uint64_t hint = u64(addr, "addr"), size = u64(length, "length"), pgoff = u64(offset, "offset")
        cdef uint64_t rights = u64(prot, "prot"), kind = u64(flags, "flags")
        cdef mm_t *mm
        cdef mapping_t *mapping
        cdef bint writable = file is None or file.writable
        cdef int64_t result
        if file is not None and file.machine is not self.machine:
            raise ValueError(f"file {file!r}: it belongs to another machine")
        mm = self.begin(size)
        mapping = NULL if file is None else file.mapping
        result = self.done(ksys_mmap(&self.machine.m, mm, hint, size, rights, kind, mapping, writable, pgoff))
        return result if self.leave(result) >= 0 else self.fail(result, "mmap", (addr, length, prot, flags))

    def sys_munmap(self, addr, length):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef int64_t result = self.done(vm_munmap(&self.machine.m, self.begin(size), start, size))
        return result if self.leave(result) >= 0 else self.fail(result, "munmap", (addr, length))

    def sys_mprotect(self, addr, length, prot, pkey=-1):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length"), rights = u64(prot, "prot")
        cdef int32_t key = i32(pkey, "pkey")
        cdef uint64_t which = FS_PKEY_NONE if key == -1 else <uint64_t>key
        cdef int64_t result = self.done(do_mprotect(&self.machine.m, self.begin(size), start, size, rights, which))
        return result if self.leave(result) >= 0 else self.fail(result, "mprotect", (addr, length, prot))

    def sys_mremap(self, old_addr, old_length, new_length, flags, new_addr):
        cdef uint64_t start = u64(old_addr, "old_addr"), size = u64(old_length, "old_length")
        cdef uint64_t to = u64(new_addr, "new_addr"), room = u64(new_length, "new_length"), how = u64(flags, "flags")
        cdef mm_t *mm = self.begin(max(size, room))
        cdef int64_t result = self.done(do_mremap(&self.machine.m, mm, start, size, room, how, to))
        cdef tuple args = (old_addr, old_length, new_length, flags, new_addr)
        return result if self.leave(result) >= 0 else self.fail(result, "mremap", args)

    def sys_mseal(self, addr, length):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef int64_t result = self.done(do_mseal(&self.machine.m, self.begin(size), start, size, 0))
        return result if self.leave(result) >= 0 else self.fail(result, "mseal", (addr, length))

    def sys_madvise(self, addr, length, advice):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef int32_t what = i32(advice, "advice")
        cdef int64_t result = self.done(do_madvise(&self.machine.m, self.begin(size), start, size, what))
        return result if self.leave(result) >= 0 else self.fail(result, "madvise", (addr, length, advice))

    def sys_mlock(self, addr, length):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef int64_t result = self.done(do_mlock(&self.machine.m, self.begin(size), start, size))
        return result if self.leave(result) >= 0 else self.fail(result, "mlock", (addr, length))

    def sys_mlock2(self, addr, length, flags):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length"), how = u64(flags, "flags")
        cdef int64_t result = self.done(do_mlock2(&self.machine.m, self.begin(size), start, size, how))
        return result if self.leave(result) >= 0 else self.fail(result, "mlock2", (addr, length, flags))

    def sys_munlock(self, addr, length):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef int64_t result = self.done(do_munlock(&self.machine.m, self.begin(size), start, size))
        return result if self.leave(result) >= 0 else self.fail(result, "munlock", (addr, length))

    def sys_mlockall(self, flags):
        cdef uint64_t which = u64(flags, "flags")
        cdef int64_t result = self.done(do_mlockall(&self.machine.m, self.begin(self.span()), which))
        return result if self.leave(result) >= 0 else self.fail(result, "mlockall", (flags,))

    def sys_munlockall(self):
        do_munlockall(&self.machine.m, self.begin(self.span()))
        self.done(0)
        self.leave(0)

    def sys_brk(self, addr):
        cdef uint64_t wanted = u64(addr, "addr"), end
        cdef mm_t *mm = self.look()
        cdef bint host_failed
        mm = self.begin(wanted - mm.brk if wanted > mm.brk else mm.brk - wanted)
        end = do_brk(&self.machine.m, mm, wanted, &host_failed)
        self.done(0)
        self.leave(0)
        return self.fail(-FS_EHOSTMEM, "brk", (addr,)) if host_failed else end

    def sys_set_vma_name(self, addr, length, name):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef uint32_t number = u32(name, "name")
        cdef int64_t result = self.done(prctl_set_vma(&self.machine.m, self.begin(size), start, size, number))
        return result if self.leave(result) >= 0 else self.fail(result, "prctl", (addr, length, name))

    def sys_mincore(self, addr, length):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef mm_t *mm = self.look()
        cdef uint64_t pages = (size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        cdef int64_t result
        if pages > 1ULL << 32:
            raise syscall_error(ENOMEM, "mincore", (addr, length))
        vec = room_for(<int64_t>pages, "mincore", (addr, length))
        mm = self.begin(size)
        result = self.done(mincore(&self.machine.m, mm, start, size, <uint8_t *>PyBytes_AS_STRING(vec)))
        return vec if self.leave(result) >= 0 else self.fail(result, "mincore", (addr, length))

    def sys_msync(self, addr, length, flags):
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length"), how = u64(flags, "flags")
        cdef int64_t result = self.done(do_msync(&self.machine.m, self.begin(size), start, size, how))
        return result if self.leave(result) >= 0 else self.fail(result, "msync", (addr, length, flags))

    def sys_clear_refs(self, value):
        cdef int32_t which = i32(value, "value")
        cdef int64_t result = self.done(clear_refs(&self.machine.m, self.begin(self.span()), which))
        return result if self.leave(result) >= 0 else self.fail(result, "clear_refs", (value,))

    def sys_thp_disable(self, value, flags):
        """PR_SET_THP_DISABLE; flags: 2 is PR_THP_DISABLE_EXCEPT_ADVISED.  Follows prctl_set_thp_disable."""
        cdef uint64_t disable = value if isinstance(value, bool) else u64(value, "value"), how = u64(flags, "flags")
        cdef mm_t *mm = self.look()
        if how & ~2ULL or (how and not disable):
            raise syscall_error(EINVAL, "prctl", (value, flags))
        mm.thp_disable = (2 if how else 1) if disable else 0

    def sys_memory_merge(self, value):
        """Follows: prctl, PR_SET_MEMORY_MERGE."""
        ksm_set_merge_any(self.look(), u64(value, "value") != 0)

    def fork_into(self, CoreProcess child):
        """Fill a new process with a copy of this one."""
        cdef mm_t *mm
        cdef int64_t result = 0
        if child.machine is not self.machine or child.look().map_count:
            raise ValueError("fork: the child must be a new process of the same machine")
        with Hold(self.machine):
            mm = self.begin(self.span())
            drain_batches(&self.machine.m)
            result = dup_mmap(&self.machine.m, child.mm, mm)
            leave_turn(&self.machine.turn)
            if result < 0:
                child.destroy(False)
            self.machine.drain_now()
        return result if self.leave(result) >= 0 else self.fail(result, "fork", ())

    def end(self):
        """Drop references and pins, unmap everything, leave."""
        with Hold(self.machine):
            self.look()
            self.destroy(True)
            self.machine.drain_now()
        self.leave(0)

    cdef int destroy(self, bint killable) except -1:
        cdef mm_t *mm = self.mm
        cdef uint32_t pid = mm.pid
        cdef CoreReference reference
        for reference in [r for r in self.machine.references if r.process is self]:
            reference.put()
        self.machine.go_on(self.span() >> FS_PAGE_SHIFT)
        if exit_mmap(&self.machine.m, mm, killable) == 0:
            mm_free(&self.machine.m, mm)
            self.mm = NULL
        leave_turn(&self.machine.turn)
        if self.mm == NULL:
            self.machine.known.pop(pid, None)
        return 0

    # ---- user-mode accesses ----

    def access(self, addr, length, int kind, step, value=0, delta=0, offset=0):
        """Loads or stores at addr + offset, + step (None: a page), ...; bytes for a read, else how many were made."""
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length"), skip = u64(offset, "offset")
        cdef uint64_t stride = FS_PAGE_SIZE if step is None else u64(step, "stride")
        cdef uint8_t first = i64(value, "value") & 0xff, more = i64(delta, "delta") & 0xff
        cdef mm_t *mm = self.look()
        cdef access_t a
        cdef int64_t count = 0, result
        if stride == 0:
            raise ValueError("stride 0: must be at least 1")
        memset(&a, 0, sizeof(a))
        a.addr = start + skip
        a.end = start + size
        if a.end < start or a.addr < start:
            raise ValueError(f"range {start:#x} + {max(size, skip):#x} wraps around")
        if a.end > a.addr:
            stride = min(stride, a.end - a.addr)  # so that the address does not wrap around
            count = (a.end - a.addr - 1) // stride + 1
        if kind > ACCESS_TOUCH_WRITE and range_has_device(&self.machine.m, mm, a.addr, a.end):
            raise UnsupportedError(f"access({start:#x}, {size:#x}): device memory has no content; touch() uses it")
        a.stride, a.kind, a.value, a.delta = stride, kind, first, more
        out = b""
        if kind == ACCESS_READ:
            out = room_for(count, "access", (addr, length))
            a.out = <uint8_t *>PyBytes_AS_STRING(out)
        mm = self.begin(<uint64_t>count << FS_PAGE_SHIFT)
        result = self.done(user_access(&self.machine.m, mm, &a))
        self.machine.leave()
        if result < 0:
            self.fail(result, "access", (addr, length))
        if a.signal:
            kind_name = "write" if kind in (ACCESS_WRITE, ACCESS_TOUCH_WRITE) else "read"
            self.machine.count_fail("sigbus" if a.signal == 7 else "sigsegv")
            if a.signal == 7:
                raise BusError(a.si_addr, "ADRERR", kind_name)
            raise SegvError(a.si_addr, _SI_CODES[a.si_code], kind_name)
        return out if kind == ACCESS_READ else a.done

    # ---- references ----

    cdef int64_t take(self, CoreReference reference, uint64_t addr, uint64_t length, uint64_t batch) except? -1:
        """Let a new reference have the pages of [addr, addr + length), batch pages at a time; bytes, or an errno.

        The caller holds the machine.
        """
        cdef mm_t *mm = self.look()
        cdef uint32_t flags = reference.held.flags
        cdef uint64_t first = addr & ~(FS_PAGE_SIZE - 1)
        cdef int64_t nr = (addr + length - first + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        cdef int64_t got = 0, more
        if addr + length < addr or nr > 1LL << 36:
            return -EFAULT
        reference.held.pfns = <uint32_t *>malloc(nr * sizeof(uint32_t) + 1)
        if reference.held.pfns == NULL:
            raise MemoryError(f"get_user_pages: {nr} pages")
        self.begin(length)
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
        if 0 < got < nr and flags & FOLL_PIN:
            put_user_pages(&self.machine.m, reference.held.pfns, got, flags)
            got = -EFAULT
        leave_turn(&self.machine.turn)
        if got < 0:
            return got
        reference.held.nr = got
        held_add(&self.machine.m, &reference.held)
        reference.offset = addr - first
        reference.nbytes = min(<int64_t>length, (got << FS_PAGE_SHIFT) - reference.offset)
        self.machine.references[reference] = None
        self.machine.go_on(0)
        more = pin_dontfork(&self.machine.m, mm, first, &reference.held)
        leave_turn(&self.machine.turn)
        if more < 0:
            reference.put()
            return more
        return reference.nbytes

    def references_to(self, addr, length, uint32_t flags, cls, uint64_t batch):
        """References on the pages of [addr, addr + length), taken batch pages at a time as one user call does."""
        cdef uint64_t start = u64(addr, "addr"), size = u64(length, "length")
        cdef CoreReference reference = cls(self.machine, self, flags)
        cdef int64_t result = 0
        with Hold(self.machine):
            result = self.take(reference, start, size, batch)
            if result > 0 and self.machine.hook_error is not None:
                reference.put()      # nobody will get it
            self.machine.drain_now()
        return reference if self.leave(result) >= 0 else self.fail(result, "get_user_pages", (addr, length))

    # ---- views ----

    def translate(self, addr):
        """Physical address of a byte; SegvError if nothing is mapped there."""
        cdef uint64_t at = u64(addr, "addr")
        cdef mm_t *mm = self.look()
        cdef machine_t *m = &self.machine.m
        cdef int level = 0
        cdef uint64_t entry = leaf_offset(m, mm, at, &level)[0] if at < m.task_size else 0
        if not pte_hw_present(m, entry):
            raise SegvError(at, "MAPERR", "read")
        return (<uint64_t>pte_pfn(m, entry) << FS_PAGE_SHIFT) + (at & (level_size(level) - 1))

    def walk_array(self, addrs, uint32_t access, uint32_t on=0, uint32_t off=0, int pa_bits=0):
        """Hardware walks of an array of addresses; on, off: what differs from the processor as Linux sets it up."""
        cdef const uint64_t[::1] at = addresses(addrs, "addrs")
        cdef int64_t n = at.shape[0]
        cdef walk_mmu_t mmu
        out = np.zeros(n, dtype=WALK_DTYPE)
        cdef uint8_t[::1] to = out.view(np.uint8)
        walk_mmu_init(&mmu, &self.machine.m, self.begin(<uint64_t>n << FS_PAGE_SHIFT))
        mmu.flags = mmu.flags & ~off | on
        if pa_bits:
            mmu.pa_bits = pa_bits
        if n:
            walk_batch(&mmu, &at[0], n, access, <walk_result_t *>&to[0])
        leave_turn(&self.machine.turn)
        return out

    def pagemap_words(self, addr, length):
        """Words of /proc/PID/pagemap for the pages of a range."""
        cdef uint64_t start = u64(addr, "addr") & ~(FS_PAGE_SIZE - 1), size = u64(length, "length")
        cdef uint64_t nr = (size + FS_PAGE_SIZE - 1) >> FS_PAGE_SHIFT
        cdef mm_t *mm
        out = np.zeros(nr, dtype=np.uint64)
        cdef uint64_t[::1] to = out
        mm = self.begin(size)
        if nr:
            pagemap_read(&self.machine.m, mm, start, start + (nr << FS_PAGE_SHIFT), &to[0])
        leave_turn(&self.machine.turn)
        self.machine.settle()
        return out


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
        self.machine.look()
        return bytes([content_read(&self.machine.m, self.held.pfns[i], offset) for i in range(self.held.nr)])

    def drop(self):
        """Drop the references; nothing if that was done."""
        cdef bint mine
        with Hold(self.machine):
            mine = self in self.machine.references
            if mine:
                self.put()
                self.machine.drain_now()
        if mine:
            self.machine.leave()

    cdef int put(self) except -1:
        """The caller holds the machine."""
        self.machine.references.pop(self, None)
        self.machine.go_on(self.held.nr)
        held_del(&self.machine.m, &self.held)
        unpin_dofork(&self.machine.m, &self.held)
        if self.locks:
            folio_of(&self.machine.m, self.held.pfns[0]).flags &= ~PG_locked
        put_user_pages(&self.machine.m, self.held.pfns, self.held.nr, self.held.flags)
        self.held.nr = 0
        leave_turn(&self.machine.turn)
        return 0
