"""Exceptions of foliosim.

A simulated system call that fails raises `SyscallError`, an access that the simulated MMU refuses raises `SegvError`
or `BusError`.  Neither means that the host is in trouble: `MemoryError` is the host's own, and misuse from Python is
`TypeError`, `ValueError`, or `OverflowError` for a number that no register of the simulated machine holds.
"""
import errno
import os

__all__ = [
    "BusError",
    "MemoryFault",
    "OutOfMemory",
    "ReentryError",
    "RestoreError",
    "SavedError",
    "SegvError",
    "SyscallError",
    "UnsupportedError",
    "ValidationError",
    "out_of_memory",
    "syscall_error",
]


class SyscallError(OSError):
    """A simulated system call failed.

    Attributes
    ----------
    errno : int
        The kernel's error number.
    strerror : str
        Its text.
    syscall : str or None
        Name of the system call.
    syscall_args : tuple
        The arguments it was called with.

    Notes
    -----
    Where Python maps the errno to a builtin (EPERM to `PermissionError`, EAGAIN to `BlockingIOError`, ...) the
    exception is also an instance of that builtin.  `syscall_error` builds the right class.
    """

    syscall = None
    syscall_args = ()

    def __str__(self):
        if self.syscall is None:
            return super().__str__()
        args = ", ".join(hex(a) if isinstance(a, int) and a > 4096 else repr(a) for a in self.syscall_args)
        return f"{self.syscall}({args}): {_errno_name(self.errno)} ({self.strerror})"


# Errno to the builtin that Python raises for it; every other errno gives a plain SyscallError.
_BUILTIN = {
    errno.EPERM: PermissionError,
    errno.EACCES: PermissionError,
    errno.ENOENT: FileNotFoundError,
    errno.EEXIST: FileExistsError,
    errno.ESRCH: ProcessLookupError,
    errno.ECHILD: ChildProcessError,
    errno.EINTR: InterruptedError,
    errno.EAGAIN: BlockingIOError,
    errno.EISDIR: IsADirectoryError,
    errno.ENOTDIR: NotADirectoryError,
    errno.ETIMEDOUT: TimeoutError,
}


def _class_for(builtin):
    namespace = {"__doc__": f"A `SyscallError` that is a `{builtin.__name__}` too.", "__module__": __name__}
    return type(f"Syscall{builtin.__name__}", (SyscallError, builtin), namespace)


_CLASSES = {builtin: _class_for(builtin) for builtin in set(_BUILTIN.values())}
globals().update({cls.__name__: cls for cls in _CLASSES.values()})  # so that they pickle


def _errno_name(number):
    return errno.errorcode.get(number, str(number))


def syscall_error(number, syscall=None, args=()):
    """Build the exception of a failed simulated system call.

    Parameters
    ----------
    number : int
        Errno; a negative one, as core functions return it, is taken as its absolute value.
    syscall : str, optional
        Name of the system call.
    args : tuple, optional
        Its arguments, for the message.

    Returns
    -------
    SyscallError
        Also an instance of the builtin that the errno maps to.  It is returned, not raised.
    """
    number = abs(number)
    cls = _CLASSES.get(_BUILTIN.get(number), SyscallError)
    error = cls(number, os.strerror(number))
    error.syscall = syscall
    error.syscall_args = tuple(args)
    return error


class OutOfMemory(SyscallError):
    """The memory limit is reached and nothing more can be reclaimed; Linux would have its OOM killer choose a process.

    What was done before stays done, as in the kernel: the machine is valid and can be used further.  Whoever wants an
    OOM killer ends a process and tries again.

    Attributes
    ----------
    report : dict
        Pages by kind: ``limit`` (None: the machine's memory itself), ``usage``, ``free``; ``anon``, ``shmem``,
        ``file``, ``page_tables``; of these ``mlocked``, ``unevictable``, ``pinned`` (whole folios), ``swapcached``;
        ``swap_total``, ``swap_free``.
    """

    report = {}

    def __str__(self):
        pages = self.report
        limit = "no limit" if pages["limit"] is None else f"limit {pages['limit']}"
        kinds = ", ".join(f"{name} {number}" for name, number in pages.items() if name not in ("limit", "usage"))
        return f"{super().__str__()}: out of memory, {limit}, usage {pages['usage']} pages ({kinds})"


def out_of_memory(syscall, args, report):
    """Build an `OutOfMemory` error.

    Parameters
    ----------
    syscall : str
        What was tried, and with which arguments.
    args : tuple
    report : dict

    Returns
    -------
    OutOfMemory
    """
    error = OutOfMemory(errno.ENOMEM, os.strerror(errno.ENOMEM))
    error.syscall, error.syscall_args, error.report = syscall, args, report
    return error


class MemoryFault(Exception):
    """An access raised a signal in the simulated process.

    Parameters
    ----------
    addr : int
        The faulting address in bytes.
    si_code : str
        ``"MAPERR"``, ``"ACCERR"`` or ``"ADRERR"``.
    access : str, optional
        ``"read"``, ``"write"`` or ``"execute"``.
    vma : object, optional
        The area that holds the address, if there is one.

    Notes
    -----
    Accesses before the faulting one took effect.
    """

    signal = None

    def __init__(self, addr, si_code, access=None, vma=None):
        super().__init__(addr, si_code, access, vma)
        self.addr = addr
        self.si_code = si_code
        self.access = access
        self.vma = vma

    def __str__(self):
        how = f"{self.access} of " if self.access else ""
        where = f" in {self.vma}" if self.vma is not None else ""
        return f"{self.signal} {self.si_code}: {how}{self.addr:016x}{where}"


class SegvError(MemoryFault):
    """A simulated SIGSEGV: nothing mapped there (MAPERR) or the access is not allowed (ACCERR)."""

    signal = "SIGSEGV"


class BusError(MemoryFault):
    """A simulated SIGBUS: beyond the end of the file (ADRERR)."""

    signal = "SIGBUS"


class UnsupportedError(Exception):
    """The operation exists in Linux but is not emulated."""


class ReentryError(RuntimeError):
    """A policy hook, or what ran in its thread meanwhile, called back into a machine in the middle of an operation."""


class RestoreError(ValueError):
    """A state that was read somewhere else contradicts itself, or cannot be built here."""


class SavedError(ValueError):
    """A file is not a machine that can be loaded: foreign, damaged, cut short, or of another version."""


class ValidationError(Exception):
    """A count kept by the machine is not what its page tables say.

    Parameters
    ----------
    differences : list of tuple
        ``(object, field, counted, recomputed)`` each.
    """

    def __init__(self, differences):
        self.differences = list(differences)
        super().__init__(self.differences)

    def __str__(self):
        shown = [f"{obj}: {name} is {kept}, recomputed {real}" for obj, name, kept, real in self.differences[:8]]
        if len(self.differences) > 8:
            shown.append(f"and {len(self.differences) - 8} more")
        return "; ".join(shown) or "no differences"
