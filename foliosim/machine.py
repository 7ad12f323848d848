"""The emulated machine.

What only some calls need is imported by them: `import foliosim` takes as long as its imports.
"""
from foliosim import branch as _branch
from foliosim import cores as _cores
from foliosim import kernels as _kernels
from foliosim import policy as _policy
from foliosim.errors import ValidationError
from foliosim.file import DEVICE, File, check_device, check_kind
from foliosim.inject import Injector
from foliosim.ledger import Ledger
from foliosim.process import Process
from foliosim.show.scene import scene as _scene
from foliosim.sizes import integer as _integer
from foliosim.sizes import parse_size
from foliosim.views import Folio

_NEVER = (1 << 63) - 1
_MOST = 1 << 62
_THP_MODES = {"never": 0, "madvise": 1, "always": 2}
_MTHP_MODES = ("never", "madvise", "inherit", "always")
_SHMEM_MODES = {"never": 0, "always": 1, "within_size": 2, "advise": 3, "deny": -1, "force": -2}
_MTHP_SHMEM_MODES = ("never", "always", "within_size", "inherit", "advise")
_KHUGEPAGED = ("max_ptes_none", "max_ptes_swap", "max_ptes_shared", "pages_to_scan", "scan_sleep_steps",
               "wake_at_limit")


class Machine:
    """One machine: physical memory, folios, LRU lists, processes and counters, all in this Python process.

    Parameters
    ----------
    arch : str
        ``"x86_64"`` or ``"arm64"``.
    page_size : int or str
        Bytes, or as ``"4K"``.
    va_bits : int, optional
        Bits of an address, which give the number of table levels.  On x86-64, where half of them are the kernel's: 48
        (4 levels), or 57 (5 levels, LA57).  On arm64: 48; with 4K pages also 39, with 16K 47 and 36, with 64K 42.
    memory : int or str
        Emulated physical memory in bytes, or as ``"64G"``; rounded down to the size of a PMD leaf.  It costs
        host memory only where it is used.
    policy : str, dict or object
        A preset's name, a dict of policy point to alternative (points left out: Linux 6.18's), or an object whose
        methods are named like points.  See `set_policy`.
    thp : str
        ``transparent_hugepage/enabled``: ``"never"``, ``"madvise"`` or ``"always"``.
    mthp : dict, optional
        ``hugepages-<size>/enabled``, e.g. ``{"64kB": "madvise"}``; sizes left out keep the boot default (that of
        a PMD leaf: inherit, others: never).
    shmem_enabled : str
        ``transparent_hugepage/shmem_enabled``.
    mthp_shmem : dict, optional
        ``hugepages-<size>/shmem_enabled``.
    kernel : str
        The release whose rules hold where releases differ, one of ``foliosim.kernels.KERNELS``.
    soft_dirty : bool, optional
        CONFIG_MEM_SOFT_DIRTY; as the release usually has it if left out: off.
    pt_reclaim : bool, optional
        CONFIG_PT_RECLAIM: MADV_DONTNEED frees page tables that it empties; if left out on where it exists.
    contpte : bool
        CONFIG_ARM64_CONTPTE: entries fold into contiguous blocks (see the policy point ``contpte``); of no meaning on
        x86-64.
    hw_afdbm : bool
        The arm64 CPU sets the access flag and the dirty state itself (FEAT_HAFDBS); of no meaning on x86-64.
    max_map_count : int
        VMAs a process may have (``vm.max_map_count``).
    limit : int or str, optional
        What all processes together may use, in bytes or as ``"64M"``, like memory.max of a cgroup: folios and page
        tables.  Where it is hit memory is reclaimed.  See `limit`.
    swap : int or str, optional
        Size of a swap device, in bytes or as ``"1G"``.  It is written and read at once, like zram.
    khugepaged : dict, optional
        Settings of khugepaged; see `set_khugepaged`.
    swappiness : int
        How willing reclaim is to swap rather than drop page cache, 0 to 200 (``vm.swappiness``).

    Raises
    ------
    ValueError
        An unknown architecture, kernel, preset, mode or size; the message names it.
    MemoryError
        The host has no address space for the emulated memory.

    Examples
    --------
    >>> import foliosim as fs
    >>> m = fs.Machine(memory="1G")
    >>> p = m.spawn()
    >>> a = p.mmap(2 << 20, prot=fs.PROT_READ | fs.PROT_WRITE)
    >>> p.write(a, 2 << 20, value=7)
    512

    Attributes
    ----------
    inject : Injector
        Puts trouble in: references, pins, locks, allocations that fail.
    page_size : int
        Bytes.
    steps : int
        Public operations performed so far.
    """

    def __new__(cls, *, arch="x86_64", page_size="4K", va_bits=None, memory="64G", policy="linux-6.18",
                thp="madvise", mthp=None, shmem_enabled="never", mthp_shmem=None, kernel=_kernels.DEFAULT,
                soft_dirty=None, pt_reclaim=None, contpte=True, hw_afdbm=True, max_map_count=65530, limit=None,
                swap=None, khugepaged=None, swappiness=60):
        core = _cores.find(arch, page_size)
        settings = _thp_settings(core, thp, mthp, shmem_enabled, mthp_shmem)
        rules = _kernels.rules(kernel, arch, {"soft_dirty": soft_dirty, "pt_reclaim": pt_reclaim})
        base = core.made().CoreMachine
        self = base.__new__(
            _cores.tied(cls, base), parse_size(memory) // core.page_size, thp=settings, rules=rules,
            va_bits=_cores.va_bits(core, va_bits), contpte=contpte, hw_afdbm=hw_afdbm,
            max_map_count=_integer("max_map_count", max_map_count, 0, (1 << 31) - 1))
        self.arch = core.arch
        self.page_size = core.page_size
        self.kernel = str(kernel)
        self.policy = {}
        self.inject = Injector(self)
        self.set_policy(policy)
        core.pressure.setup(self, 0 if swap is None else parse_size(swap) // core.page_size)
        self.swappiness = swappiness
        self.set_khugepaged(**(khugepaged or {}))
        self.limit = limit
        return self

    @property
    def core(self):
        """The build of the core that does the work, a `foliosim.cores.Core`."""
        return _cores.find(self.arch, self.page_size)

    def __repr__(self):
        return f"<Machine {self.arch} processes={len(self.processes())} steps={self.steps}>"

    def _repr_html_(self):
        from foliosim.show import inline
        return inline.scene_html(_scene(self))

    def __reduce__(self):
        from foliosim import saved
        return saved.from_bytes, (_cores.public(type(self)), saved.to_bytes(self))

    def __deepcopy__(self, memo):
        return self.branch()

    # ---- threads ----

    def hold(self):
        """Have the machine for oneself: several operations with none of another thread between them.

        Every operation of its own is safe: while one runs, other threads wait that operate the same machine, or look
        at it.  This makes several into one.

        Returns
        -------
        context manager
            In its block, this thread operates the machine as always; others wait for its end.  Blocks can be nested.

        Raises
        ------
        ReentryError
            A policy hook called it.

        Examples
        --------
        >>> import foliosim as fs
        >>> m = fs.Machine(memory="64M")
        >>> p = m.spawn()
        >>> with m.hold():
        ...     a = p.mmap(4096)
        ...     faults = p.write(a, 4096, value=1)
        """
        return self.core.machine.Hold(self)

    # ---- copies ----

    def branch(self, policy=None):
        """A second machine in the same state; each goes on as if the other were not there.

        The memory of frames and their records is shared until one of the two machines writes to it.  Files that are
        open here are open there until they are closed, references and pins are held there until they are released;
        `twin` finds them.  Python objects that decide policy points are copied (``copy.deepcopy``).

        Parameters
        ----------
        policy : str, dict or object, optional
            What the branch decides otherwise from now on, as in `set_policy`.

        Returns
        -------
        Machine

        Raises
        ------
        TypeError
            A Python object that decides a policy point cannot be copied, and ``policy`` names no other.
        ValueError
            An unknown preset, point or alternative.
        ReentryError
            A policy hook called it.

        Examples
        --------
        >>> import foliosim as fs
        >>> m = fs.Machine(memory="1G")
        >>> p = m.spawn()
        >>> a = p.mmap(1 << 20)
        >>> p.write(a, 4096, value=7)
        1
        >>> b = m.branch()
        >>> b.twin(p).write(a, 4096, value=8)
        1
        >>> p.read(a, 1), b.twin(p).read(a, 1)
        (b'\x07', b'\x08')
        """
        with self.hold():
            return _branch.branch(self, policy)

    def twin(self, other):
        """What stands here for a process, file, reference or ring of a machine that this one is a copy of, or that is a
        copy of it.

        Parameters
        ----------
        other : Process, File, PageReference or RegisteredBuffers

        Returns
        -------
        Process, File, PageReference or RegisteredBuffers

        Raises
        ------
        LookupError
            It is not here: it came later, or has gone.
        ValueError
            It has exited, or was closed, where it is; what lives on here is found by `process` and `files`.
        """
        with self.hold():
            return _branch.twin(self, other)

    def save(self, path):
        """Keep the machine in a file; `load` gives it back.

        The file is written at once or not at all: while it is being written an older one of that name stays whole.

        Parameters
        ----------
        path : path

        Raises
        ------
        ValueError
            A policy point is decided by a Python object that a file cannot name; a function of a module can be.
        OSError
            The file cannot be written.
        """
        from foliosim import saved
        saved.save(self, path)

    @classmethod
    def load(cls, path):
        """The machine that a file keeps.

        Parameters
        ----------
        path : path
            What `save` wrote.  Functions of modules that decide policy points are imported by name.

        Returns
        -------
        Machine

        Raises
        ------
        SavedError
            A `ValueError`: no such file, one that is damaged or cut short, or one of another version of foliosim; the
            message says which.
        OSError
            The file cannot be read.
        """
        from foliosim import saved
        return saved.load(cls, path)

    def set_policy(self, policy):
        """Choose what the policy points do from now on.

        Parameters
        ----------
        policy : str, dict or object
            A preset's name; or a dict of point name to alternative (a name or a callable), points left out stay as
            they are (``linux-6.18`` at first); or an object: each method named like a point takes that point.

        Raises
        ------
        ValueError
            An unknown preset, point or alternative; nothing is changed.
        """
        choices = _policy.choices(policy)
        if not self.policy:
            choices = {**_policy.preset("linux-6.18"), **choices}
        with self.hold():
            before = self.policy
            try:
                for point, answer in choices.items():
                    self.set_policy_point(point, _policy.slot(point, answer))
            except Exception:
                for point, answer in before.items():
                    self.set_policy_point(point, _policy.slot(point, answer))
                raise
            self.policy = {**before, **choices}

    def spawn(self):
        """Start a process with an empty address space.

        Returns
        -------
        Process

        Raises
        ------
        OutOfMemory
            The memory limit leaves no page for its root page table, which is charged like the others.
        """
        return Process(self)

    def create_file(self, kind, length, *, fill=None):
        """Make and open a file.

        Parameters
        ----------
        kind : {"memfd", "tmpfs", "disk"}
            As memfd_create makes it; unlinked on a tmpfs mount without huge=; unlinked on ext4, and synced.
        length : int
            Bytes.
        fill : int, optional
            The file is written one page at a time, page i with byte ``(fill + i) % 256``; if left out it is all hole.

        Returns
        -------
        File

        Raises
        ------
        ValueError
            An unknown kind.
        SyscallError
            EFBIG: more than the file system can hold (16 TiB on ext4); ENOMEM: the machine has no memory for it.
        """
        return File(self, str(check_kind(kind)), length, fill)

    def create_device(self, physical, length):
        """Open a device whose memory can be mapped, as vfio-pci lets a BAR of a PCI device be mapped.

        A shared mapping of it gets leaves of 1 GiB (x86-64 only), of a PMD's size, or pages, whatever fits; huge ones
        where sysfs has "always", or "madvise" and MADV_HUGEPAGE was given.  No folio is behind them (VM_PFNMAP), and
        the memory has no content: accesses are made with `Process.touch`.

        Parameters
        ----------
        physical, length : int
            Where its memory is, behind the machine's, and its size; bytes, multiples of the page size.

        Returns
        -------
        File
            To be mapped with MAP_SHARED (else: EINVAL), up to its end (else: EINVAL).

        Raises
        ------
        ValueError
            It would lie in the machine's memory, or behind what 32 bits of a frame number reach.
        UnsupportedError
            The machine tracks soft-dirty.

        Examples
        --------
        >>> import foliosim as fs
        >>> m = fs.Machine(memory="64M", thp="always")
        >>> bar = m.create_device(physical=1 << 40, length=4 << 30)
        >>> p = m.spawn()
        >>> a = p.mmap(4 << 30, file=bar, flags=fs.MAP_SHARED, addr=1 << 45)
        >>> p.touch(a, 4096)
        1
        >>> p.walk([a + 0x12345678])["level"], hex(p.translate(a + 0x12345678))
        (array([2], dtype=int8), '0x10012345678')
        """
        return File(self, DEVICE, length, first_pfn=check_device(self, physical, length))

    # ---- memory pressure ----

    @property
    def limit(self):
        """What all processes together may use, bytes, like memory.max of a cgroup; None: no limit.

        Charged are folios (anonymous, page cache, shmem) and page tables, from allocation until they are free.  To
        lower it below `usage` reclaims; what cannot be reclaimed stays, and the next to need memory fails.
        """
        pages = self.core.pressure.limit(self)
        return None if pages is None else pages * self.page_size

    @limit.setter
    def limit(self, value):
        pages = 0 if value is None else parse_size(value) // self.page_size
        if value is not None and pages < 16:
            raise ValueError(f"limit {value!r}: must be at least {16 * self.page_size} bytes, or None")
        self.core.pressure.set_limit(self, pages)

    @property
    def usage(self):
        """Bytes charged to the limit (memory.current)."""
        return self.core.pressure.usage(self) * self.page_size

    @property
    def swappiness(self):
        """``vm.swappiness``: 0 (never swap) to 200."""
        return self.core.pressure.swappiness(self)

    @swappiness.setter
    def swappiness(self, value):
        self.core.pressure.set_swappiness(self, _integer("swappiness", value, 0, 200))

    def swap_usage(self):
        """Pages of the swap device: (in use, in all).

        Returns
        -------
        tuple of int
        """
        return self.core.pressure.swap_usage(self)

    def peek_swap(self, slot, offset=0):
        """One byte of what a slot of the swap device holds; slots are the offsets that pagemap shows.

        Parameters
        ----------
        slot : int
        offset : int
            In the page, bytes.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            No page-table entry holds the slot.
        """
        return self.core.pressure.peek_swap(self, slot, offset)

    def reclaim(self, nr_pages):
        """Reclaim the oldest memory, as writing to memory.reclaim does: swap it out, drop page cache.

        LRU lists are aged, and the shrinkers run, as under pressure.

        Parameters
        ----------
        nr_pages : int
            Pages wanted.

        Returns
        -------
        int
            Pages that came free: more, since folios go whole; or fewer, where nothing more can be had.
        """
        return self.core.pressure.reclaim(self, _integer("nr_pages", nr_pages, 0, _MOST))

    def shrink_deferred(self, folios=None):
        """Let the deferred-split shrinker look at its queue: folios partly unmapped, or underused (P23), are split.

        Parameters
        ----------
        folios : int, optional
            How many to look at, oldest first; all if left out.

        Returns
        -------
        int
            Folios that were split.
        """
        folios = _MOST if folios is None else _integer("folios", folios, 0, _MOST)
        return self.core.pressure.shrink_deferred(self, folios)

    def khugepaged_scan(self, process=None, *, pages=None):
        """Let khugepaged look for blocks to collapse (P18, P19).  With `set_khugepaged` it does so by itself.

        Parameters
        ----------
        process : Process, optional
            Whose address space is looked at, from its start.  If left out, all processes in turn, from where the last
            such look stopped.
        pages : int, optional
            About how much is looked at; if left out, all of the process, or ``pages_to_scan``.

        Returns
        -------
        int
            Blocks that were collapsed.
        """
        if process is not None and not isinstance(process, Process):
            raise TypeError(f"process {process!r}: must be a Process, or None for all")
        if process is not None and process.machine is not self:
            raise ValueError(f"process {process!r}: it belongs to another machine")
        pages = 0 if pages is None else _integer("pages", pages, 1, _MOST)
        return self.core.pressure.khugepaged_scan(self, process, pages)

    def khugepaged(self):
        """Settings and counters of khugepaged, by their names in sysfs, and when it wakes up here.

        Returns
        -------
        dict
        """
        return self.core.pressure.khugepaged(self)

    def set_khugepaged(self, **settings):
        """Change settings of khugepaged.

        Parameters
        ----------
        max_ptes_none, max_ptes_swap, max_ptes_shared : int
            How many entries of a block may be empty (by default all but one), swapped out (an eighth), of shared
            folios (half).
        pages_to_scan : int
            Pages it looks at each time it wakes up (4096).
        scan_sleep_steps : int
            It wakes up by itself each time so many steps of the machine are over (`steps`), as it does in the kernel
            after scan_sleep_millisecs; the machine has no clock.  0: only `khugepaged_scan` wakes it.
        wake_at_limit : bool
            It also wakes up when a step is over that hit the limit.  The kernel's does not (False).

        Raises
        ------
        TypeError, ValueError
            An unknown setting, or a value out of range; nothing is changed.
        """
        entries = (1 << self.core.pmd_order) - 1
        ranges = {"pages_to_scan": (1, 1 << 31), "scan_sleep_steps": (0, 1 << 31), "wake_at_limit": (0, 1)}
        for name, value in settings.items():
            if name not in _KHUGEPAGED:
                raise ValueError(f"khugepaged setting {name!r}: valid are {', '.join(_KHUGEPAGED)}")
            value = int(value) if name == "wake_at_limit" and isinstance(value, bool) else value
            _integer(f"khugepaged {name}", value, *ranges.get(name, (0, entries)))
        self.core.pressure.set_khugepaged(self, settings)

    # ---- views ----

    def processes(self):
        """All live processes, in order of creation.

        Returns
        -------
        list of Process
        """
        return self.live_processes(Process)

    def process(self, pid):
        """The live process with a number.

        Parameters
        ----------
        pid : int

        Returns
        -------
        Process

        Raises
        ------
        LookupError
            There is none.
        """
        for process in self.processes():
            if process.pid == pid:
                return process
        raise LookupError(f"no process {pid}: live are {[process.pid for process in self.processes()]}")

    def files(self):
        """All open files, by inode.

        Returns
        -------
        list of File
        """
        return _branch.files(self)

    def folio(self, pfn):
        """The folio that holds a frame, as it is now.

        Parameters
        ----------
        pfn : int
            Frame number.

        Returns
        -------
        Folio or None
            None if the frame is free, a page table or a zero page.

        Raises
        ------
        ValueError
            The machine has no such frame in use.
        """
        fields = self.folio_fields(pfn)
        return None if fields is None else Folio(**fields)

    def ledger(self):
        """Every metric of the machine as it is now: what was counted, what the kernel reports, and what is true.

        Returns
        -------
        Ledger
            A mapping of flat names (``"splits.ok.madvise"``) to numbers; zeros are in it.

        Examples
        --------
        >>> import foliosim as fs
        >>> m = fs.Machine(memory="64M", thp="always")
        >>> p = m.spawn()
        >>> a = p.mmap(2 << 20)
        >>> before = m.ledger()
        >>> p.touch(a, 2 << 20, write=True)
        512
        >>> (m.ledger() - before)["faults.minor"]
        1
        """
        with self.hold():
            return Ledger.read(self)

    def waken(self):
        """Begin and end what was injected for this step."""
        step = self.inject.run(self.steps)
        return _NEVER if step is None else step

    def validate(self):
        """Recompute every count from the page tables.

        Raises
        ------
        ValidationError
            Some count is wrong; ``.differences`` lists (object, field, counted, recomputed).
        """
        differences = self.differences()
        if differences:
            raise ValidationError(differences)

    def differences(self):
        """Every count that is not what the page tables say.

        Returns
        -------
        list of tuple
            (object, field, counted, recomputed).
        """
        return self.core.audit.differences(self)

    def observe(self, procs, start, end, *, files=None, entries=False):
        """What a recording keeps of processes: VMAs, smaps, pages, counters of a range.

        Parameters
        ----------
        procs : dict
            Name to `Process`.
        start, end : int
            Addresses, bytes.
        files : dict, optional
            Name to `File`: how the file of a VMA is called.
        entries : bool
            Page-table entries too.

        Returns
        -------
        dict
            In the shapes of a recorded scenario.  ValueError: a process or file of another machine, or that has gone.
        """
        return self.core.audit.observe(self, procs, start, end, files, entries)

    def write_proc(self, folder):
        """Write what /proc and /sys show of this machine, for tools that can be told where /proc is.

        Parameters
        ----------
        folder : path
            A folder that is empty or does not exist; it takes the place of /proc: ``PID/maps``, ``kpageflags``, ...;
            ``sys/`` in it is /sys.  ``pagemap``, ``kpageflags`` and ``kpagecount`` are as long as in the kernel, with
            8 bytes per page of address space or memory; the parts that are all zero take no room on disk.

        Raises
        ------
        FileExistsError
            The folder holds something, or is a file; nothing was written.

        Examples
        --------
        >>> import foliosim as fs, tempfile
        >>> m = fs.Machine(memory="64M")
        >>> p = m.spawn()
        >>> folder = tempfile.mkdtemp()
        >>> m.write_proc(folder)
        >>> open(f"{folder}/{p.pid}/maps").read().split()[-1]
        '[vsyscall]'
        """
        from foliosim.procfs import write_proc

        with self.hold():
            write_proc(self, folder)

    def dump_physical(self, path=None, *, processes=None, format="lime"):
        """Read the frames that hold page tables, and what a processor's registers hold, for others to walk them.

        Parameters
        ----------
        path : path, optional
            Also write a file, at once or not at all.
        processes : iterable of Process, optional
            Whose tables; if left out those of all live processes.
        format : {"lime", "raw"}
            Of the file.  lime: a header of 32 bytes and the contents of each run of frames, as the LiME module writes
            them; volatility3 reads it.  raw: byte n of the file is that at physical address n, what is no table is a
            hole.

        Returns
        -------
        PhysicalDump
            ``frames``, ``tables``, ``registers``, and ``runs()``: pairs of physical address and bytes.

        Raises
        ------
        ValueError
            An unknown format, no process, or one that has exited or is of another machine; nothing was written.
        OSError
            The file cannot be written.

        Notes
        -----
        Contents of other pages are not in it.  Entries are as the machine has them: what the processor leaves for the
        kernel to do (swap entries, PROT_NONE, guard markers) can be seen in them.

        Examples
        --------
        >>> import foliosim as fs
        >>> m = fs.Machine(memory="64M")
        >>> p = m.spawn()
        >>> p.touch(p.mmap(4096), 4096)
        1
        >>> dump = m.dump_physical()
        >>> dump
        <PhysicalDump x86_64 frames=4 processes=[1]>
        >>> hex(dump.registers[p.pid]["cr3"] // 4096) == hex(p.pgd)
        True
        """
        from foliosim.dump import check_format, dump_physical
        check_format(format)
        with self.hold():
            dump = dump_physical(self, processes)
        if path is not None:
            dump.save(path, format=format)
        return dump


def _mode(what, value, valid):
    if not isinstance(value, str) or value not in valid:
        raise ValueError(f"{what} {value!r}: valid are {', '.join(valid)}")
    return value


def _orders(core, what, sizes, first_order, valid):
    """Mode of each order; the boot default for sizes left out."""
    modes = {order: "never" for order in range(first_order, core.pmd_order + 1)}
    modes[core.pmd_order] = "inherit"
    if not isinstance(sizes, (dict, type(None))):
        raise TypeError(f"{what} {sizes!r}: must be a dict of size to mode")
    for size, mode in (sizes or {}).items():
        order = (parse_size(size) // core.page_size).bit_length() - 1
        if order not in modes or parse_size(size) != core.page_size << order:
            known = ", ".join(f"{core.page_size >> 10 << order}kB" for order in modes)
            raise ValueError(f"{what} size {size!r}: valid are {known}")
        modes[order] = _mode(f"{what}[{size}]", mode, valid)
    return modes


def _mask(modes, wanted):
    return sum(1 << order for order, mode in modes.items() if mode == wanted)


def _thp_settings(core, thp, mthp, shmem_enabled, mthp_shmem):
    anon = _orders(core, "mthp", mthp, 2, _MTHP_MODES)
    shmem = _orders(core, "mthp_shmem", mthp_shmem, 1, _MTHP_SHMEM_MODES)
    return {
        "enabled": _THP_MODES[_mode("thp", thp, _THP_MODES)],
        "always": _mask(anon, "always"), "madvise": _mask(anon, "madvise"), "inherit": _mask(anon, "inherit"),
        "shmem_enabled": _SHMEM_MODES[_mode("shmem_enabled", shmem_enabled, _SHMEM_MODES)],
        "shmem_always": _mask(shmem, "always"), "shmem_inherit": _mask(shmem, "inherit"),
        "shmem_within_size": _mask(shmem, "within_size"), "shmem_advise": _mask(shmem, "advise"),
    }
