"""A process: the system calls that change its address space, accesses to it, and what /proc shows of it."""
import numpy as np

from foliosim._core.machine import SMAPS_NAMES
from foliosim.cores import Tied
from foliosim.flags import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from foliosim.gup import PageReference
from foliosim.io_uring import RegisteredBuffers
from foliosim.sizes import integer as _integer
from foliosim.tables import Table
from foliosim.views import Area

_FOLL_WRITE, _FOLL_GET, _FOLL_LONGTERM, _FOLL_PIN = 0x01, 0x02, 0x100, 0x80000
_TOUCH_READ, _TOUCH_WRITE, _READ, _WRITE = range(4)
_WALK_WRITE, _WALK_USER, _WALK_FETCH = 0x02, 0x04, 0x10
_WALK_KINDS = {"read": 0, "write": _WALK_WRITE, "fetch": _WALK_FETCH}
_WALK_MODES = {"user": _WALK_USER, "supervisor": 0}
_WALK_SET_AD = 0x2000
_VMSPLICE_PAGES = 16  # vmsplice takes references 16 pages at a time

MAPS_DTYPE = np.dtype([("start", "u8"), ("end", "u8"), ("perms", "U4"), ("offset", "u8"), ("inode", "u8")])
SMAPS_DTYPE = np.dtype(MAPS_DTYPE.descr + [(name, "u8") for name in SMAPS_NAMES] + [("VmFlags", "U96")])


class Process(Tied):
    """One process of a machine; made by `Machine.spawn` and `fork`.

    Addresses and lengths are bytes.  A system call that fails raises `SyscallError` with the kernel's errno, an access
    that is refused `SegvError` or `BusError`; use of a process that has exited is a `ValueError`.
    """

    _core_class = ("machine", "CoreProcess")

    def __reduce__(self):
        return _of_machine, (self.machine, self.pid)

    def __repr__(self):
        return f"<Process pid={self.pid}>" if self.alive else "<Process exited>"

    # ---- address space ----

    def mmap(self, length, *, prot=PROT_READ | PROT_WRITE, flags=MAP_PRIVATE | MAP_ANONYMOUS, addr=0, file=None,
             offset=0):
        """Map anonymous memory or a file, as mmap(2).

        Parameters
        ----------
        length : int
            Bytes; rounded up to pages.
        prot, flags : int
            ``PROT_*`` and ``MAP_*``; with MAP_ANONYMOUS among the flags the file is ignored.
        addr : int
            Hint, or the address with MAP_FIXED.
        file : File, optional
            What to map, from byte ``offset`` on.

        Returns
        -------
        int
            Address of the mapping.

        Raises
        ------
        SyscallError
            EBADF (neither MAP_ANONYMOUS nor a file), EINVAL, ENOMEM, EEXIST, ... in the order in which ``do_mmap``
            checks.
        """
        return self.sys_mmap(addr, length, prot, flags, file, offset)

    def munmap(self, addr, length):
        """Unmap a range, as munmap(2).  EINVAL: not aligned or empty; ENOMEM: too many mappings."""
        self.sys_munmap(addr, length)

    def mprotect(self, addr, length, prot):
        """Change protection, as mprotect(2).  ENOMEM: a hole; EACCES: a right the mapping cannot have."""
        self.sys_mprotect(addr, length, prot)

    def pkey_mprotect(self, addr, length, prot, pkey):
        """Change protection and protection key, as pkey_mprotect(2); -1: areas keep their keys.

        All 16 keys count as allocated.  Areas with different keys do not merge; a key forbids no access.
        """
        self.sys_mprotect(addr, length, prot, pkey)

    def mremap(self, old_addr, old_length, new_length, *, flags=0, new_addr=0):
        """Grow, shrink or move a mapping, as mremap(2).

        Parameters
        ----------
        old_addr : int
            Where the range starts.
        old_length, new_length : int
            Bytes; rounded up to pages.  An ``old_length`` of 0 makes a second mapping of shared memory.
        flags : int
            ``MREMAP_*``.  Without MREMAP_MAYMOVE the range can only grow where it is.  MREMAP_FIXED with equal
            lengths moves all areas of the range and keeps the holes between them.
        new_addr : int
            Address with MREMAP_FIXED, whose range is unmapped first; hint with MREMAP_DONTUNMAP.

        Returns
        -------
        int
            Address of the mapping.

        Raises
        ------
        SyscallError
            EINVAL: arguments that do not fit each other; EFAULT: nothing mapped there, or the range leaves its area;
            EPERM: sealed; ENOMEM: no room to grow, or too many mappings.
        """
        return self.sys_mremap(old_addr, old_length, new_length, flags, new_addr)

    def mseal(self, addr, length):
        """Seal a range against change of its mappings, as mseal(2).

        Parameters
        ----------
        addr, length : int
            Bytes; the length is rounded up to pages.

        Raises
        ------
        SyscallError
            EINVAL: not aligned; ENOMEM: a hole (then nothing is sealed), or too many mappings.
        """
        self.sys_mseal(addr, length)

    def madvise(self, addr, length, advice):
        """Advise, as madvise(2); ``advice`` is one of ``MADV_*``.  `UnsupportedError`: advice that is not emulated."""
        self.sys_madvise(addr, length, advice)

    def mlock(self, addr, length):
        """Lock and populate a range, as mlock(2) of a process that has no limit."""
        self.sys_mlock(addr, length)

    def mlock2(self, addr, length, flags):
        """Lock a range, as mlock2(2); MLOCK_ONFAULT populates nothing."""
        self.sys_mlock2(addr, length, flags)

    def munlock(self, addr, length):
        """Unlock a range, as munlock(2)."""
        self.sys_munlock(addr, length)

    def mlockall(self, flags):
        """Lock all areas, as mlockall(2).

        Parameters
        ----------
        flags : int
            ``MCL_CURRENT``: those that are there; ``MCL_FUTURE``: those to come; with ``MCL_ONFAULT`` nothing is
            populated.

        Raises
        ------
        SyscallError
            EINVAL: no flag, an unknown one, or MCL_ONFAULT alone.
        """
        self.sys_mlockall(flags)

    def munlockall(self):
        """Unlock all areas, as munlockall(2)."""
        self.sys_munlockall()

    def brk(self, addr):
        """Move the end of the heap, as brk(2).

        Parameters
        ----------
        addr : int
            The new end; 0 only asks.

        Returns
        -------
        int
            The end: ``addr``, or the old one if that cannot be.  A process that has started no program has a heap at
            address 0, with which nothing can be done.
        """
        return self.sys_brk(addr)

    def name_area(self, addr, length, name):
        """Name anonymous memory, as prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME).

        Parameters
        ----------
        addr, length : int
            Bytes.
        name : int
            A number that stands for the name; 0: none.  Areas with different names do not merge.

        Raises
        ------
        SyscallError
            EBADF: a file's area; ENOMEM: a hole, or too many areas; EINVAL: not aligned.
        """
        self.sys_set_vma_name(addr, length, name)

    def mincore(self, addr, length):
        """Which pages are resident, as mincore(2).

        Returns
        -------
        bytes
            One byte per page, bit 0: resident.
        """
        return self.sys_mincore(addr, length)

    def msync(self, addr, length, flags):
        """Write a mapped file back, as msync(2).

        Parameters
        ----------
        addr, length : int
            Bytes.
        flags : int
            ``MS_*``.  With MS_SYNC dirty pages of files on disk become clean, and read-only until the next store.

        Raises
        ------
        SyscallError
            ENOMEM: a hole; EBUSY: MS_INVALIDATE of a locked mapping; EINVAL.
        """
        self.sys_msync(addr, length, flags)

    def fork(self):
        """Fork, as fork(2).

        Returns
        -------
        Process
            The child; an error leaves none.
        """
        with self.machine.hold():
            if not self.alive:
                raise ValueError("the process has exited")
            child = type(self)(self.machine)
            try:
                self.fork_into(child)
            except BaseException:  # a hook's error comes when the child is complete
                if child.alive:
                    child.exit()
                raise
            return child

    def exit(self):
        """End the process: references and pins are dropped, the memory is unmapped."""
        self.end()

    def clear_refs(self, value):
        """Write to /proc/PID/clear_refs.  1, 2, 3: clear accessed bits; 4: soft-dirty; 5: peak RSS."""
        self.sys_clear_refs(value)

    def prctl_thp_disable(self, value, flags=0):
        """prctl(PR_SET_THP_DISABLE, value, flags); flags 2: PR_THP_DISABLE_EXCEPT_ADVISED."""
        self.sys_thp_disable(value, flags)

    def prctl_memory_merge(self, value):
        """prctl(PR_SET_MEMORY_MERGE, value): KSM may merge pages of all areas, or of none; it never runs."""
        self.sys_memory_merge(value)

    # ---- accesses ----

    def write(self, addr, length, *, value, delta=0, stride=None, offset=0):
        """Store one byte at addr + offset, + stride, ... below addr + length.

        Parameters
        ----------
        addr, length : int
            Bytes.
        value : int
            First byte stored; byte i is ``(value + i * delta) % 256``.
        delta, stride, offset : int
            See above; the stride is a page if left out.

        Returns
        -------
        int
            Stores made.

        Raises
        ------
        SegvError, BusError
            Stores before the faulting one took effect.
        """
        return self.access(addr, length, _WRITE, stride, value, delta, offset)

    def read(self, addr, length, *, stride=None, offset=0):
        """Load one byte at addr + offset, + stride (a page if left out), ... below addr + length.

        Returns
        -------
        bytes
        """
        return self.access(addr, length, _READ, stride, offset=offset)

    def touch(self, addr, length, *, write=False):
        """Access every page of a range without caring for its data.

        Returns
        -------
        int
            Accesses made.
        """
        return self.access(addr, length, _TOUCH_WRITE if write else _TOUCH_READ, None)

    # ---- references ----

    def get_user_pages(self, addr, length):
        """Short-term references (FOLL_GET), as vmsplice(2) takes them.

        Returns
        -------
        PageReference
            Its ``nbytes`` is short if a page could not be had.

        Raises
        ------
        SyscallError
            EFAULT: not even the first page could be had.
        """
        return self.references_to(addr, length, _FOLL_GET, PageReference, _VMSPLICE_PAGES)

    def pin_user_pages(self, addr, length, *, longterm=False, write=False):
        """Pins (FOLL_PIN) for access to the data, as O_DIRECT or, longterm, io_uring's fixed buffers take them.

        Returns
        -------
        PageReference

        Raises
        ------
        SyscallError
            EFAULT: some page could not be had (nothing stays pinned).
        """
        flags = _FOLL_PIN | (_FOLL_LONGTERM if longterm else 0) | (_FOLL_WRITE if write else 0)
        return self.references_to(addr, length, flags, PageReference, 1 << 40)

    def register_buffers(self, buffers, *, memlock=None):
        """Register buffers with a new io_uring, as IORING_REGISTER_BUFFERS: all are pinned for long, or none.

        Parameters
        ----------
        buffers : iterable
            An (address, length) in bytes for each, or None for a slot to be filled later.
        memlock : int, optional
            RLIMIT_MEMLOCK in bytes; the rings of all processes that have a limit count together, as one user's.
            None: the user may lock as much as there is (CAP_IPC_LOCK).

        Returns
        -------
        RegisteredBuffers

        Raises
        ------
        SyscallError
            ENOMEM: beyond the limit; EFAULT: some page could not be had, or a length of 0 or above 1 GiB; EINVAL: no
            buffer, or more than 16,384.

        Notes
        -----
        Follows io_sqe_buffers_register.  The memory of the ring itself, which counts too since 6.14, is left out.
        """
        if not hasattr(buffers, "__iter__"):
            raise TypeError(f"buffers {buffers!r}: must be pairs of (address, length)")
        memlock = None if memlock is None else _integer("memlock", memlock)
        ring = RegisteredBuffers(self.machine, self, memlock=memlock)
        ring.io_sqe_buffers_register(list(buffers))
        return ring

    # ---- views ----

    def walk(self, addrs, *, access="read", mode="user", set_accessed=False, pa_bits=None, **processor):
        """Walk the page tables as the MMU does.

        Parameters
        ----------
        addrs : array_like of int, shape (n,)
            Virtual addresses.
        access : {"read", "write", "fetch"}
        mode : {"user", "supervisor"}
            Who accesses: CPL 3 or EL0; a CPL below 3, or EL1.
        set_accessed : bool
            Set accessed and dirty bits as the hardware would.
        pa_bits : int, optional
            Bits of a physical address (MAXPHYADDR), 32 to 52; address bits above them are reserved.  If left out 46
            on x86-64, 48 on arm64.
        **processor : bool
            What differs from the processor as Linux sets it up; see below.

        Returns
        -------
        Table, shape (n,)
            One record per address: ``pa`` (physical address, 0 on a fault), ``error`` (0; bit 31 and the page-fault
            error code; or bit 30: not canonical; on arm64 bit 31 and the fault status code), ``level`` of the leaf or
            of the entry that stopped the walk (0 PTE, 1 PMD, 2 PUD, 3 P4D, 4 PGD of five levels; -1: not canonical;
            on arm64 3 minus the architecture's number), ``rights`` (bits 1 R, 2 W, 4 U, 8 X).

        Other Parameters
        ----------------
        nxe, wp, smep, smap, ac : bool
            x86-64: EFER.NXE (on; if off, bit 63 is reserved), CR0.WP (on; if off, the supervisor writes to read-only
            pages), CR4.SMEP and CR4.SMAP (on: the supervisor may not fetch from, or read and write, user pages),
            EFLAGS.AC (off; if on, SMAP does not hold).
        ha, hd, pan, wxn : bool
            arm64: TCR_EL1.HA and HD (as the machine's ``hw_afdbm``: the hardware sets the access flag and the dirty
            state), PSTATE.PAN (on: EL1 may not read and write what EL0 may), SCTLR_EL1.WXN (off; if on, what is
            writable is not executable).

        Raises
        ------
        ValueError
            An unknown access or mode, a processor's state that the architecture does not have, or a bad ``pa_bits``.

        Notes
        -----
        Bits of x86-64's error code: 0x1 an entry forbade the access (if clear, one was not present), 0x2 write, 0x4
        user mode, 0x8 a reserved bit was set, 0x10 fetch (only with NXE or SMEP).  Follows the Intel SDM, volume 3,
        chapter 4 (5 in newer editions), and the Arm ARM, D8.

        Examples
        --------
        >>> import foliosim as fs
        >>> p = fs.Machine(memory="64M").spawn()
        >>> a = p.mmap(4096, prot=fs.PROT_READ)
        >>> p.touch(a, 4096)
        1
        >>> [hex(p.walk([a], access="write", mode="supervisor", smap=False, wp=wp)["error"][0]) for wp in (True, False)]
        ['0x80000003', '0x0']
        """
        flags = self.machine.core.machine.WALK_FLAGS
        if not isinstance(access, str) or access not in _WALK_KINDS:
            raise ValueError(f"access {access!r}: valid are {', '.join(_WALK_KINDS)}")
        if not isinstance(mode, str) or mode not in _WALK_MODES:
            raise ValueError(f"mode {mode!r}: valid are {', '.join(_WALK_MODES)}")
        pa_bits = 0 if pa_bits is None else _integer("pa_bits", pa_bits, 32, 52)
        for name, value in processor.items():
            if name not in flags:
                raise ValueError(f"{name}={value!r}: valid for {self.machine.arch} are {', '.join(flags)}")
        on = sum(flags[name] for name, value in processor.items() if value)
        off = sum(flags[name] for name in processor)
        on |= _WALK_SET_AD if set_accessed else 0
        return self.walk_array(addrs, _WALK_KINDS[access] | _WALK_MODES[mode], on, off, pa_bits).view(Table)

    def pagemap(self, addr, length):
        """Words of /proc/PID/pagemap.

        Returns
        -------
        numpy.ndarray of uint64
            One per page of the range.
        """
        return self.pagemap_words(addr, length)

    def maps(self):
        """The areas, as /proc/PID/maps lists them.

        Returns
        -------
        Table
            ``start``, ``end`` (bytes), ``perms``, ``offset`` (bytes), ``inode`` (0: private anonymous memory).
        """
        return np.array([_area(area) for area in self.machine.core.procfs.areas(self)], dtype=MAPS_DTYPE).view(Table)

    def areas(self):
        """The areas, as objects that show themselves.

        Returns
        -------
        list of Area
        """
        return [Area(self, row) for row in self.smaps()]

    def smaps(self):
        """The areas with their accounting, as /proc/PID/smaps.

        Returns
        -------
        Table
            The fields of `maps`, those of smaps under their names (kB; ``THPeligible`` 0 or 1), and ``VmFlags``.
        """
        rows = [_area(area) + tuple(area[7]) + (area[3].strip(),) for area in self.machine.core.procfs.areas(self)]
        return np.array(rows, dtype=SMAPS_DTYPE).view(Table)


def _of_machine(machine, pid):
    """For copies of objects that hold processes: that of the machine's copy."""
    return machine.process(pid)


def _area(area):
    start, end, vm_flags, _, offset, inode, *_ = area
    letters = "".join(letter if vm_flags & (1 << bit) else "-" for bit, letter in enumerate("rwx"))
    return start, end, letters + ("s" if vm_flags & 0x80 else "p"), offset, inode
