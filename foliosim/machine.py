"""The emulated machine."""
from foliosim import kernels as _kernels
from foliosim import policy as _policy
from foliosim._core.machine import CoreMachine
from foliosim.errors import ValidationError
from foliosim.file import File, check_kind
from foliosim.process import Process
from foliosim.sizes import parse_size
from foliosim.views import Folio

_PAGE = 4096
_THP_MODES = {"never": 0, "madvise": 1, "always": 2}
_MTHP_MODES = ("never", "madvise", "inherit", "always")
_SHMEM_MODES = {"never": 0, "always": 1, "within_size": 2, "advise": 3, "deny": -1, "force": -2}
_MTHP_SHMEM_MODES = ("never", "always", "within_size", "inherit", "advise")
_ARCHES = ("x86_64",)


class Machine(CoreMachine):
    """One machine: physical memory, folios, LRU lists, processes and counters, all in this Python process.

    Parameters
    ----------
    arch : str
        ``"x86_64"``: 4-level tables, 4 KiB pages, 2 MiB PMD leaves.
    memory : int or str
        Emulated physical memory in bytes, or as ``"64G"``; rounded down to 2 MiB.  It costs host memory only where it
        is used.
    policy : str, dict or object
        A preset's name, a dict of policy point to alternative (points left out: Linux 6.18's), or an object whose
        methods are named like points.  See `set_policy`.
    thp : str
        ``transparent_hugepage/enabled``: ``"never"``, ``"madvise"`` or ``"always"``.
    mthp : dict, optional
        ``hugepages-<size>/enabled``, e.g. ``{"64kB": "madvise"}``; sizes left out keep the boot default (2048kB:
        inherit, others: never).
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
    max_map_count : int
        VMAs a process may have (``vm.max_map_count``).

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
    """

    def __new__(cls, *, arch="x86_64", memory="64G", policy="linux-6.18", thp="madvise", mthp=None,
                shmem_enabled="never", mthp_shmem=None, kernel=_kernels.DEFAULT, soft_dirty=None, pt_reclaim=None,
                max_map_count=65530):
        if arch not in _ARCHES:
            raise ValueError(f"arch {arch!r}: valid are {', '.join(_ARCHES)}")
        settings = _thp_settings(thp, mthp, shmem_enabled, mthp_shmem)
        rules = _kernels.rules(kernel, arch, {"soft_dirty": soft_dirty, "pt_reclaim": pt_reclaim})
        self = super().__new__(cls, parse_size(memory) // _PAGE, thp=settings, rules=rules,
                               max_map_count=max_map_count)
        self.arch = arch
        self.kernel = kernel
        self.policy = {}
        self.set_policy(policy)
        return self

    def __reduce__(self):
        raise TypeError("a Machine cannot be pickled or copied")

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
        for point, answer in choices.items():
            self.set_policy_point(point, _policy.slot(point, answer))
            self.policy[point] = answer

    def spawn(self):
        """Start a process with an empty address space.

        Returns
        -------
        Process
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
        MemoryError
            The machine has no memory for it.
        """
        return File(self, check_kind(kind), length, fill)

    def processes(self):
        """All live processes, in order of creation.

        Returns
        -------
        list of Process
        """
        return self.live_processes(Process)

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

        write_proc(self, folder)


def _mode(what, value, valid):
    if value not in valid:
        raise ValueError(f"{what} {value!r}: valid are {', '.join(valid)}")
    return value


def _orders(what, sizes, first_order, valid):
    """Mode of each order; the boot default for sizes left out."""
    modes = {order: "never" for order in range(first_order, 10)}
    modes[9] = "inherit"
    if not isinstance(sizes, (dict, type(None))):
        raise TypeError(f"{what} {sizes!r}: must be a dict of size to mode")
    for size, mode in (sizes or {}).items():
        order = (parse_size(size) // _PAGE).bit_length() - 1
        if order not in modes or parse_size(size) != _PAGE << order:
            known = ", ".join(f"{4 << order}kB" for order in modes)
            raise ValueError(f"{what} size {size!r}: valid are {known}")
        modes[order] = _mode(f"{what}[{size}]", mode, valid)
    return modes


def _mask(modes, wanted):
    return sum(1 << order for order, mode in modes.items() if mode == wanted)


def _thp_settings(thp, mthp, shmem_enabled, mthp_shmem):
    anon = _orders("mthp", mthp, 2, _MTHP_MODES)
    shmem = _orders("mthp_shmem", mthp_shmem, 1, _MTHP_SHMEM_MODES)
    return {
        "enabled": _THP_MODES[_mode("thp", thp, _THP_MODES)],
        "always": _mask(anon, "always"), "madvise": _mask(anon, "madvise"), "inherit": _mask(anon, "inherit"),
        "shmem_enabled": _SHMEM_MODES[_mode("shmem_enabled", shmem_enabled, _SHMEM_MODES)],
        "shmem_always": _mask(shmem, "always"), "shmem_inherit": _mask(shmem, "inherit"),
        "shmem_within_size": _mask(shmem, "within_size"), "shmem_advise": _mask(shmem, "advise"),
    }
