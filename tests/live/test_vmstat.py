"""Values of /proc/vmstat's rows about huge pages and unevictable memory, and VmPin, step by step.

The kernel's answers are kept in vmstat.json, which is written by

    FOLIOSIM_RECORD=1 pytest tests/live/test_vmstat.py -m live
"""
import json
import os
import re
from pathlib import Path

import pytest

from foliosim.live.recorder import Recorder
from foliosim.live.settings import Turn, complete
from foliosim.procfs import status, vmstat
from foliosim.verify.engine import MachineEngine
from foliosim.verify.recording import Scenario

GOLDEN = Path(__file__).parent / "vmstat.json"
REFRESH = Path("/proc/sys/vm/stat_refresh")
ROWS = re.compile(r"(thp_|unevictable_pgs_|nr_anon_transparent_hugepages$|nr_shmem_(hugepages|pmdmapped)$"
                  r"|nr_file_(hugepages|pmdmapped)$|nr_mlock$|pglazyfree)")
K, M = 1 << 10, 1 << 20


def at(op, first, length, **more):
    return {"op": op, "proc": "p0", "addr": hex(0x200000000000 + first), "length": length, **more}


def area(first, length, kind="private"):
    return at("mmap", first, length, prot="rw", flags=[kind, "anonymous", "fixed"])


def advise(advice, first, length):
    return at("madvise", first, length, advice=advice)


HUGE = [area(0, 4 * M), advise("hugepage", 0, 4 * M), at("write", 0, 4 * M, value=3)]
FORK, EXIT = {"op": "fork", "proc": "p0", "child": "p1"}, {"op": "exit", "proc": "p1"}
SCENARIOS = {
    "locked": ({}, [*HUGE, at("mlock", 0, M), at("mlock", 0, 2 * M), at("munlock", M, M), at("munmap", 0, 64 * K),
                    at("munlock", 64 * K, 4 * M - 64 * K), area(8 * M, 256 * K), at("mlock", 8 * M, 256 * K),
                    at("munmap", 8 * M, 128 * K), FORK, EXIT]),
    "split": ({}, [*HUGE, advise("free", 0, 64 * K), advise("cold", 2 * M, 64 * K), advise("pageout", M, 64 * K),
                   advise("dontneed", 0, 2 * M), advise("collapse", 2 * M, 2 * M), at("mprotect", 2 * M, 4 * K, prot="r"),
                   at("munmap", 2 * M, M), at("munmap", 0, 4 * M)]),
    "shared": ({"shmem_enabled": "always"}, [
        area(0, 4 * M, "shared"), at("write", 0, 4 * M, value=1, stride=2 * M), at("mlock", 0, 2 * M), FORK,
        at("munmap", 0, 4 * K), EXIT, advise("remove", 2 * M, 64 * K), at("munmap", 0, 4 * M)]),
    "pinned": ({}, [
        *HUGE, at("pin", 100, 12 * K, id="b0"), at("pin", 2 * M - 4 * K, 8 * K, id="b1"), area(8 * M, 64 * K),
        at("pin", 8 * M + 100, 12 * K, id="b2"), FORK, advise("dontneed", 0, 4 * M),
        {"op": "unpin", "proc": "p0", "id": "b0"}, {"op": "unpin", "proc": "p0", "id": "b1"},
        at("pin", 8 * M, 8 * K, id="b2"), {"op": "unpin", "proc": "p0", "id": "b2"}]),
    "sizes": ({"mthp": {"64kB": "madvise", "2048kB": "never"}}, [
        *HUGE, at("mlock", 0, 32 * K), at("mlock", 64 * K, 64 * K), advise("free", 128 * K, 32 * K), FORK,
        at("write", 0, 256 * K, value=5), EXIT, at("munmap", 0, 2 * M)]),
}


def rows(text):
    return {name: int(value) for name, value in map(str.split, text.splitlines()) if ROWS.match(name)}


def changes(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def pinned(text):
    return int(re.search(r"VmPin:\s*(\d+)", text)[1])


def emulated(name):
    settings, steps = SCENARIOS[name]
    engine = MachineEngine(Scenario(name, (), {"arch": "x86_64", **complete(settings)}, steps, []))
    before, shown = rows(vmstat(engine.machine)), []
    for step in steps:
        result = engine.perform(step)
        assert "ret" in result, (step, result)
        after = rows(vmstat(engine.machine))
        shown.append([changes(before, after), pinned(status(engine.procs["p0"]))])
        before = after
    return shown


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_recorded(name):
    assert emulated(name) == json.loads(GOLDEN.read_text())[name]


class Watcher(Recorder):
    """A recorder that reads the rows after every step, with what each processor has counted added up."""

    def run(self, *args):
        self.shown, self._before = [], None
        super().run(*args)
        return self.shown

    def _rows(self):
        REFRESH.write_text("1")
        return rows(Path("/proc/vmstat").read_text())

    def _step(self, step, without_counters):
        before = self._before or self._rows()
        entry = super()._step(step, without_counters)
        self._before = self._rows()
        text = Path(f"/proc/{self._family.procs[0].pid}/status").read_text()
        self.shown.append([changes(before, self._before), pinned(text)])
        return entry


def kernel(name):
    """As three runs agree to have it: other programs lock and pin, too."""
    settings, steps = SCENARIOS[name]
    with Watcher() as watcher, Turn() as turn:
        seen = []
        for _ in range(20):
            seen.append(watcher.run(steps, complete(settings), turn))
            if seen.count(seen[-1]) == 3:
                return seen[-1]
    raise AssertionError(f"no three of 20 runs agree: {seen}")


@pytest.mark.live
def test_the_kernel_does_so():
    shown = {name: kernel(name) for name in SCENARIOS}
    if os.environ.get("FOLIOSIM_RECORD"):
        GOLDEN.write_text(json.dumps(shown, indent=1) + "\n")
    assert shown == json.loads(GOLDEN.read_text())
