"""The recorded program's containers of references, on a machine that only keeps books."""
import errno
from types import SimpleNamespace

import pytest
from scripted import every_kind

import foliosim
from foliosim.errors import SegvError, UnsupportedError, syscall_error
from foliosim.verify.engine import MachineEngine
from foliosim.verify.recording import scenario_of


class Reference:
    def __init__(self, log, nbytes):
        self.log, self.nbytes = log, nbytes

    def peek(self):
        return b"\x05" * -(-self.nbytes // 4096)

    def release(self):
        self.log.append("release")

    unregister = release


class BookProcess:
    """Grants every reference below 0x200000400000 and refuses the others."""

    def __init__(self, log):
        self.log = log

    def _take(self, addr, length):
        if addr >= 0x200000400000:
            raise syscall_error(errno.EFAULT, "gup")
        self.log.append(("take", length))
        return Reference(self.log, min(length, 0x200000400000 - addr))

    def get_user_pages(self, addr, length):
        return self._take(addr, length)

    def register_buffers(self, buffers):
        [(addr, length)] = buffers
        return self._take(addr, length)

    def fork(self):
        return BookProcess(self.log)

    def exit(self):
        self.log.append("exit")

    def mmap(self, length, *, prot, flags, addr, file, offset):
        self.log.append(("mmap", length, prot, flags, addr, file, offset))
        return addr

    def madvise(self, addr, length, advice):
        self.log.append(("madvise", advice))

    def mincore(self, addr, length):
        return b"\x81\x00"

    def read(self, addr, length, *, stride, offset):
        raise SegvError(addr + 4096, "MAPERR")


class BookMachine:
    page_size = 4096

    def __init__(self, **settings):
        if settings["arch"] != "x86_64":
            raise ValueError("no such arch")
        self.settings, self.log = settings, []

    def spawn(self):
        return BookProcess(self.log)

    def drain(self):
        pass

    def counters(self):
        return None

    def counters_since(self, _):
        return {"vmstat": {}, "mthp_stats": {}}

    def observe(self, procs, start, end, entries=False):
        return {"procs": dict.fromkeys(procs), "frames": []}


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(foliosim, "Machine", BookMachine, raising=False)
    engine = MachineEngine(scenario_of(every_kind()))

    def do(op, proc="p0", addr=0x200000000000, length=8192, **more):
        step = {"op": op, "proc": proc, "addr": hex(addr), "length": length, **more}
        entry = engine.perform(step)
        return {key: entry[key] for key in entry if key not in ("vmstat", "mthp_stats", "state")}

    return SimpleNamespace(do=do, log=engine.machine.log, settings=engine.machine.settings, engine=engine)


def test_machine_is_built_as_recorded(engine):
    assert engine.settings == {
        "arch": "x86_64", "memory": "4G", "policy": "linux-6.18", "thp": "madvise", "mthp": {"64kB": "never"},
        "shmem_enabled": "never", "mthp_shmem": {}, "soft_dirty": False, "kernel": "6.18.44", "page_size": 4096}


def test_get_drops_what_the_id_held(engine):
    assert engine.do("get", id="g0") == {"ret": 8192}
    assert engine.do("get", id="g0") == {"ret": 8192}
    assert engine.log == [("take", 8192), "release", ("take", 8192)]
    assert engine.do("peek", id="g0") == {"ret": 2, "data": b"\5\5"}


def test_failing_get_and_pin_drop_the_id(engine):
    engine.do("get", id="g0")
    engine.do("pin", id="b0")
    assert engine.do("get", id="g0", addr=0x200000400000) == {"errno": "EFAULT"}
    assert engine.do("pin", id="b0", addr=0x200000400000) == {"errno": "EFAULT"}
    assert engine.log.count("release") == 2
    assert engine.do("peek", id="g0") == {"errno": "EBADF"}
    assert engine.do("unpin", id="b0") == {"errno": "EBADF"}


def test_put_and_unpin(engine):
    assert engine.do("put", id="g3") == {"ret": 0}
    assert engine.do("unpin", id="b3") == {"errno": "EBADF"}
    engine.do("get", id="g3")
    engine.do("pin", id="b3")
    assert engine.do("unpin", id="b3") == {"ret": 0}
    assert engine.do("put", id="g3") == {"ret": 0}
    assert engine.log.count("release") == 2


def test_pipe_holds_256_pages(engine):
    assert engine.do("get", id="g0", addr=0x200000000010, length=0x300000) == {"ret": (1 << 20) - 0x10}
    assert engine.log == [("take", (1 << 20) - 0x10), ("take", 1 << 16), "release"]


def test_empty_ranges(engine):
    assert engine.do("get", id="g0", length=0) == {"ret": 0}
    assert engine.do("peek", id="g0") == {"ret": 0}
    assert engine.do("pin", id="b0", length=-1) == {"errno": "EINVAL"}


def test_exit_drops_own_references_only(engine):
    engine.do("fork", child="p1")
    engine.do("get", id="g0")
    engine.do("get", proc="p1", id="g0")
    engine.do("pin", proc="p1", id="b0")
    assert engine.do("exit", proc="p1") == {"ret": 0}
    assert engine.log[-3:] == ["release", "release", "exit"]
    assert list(engine.engine.procs) == ["p0"]
    assert engine.do("peek", id="g0")["ret"] == 2


def test_arguments_and_results(engine):
    assert engine.do("mmap", prot="rw", flags=["private", "anonymous", "fixed"]) == {"ret": "0x200000000000"}
    assert engine.log[-1] == ("mmap", 8192, 3, 0x32, 0x200000000000, None, 0)
    assert engine.do("madvise", advice="populate_write") == {"ret": 0}
    assert engine.do("madvise", advice=999) == {"ret": 0}
    assert engine.log[-2:] == [("madvise", 23), ("madvise", 999)]
    assert engine.do("mincore") == {"ret": 2, "data": b"\1\0"}
    assert engine.do("read") == {"signal": "SIGSEGV", "code": "MAPERR", "addr": "0x200000001000"}


@pytest.mark.parametrize("step", [
    {"op": "defragment"}, {"op": "msync", "flags": []}, {"op": "file", "file": "f0", "kind": "memfd"},
])
def test_what_is_not_implemented_is_unsupported(engine, step):
    with pytest.raises(UnsupportedError):
        engine.do(**step)


def test_machine_that_cannot_be_built_is_unsupported(engine):
    scenario = scenario_of(every_kind() | {"machine": {"arch": "m68k", "thp_enabled": "never", "mthp": {}}})
    with pytest.raises(UnsupportedError, match="no such arch"):
        MachineEngine(scenario)
