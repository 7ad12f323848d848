"""Performs recorded steps on a `foliosim.Machine`, as the recorded program performed them on a kernel.

The recorded program keeps short-term references in pipes and long-term pins in io_uring instances, eight of each per
process.  What those containers add to the system calls below them is here.
"""
import errno
from typing import Protocol

from foliosim.errors import MemoryFault, SyscallError, UnsupportedError, syscall_error
from foliosim.verify import numbers

PIPE_PAGES = 256
VMSPLICE_BATCH = 16  # pages that vmsplice references before it puts them into the pipe
MAX_TOUCH = 16384  # bytes that one read or mincore of the recorded program can return
SSIZE_MAX = (1 << 63) - 1  # bytes that an iovec may say it has
MAX_RW_COUNT = (1 << 31) - 4096  # bytes that one call transfers
USER_PTR_MAX = (1 << 47) - 4096
DEFAULT_RELEASE = "6.18.44"


class Engine(Protocol):
    """What a scenario is replayed on."""

    def perform(self, step):
        """Perform a step; return its entry: result, ``data`` as bytes, counters and state.

        Raises
        ------
        UnsupportedError
            The op is not implemented.
        """

    def validate(self):
        """Check all invariants; raises `ValidationError`."""


class MachineEngine:
    """A `foliosim.Machine` that is set up as a scenario says.

    Parameters
    ----------
    scenario : Scenario
        Its ``machine`` is built, with one process p0; its steps are performed one by one.
    """

    def __init__(self, scenario):
        import foliosim

        self.machine = _build(foliosim.Machine, scenario.machine)
        self.procs = {"p0": self.machine.spawn()}
        self.files = {}
        self._entries = any("entries" in proc for entry in scenario.expect[:1]
                            for proc in entry["state"]["procs"].values())
        self._held = {}  # (process, "g" or "b", number) to reference or pin

    @property
    def page_size(self):
        return self.machine.page_size

    def validate(self):
        self.machine.validate()

    def do(self, step):
        """Perform a step; its result alone."""
        perform = OPS.get(step["op"])
        if perform is None:
            raise UnsupportedError(f"op {step['op']!r} is not implemented")
        return self._result(perform, step)

    def perform(self, step):
        self.machine.drain()
        before = self.machine.counters()
        entry = self.do(step)
        self.machine.drain()
        entry.update(self.machine.counters_since(before))
        procs = dict(sorted(self.procs.items(), key=lambda item: int(item[0][1:])))
        options = {"files": self.files} if self.files else {}
        if self._entries:
            options["entries"] = True
        end = numbers.ARENA + numbers.arena_size(self.page_size)
        entry["state"] = self.machine.observe(procs, numbers.ARENA, end, **options)
        return entry

    def _result(self, perform, step):
        try:
            return perform(self, step)
        except SyscallError as error:
            return {"errno": errno.errorcode.get(error.errno, str(error.errno))}
        except MemoryFault as fault:
            return {"signal": fault.signal, "code": fault.si_code, "addr": hex(fault.addr)}

    def _call(self, step, method, *args, **keywords):
        call = getattr(self.procs[step["proc"]], method, None)
        if call is None:
            raise UnsupportedError(f"op {step['op']!r}: Process has no {method}()")
        return call(*args, **keywords)

    # ---- containers of references ----

    def _key(self, step):
        return step["proc"], "g" if step["op"] in ("get", "peek", "put") else "b", step["id"][1:]

    def _drop(self, key):
        held = self._held.pop(key, None)
        if held is None:
            return False
        for reference in held:
            if key[1] == "g":
                reference.release()
            else:
                reference.unregister()
        return True

    def get(self, step):
        """vmsplice into a new pipe: short counts, and no more than the pipe holds."""
        key = self._key(step)
        self._drop(key)
        addr, length = _iovec(step)
        length = min(length, MAX_RW_COUNT)
        if addr + length > USER_PTR_MAX:
            raise syscall_error(errno.EFAULT, "vmsplice")
        room = PIPE_PAGES * self.page_size - addr % self.page_size
        if length == 0:
            self._held[key] = []
            return {"ret": 0}
        taken = self._call(step, "get_user_pages", addr, min(length, room))
        if taken.nbytes == room < length:
            self._overfill(step, addr + room, min(length - room, VMSPLICE_BATCH * self.page_size))
        self._held[key] = [taken]
        return {"ret": taken.nbytes}

    def _overfill(self, step, addr, length):
        # iter_to_pipe references one more batch before it sees that the pipe is full.
        try:
            self._call(step, "get_user_pages", addr, length).release()
        except SyscallError:
            pass

    def peek(self, step):
        held = self._held.get(self._key(step))
        if held is None:
            raise syscall_error(errno.EBADF, "tee")
        return _bytes(b"".join(reference.peek() for reference in held))

    def put(self, step):
        self._drop(self._key(step))
        return {"ret": 0}

    def pin(self, step):
        """IORING_REGISTER_BUFFERS of one buffer; one of no address and no length is a slot left empty."""
        key = self._key(step)
        self._drop(key)
        self._held[key] = [self._call(step, "register_buffers", [_iovec(step)])]
        return {"ret": 0}

    def unpin(self, step):
        if not self._drop(self._key(step)):
            raise syscall_error(errno.EBADF, "io_uring_register")
        return {"ret": 0}

    # ---- files ----

    def file(self, step):
        create = getattr(self.machine, "create_file", None)
        if create is None:
            raise UnsupportedError("op 'file': Machine has no create_file()")
        self.files[step["file"]] = create(step["kind"], step["length"], fill=step.get("fill"))
        return {"ret": 0}

    def ftruncate(self, step):
        self.files[step["file"]].ftruncate(step["length"])
        return {"ret": 0}

    def punch(self, step):
        self.files[step["file"]].punch(step["offset"], step["length"])
        return {"ret": 0}

    # ---- processes ----

    def fork(self, step):
        self.procs[step["child"]] = self._call(step, "fork")
        return {"ret": 0}

    def exit(self, step):
        mine = [key for key in self._held if key[0] == step["proc"]]
        for key in sorted(mine, key=lambda key: (int(key[2]), key[1] == "b")):
            self._drop(key)
        self._call(step, "exit")
        del self.procs[step["proc"]]
        return {"ret": 0}


def _build(machine_class, facts):
    # The recorded machine; facts that this engine cannot have make the scenario unsupported.
    release = facts.get("release", DEFAULT_RELEASE)
    same = ("page_size", "va_bits", "pt_reclaim", "contpte", "hw_afdbm")
    keywords = {name: facts[name] for name in same if name in facts}
    keywords |= {"kernel": release, "policy": "linux-" + ".".join(release.split(".")[:2])}
    for name, fact in (("thp", "thp_enabled"), ("mthp", "mthp"), ("shmem_enabled", "shmem_enabled"),
                       ("mthp_shmem", "mthp_shmem")):
        if fact in facts:
            keywords[name] = facts[fact]
    try:
        return machine_class(
            arch=facts["arch"], memory="4G", soft_dirty=facts.get("soft_dirty", False), **keywords)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"this machine cannot be built: {error}") from error


# ---- steps without a container ----

def _word(value):
    """An argument as the system call takes it: -1 is the greatest."""
    return value & (1 << 64) - 1


def _addr(step, key="addr"):
    return _word(int(step[key], 16))


def _span(step):
    return _addr(step), _word(step["length"])


def _iovec(step):
    # Follows copy_iovec_from_user.
    addr, length = _span(step)
    if length > SSIZE_MAX:
        raise syscall_error(errno.EINVAL, "iovec")
    return addr, length


def _reached(step):
    # What loads and stores walk through: nothing if the end lies before the start.
    addr, length = _span(step)
    return addr, length if addr + length < 1 << 64 else 0


def _bytes(data):
    return {"ret": len(data), "data": bytes(data)} if data else {"ret": 0}


def _mmap(engine, step):
    addr = engine._call(
        step, "mmap", _word(step["length"]), prot=numbers.PROT[step["prot"]],
        flags=numbers.mask(step["flags"], numbers.MAP), addr=_addr(step),
        file=engine.files[step["file"]] if "file" in step else None, offset=_word(step.get("offset", 0)))
    return {"ret": hex(addr)}


def _range(engine, step):
    engine._call(step, step["op"], *_span(step))
    return {"ret": 0}


def _mprotect(engine, step):
    engine._call(step, "mprotect", *_span(step), numbers.PROT[step["prot"]])
    return {"ret": 0}


def _madvise(engine, step):
    advice = step["advice"]
    engine._call(step, "madvise", *_span(step), numbers.MADV.get(advice, advice))
    return {"ret": 0}


def _mlock2(engine, step):
    engine._call(step, "mlock2", *_span(step), numbers.mask(step["flags"], numbers.MLOCK))
    return {"ret": 0}


def _mremap(engine, step):
    addr = engine._call(
        step, "mremap", _addr(step), _word(step["old_length"]), _word(step["new_length"]),
        flags=numbers.mask(step["flags"], numbers.MREMAP), new_addr=_addr({"new_addr": "0x0", **step}, "new_addr"))
    return {"ret": hex(addr)}


def _msync(engine, step):
    engine._call(step, "msync", *_span(step), numbers.mask(step["flags"], numbers.MSYNC))
    return {"ret": 0}


def _mincore(engine, step):
    if _word(step["length"] + engine.page_size - 1) // engine.page_size > MAX_TOUCH:
        raise syscall_error(errno.E2BIG, "mincore")
    return _bytes(bytes([byte & 1 for byte in engine._call(step, "mincore", *_span(step))]))


def _write(engine, step):
    return {"ret": engine._call(
        step, "write", *_reached(step), value=step["value"], delta=step.get("delta", 0),
        stride=step.get("stride", engine.page_size), offset=step.get("offset", 0))}


def _read(engine, step):
    stride, offset = step.get("stride", engine.page_size), step.get("offset", 0)
    addr, length = _reached(step)
    length = min(length, offset + (MAX_TOUCH - 1) * stride + 1)
    return _bytes(engine._call(step, "read", addr, length, stride=stride, offset=offset))


def _clear_refs(engine, step):
    engine._call(step, "clear_refs", step["value"])
    return {"ret": 0}


def _thp_disable(engine, step):
    engine._call(step, "prctl_thp_disable", _word(step["value"]), _word(step.get("flags", 0)))
    return {"ret": 0}


OPS = {
    "mmap": _mmap, "munmap": _range, "mprotect": _mprotect, "madvise": _madvise, "mlock": _range, "munlock": _range,
    "mlock2": _mlock2, "mremap": _mremap, "msync": _msync, "mseal": _range, "mincore": _mincore, "write": _write,
    "read": _read, "clear_refs": _clear_refs, "thp_disable": _thp_disable, "fork": MachineEngine.fork,
    "exit": MachineEngine.exit, "get": MachineEngine.get, "peek": MachineEngine.peek, "put": MachineEngine.put,
    "file": MachineEngine.file, "ftruncate": MachineEngine.ftruncate, "punch": MachineEngine.punch,
    "pin": MachineEngine.pin, "unpin": MachineEngine.unpin,
}
