"""A process of the live kernel whose whole address space is made by the steps given to it.

It is a program of one page that never runs by itself: ptrace sets its registers to make it perform one system call or
one loop of loads or stores.  First it copies its code to an anonymous page at CODE and unmaps everything else, also
the stack and the vdso, so that what /proc shows of it is what the steps did and nothing else (SETUP is what an emulated
process must do to be equal).  Linux on x86-64; the caller needs no rights but those to trace its own child.
"""
import ctypes
import errno
import os
import signal
import struct
import tempfile

PAGE = 4096
CODE = 0x10000000
TASK_SIZE = (1 << 47) - PAGE
STARTED = 2     # steps of SETUP that Tracee.start has done
SETUP = [
    {"op": "mmap", "proc": "p0", "addr": hex(CODE), "length": PAGE, "prot": "rwx",
     "flags": ["private", "anonymous", "fixed"]},
    {"op": "write", "proc": "p0", "addr": hex(CODE), "length": PAGE, "value": 1},
    # more than the program had when it started, so that VmPeak is that of the steps
    {"op": "mmap", "proc": "p0", "addr": "0x20000000", "length": 64 << 20, "prot": "none",
     "flags": ["private", "anonymous", "fixed"]},
    {"op": "munmap", "proc": "p0", "addr": "0x20000000", "length": 64 << 20},
    {"op": "clear_refs", "proc": "p0", "value": 5},
]

_STUBS = {
    "syscall": b"\x0f\x05\xcc",                                                     # syscall; int3
    "write": b"\x48\x39\xcf\x73\x09\x88\x07\x00\xd0\x48\x01\xf7\xeb\xf2\xcc",       # rdi < rcx: [rdi] = al; al += dl
    "read": b"\x48\x39\xcf\x73\x07\x8a\x07\x48\x01\xf7\xeb\xf4\xcc",                # rdi < rcx: al = [rdi]; rdi += rsi
}
_CALLS = {"mmap": 9, "mprotect": 10, "munmap": 11, "mremap": 25, "madvise": 28, "fork": 57, "mlock": 149,
          "munlock": 150, "exit": 231, "mlock2": 325, "mseal": 462}
_TRACEME, _CONT, _KILL, _GETREGS, _SETREGS, _SETOPTIONS, _GETEVENTMSG = 0, 7, 8, 12, 13, 0x4200, 0x4201
_TRACEFORK, _EXITKILL = 2, 0x100000
_REGS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
         "ds es fs gs").split()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _offsets():
    at, out = 0, {}
    for name, code in _STUBS.items():
        out[name] = at
        at += len(code)
    return out


_OFFSET = _offsets()
_TEXT = b"".join(_STUBS.values())


def _ptrace(request, pid, addr=None, data=None):
    if _libc.ptrace(request, pid, addr, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")


def _program(base):
    """An ELF file of one segment: its headers, int3 at the entry, the code after it."""
    text = b"\xcc" + _TEXT
    start = base + 64 + 56
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, 120 + len(text), 120 + len(text), PAGE)
    return head + text, start + 1


class Tracee:
    """One stopped process."""

    def __init__(self, pid, code):
        self.pid = pid
        self.code = code

    @classmethod
    def start(cls, cpu):
        data, code = _program(0x400000)
        with tempfile.NamedTemporaryFile(suffix=".elf", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o700)
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    os.sched_setaffinity(0, {cpu})
                    _ptrace(_TRACEME, 0)
                    os.execve(file.name, ["p"], {})
                finally:
                    os._exit(127)
            self = cls(pid, code)
            self.wait(signal.SIGTRAP)
        finally:
            os.unlink(file.name)
        _ptrace(_SETOPTIONS, pid, None, _TRACEFORK | _EXITKILL)
        self.go()
        self._settle()
        return self

    def _settle(self):
        self.syscall("mmap", CODE, PAGE, 7, 0x32, -1, 0)
        for at, byte in enumerate(_TEXT):
            self.loop("write", CODE + at, CODE + at + 1, 1, byte, 0)
        self.code = CODE
        self.syscall("munmap", 0, CODE)
        self.syscall("munmap", CODE + PAGE, TASK_SIZE - CODE - PAGE)

    def wait(self, wanted):
        """The signal it stopped with; SystemError if it is gone."""
        _, status = os.waitpid(self.pid, 0x40000000)   # __WALL
        if not os.WIFSTOPPED(status):
            raise SystemError(f"the traced process ended with status {status:#x}")
        got = os.WSTOPSIG(status)
        if wanted is not None and got != wanted:
            raise SystemError(f"the traced process stopped with signal {got}, not {wanted}")
        return status

    def go(self):
        _ptrace(_CONT, self.pid)
        return os.WSTOPSIG(self.wait(None))

    def run(self, stub, **values):
        """Run one stub; its registers after it, and the signal that stopped it."""
        regs = (ctypes.c_uint64 * len(_REGS))()
        _ptrace(_GETREGS, self.pid, None, ctypes.addressof(regs))
        values = {"orig_rax": -1, "rip": self.code + _OFFSET[stub], **values}
        for name, value in values.items():
            regs[_REGS.index(name)] = value & (1 << 64) - 1
        _ptrace(_SETREGS, self.pid, None, ctypes.addressof(regs))
        number = self.go()
        _ptrace(_GETREGS, self.pid, None, ctypes.addressof(regs))
        return dict(zip(_REGS, regs)), number

    def syscall(self, name, *args):
        """The result of a system call.  OSError if it failed."""
        values = dict(zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), args))
        regs, number = self.run("syscall", rax=_CALLS[name], **values)
        if name == "fork" and number == signal.SIGTRAP and regs["rip"] != self.code + 3:
            self.go()      # after the stop of PTRACE_EVENT_FORK
            out = (ctypes.c_uint64 * len(_REGS))()
            _ptrace(_GETREGS, self.pid, None, ctypes.addressof(out))
            regs = dict(zip(_REGS, out))
        result = ctypes.c_int64(regs["rax"]).value
        if -4096 < result < 0:
            raise OSError(-result, f"{name}: {os.strerror(-result)}")
        return result

    def loop(self, stub, start, end, stride, value, delta):
        """Loads or stores at start, + stride, ... below end.  OSError EFAULT at the first that is refused."""
        _, number = self.run(stub, rdi=start, rcx=end, rsi=stride, rax=value, rdx=delta)
        if number != signal.SIGTRAP:
            raise OSError(errno.EFAULT, f"{stub}: signal {number}")

    def fork(self):
        """The child, stopped."""
        child = Tracee(self.syscall("fork"), self.code)
        child.wait(signal.SIGSTOP)
        return child

    def exit(self):
        try:
            self.syscall("exit", 0)
        except SystemError:
            return

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0x40000000)
        except (ProcessLookupError, ChildProcessError):
            return
