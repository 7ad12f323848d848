"""Memory pressure on the live kernel and in the emulator: where pages end, and with which flags.

The kernel's answers are kept in pressure.json, which is written by

    FOLIOSIM_RECORD=1 pytest tests/live/test_pressure.py -m live

It takes root, cgroup v1's memory controller and a zram device that nobody uses.
"""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import foliosim as fs

HERE = Path(__file__).parent
GOLDEN = HERE / "pressure.json"
PAGE, HUGE, LIMIT = 4096, 2 << 20, 20
FLAGS = sum(1 << bit for bit in (4, 11, 12, 13, 14, 18, 22, 33))
SCENARIOS = {"huge": 40, "upper half locked": 8, "lower half locked": 8, "partly unmapped": 40, "locked afterwards": 40,
             "forked afterwards": 40}


# ---- the emulator ----

class World:
    def __init__(self, filler):
        self.machine = fs.Machine(memory="256M", limit=f"{LIMIT}M", swap="512M")
        self.process, self.filler, self.looks = self.machine.spawn(), filler << 20, []

    def area(self, size, advice):
        addr = (self.process.mmap(size + HUGE) + HUGE - 1) & ~(HUGE - 1)
        self.process.madvise(addr, size, advice)
        return addr

    def fill(self, addr, size):
        self.process.write(addr, size, value=1, delta=2)

    def pressure(self):
        self.fill(self.area(self.filler, fs.MADV_NOHUGEPAGE), self.filler)
        self.machine.validate()

    def look(self, addr):
        runs = []
        for word in self.process.pagemap(addr, HUGE).tolist():
            where = "m" if word & fs.PM_PRESENT else "s" if word & fs.PM_SWAP else "-"
            flags = int(self.machine.kpageflags([word & fs.PM_PFRAME_MASK])[0]) & FLAGS if where == "m" else 0
            if runs and runs[-1][:2] == [where, flags]:
                runs[-1][2] += 1
            else:
                runs.append([where, flags, 1])
        self.looks.append(runs)


def half_locked(world, first):
    addr = world.area(8 * HUGE, fs.MADV_HUGEPAGE)
    world.fill(addr, 8 * HUGE)
    for i in range(8):
        world.process.mlock(addr + i * HUGE + first, HUGE // 2)
    world.pressure()
    world.look(addr)


def one_block(world, name):
    process = world.process
    addr = world.area(HUGE, fs.MADV_HUGEPAGE if name in ("huge", "partly unmapped") else fs.MADV_NOHUGEPAGE)
    world.fill(addr, HUGE)
    if name == "partly unmapped":
        process.munmap(addr + HUGE // 2, HUGE // 2)
    world.pressure()
    world.look(addr)
    if name == "huge":
        process.read(addr, 2 * PAGE)
        process.write(addr + 300 * PAGE, PAGE, value=4)
        world.look(addr)
    elif name == "locked afterwards":
        process.mlock(addr, 16 * PAGE)
        world.look(addr)
    elif name == "forked afterwards":
        child = process.fork()
        child.read(addr, 16 * PAGE)
        process.read(addr, PAGE)
        process.write(addr + PAGE, PAGE, value=1)
        world.look(addr)


def emulated(name):
    world = World(SCENARIOS[name])
    if name.endswith("half locked"):
        half_locked(world, HUGE // 2 if name.startswith("upper") else 0)
    else:
        one_block(world, name)
    world.machine.validate()
    return world.looks


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_recorded(name):
    assert emulated(name) == json.loads(GOLDEN.read_text())[name]


# ---- the kernel ----

ZRAM, CGROUP = Path("/dev/zram0"), Path("/sys/fs/cgroup/memory/foliosim-pressure")


def why_not():
    if os.geteuid():
        return "not root"
    if not ZRAM.exists() or (ZRAM.name in Path("/proc/swaps").read_text()):
        return "no free zram device"
    if shutil.which("mkswap") is None:
        return "no mkswap on the PATH"
    return None if (CGROUP.parent / "memory.limit_in_bytes").exists() else "no cgroup v1 memory controller"


@pytest.fixture
def pressed(turn, tmp_path):
    """Runs a scenario in a cgroup with the limit, with swap on zram."""
    if why_not():
        pytest.skip(why_not())
    size = Path("/sys/block") / ZRAM.name / "disksize"
    program = tmp_path / "pressure"
    subprocess.run(["cc", "-O1", "-o", program, HERE / "pressure.c"], check=True)
    size.write_text("512M")
    subprocess.run(["mkswap", ZRAM], check=True, capture_output=True)
    subprocess.run(["swapon", ZRAM], check=True)
    CGROUP.mkdir(exist_ok=True)
    (CGROUP / "memory.limit_in_bytes").write_text(str(LIMIT << 20))

    def run(name):
        done = subprocess.run([program, name, str(SCENARIOS[name])], check=True, capture_output=True, text=True,
                              preexec_fn=lambda: (CGROUP / "cgroup.procs").write_text(str(os.getpid())))
        return [json.loads(line) for line in done.stdout.splitlines()]

    yield run
    CGROUP.rmdir()
    subprocess.run(["swapoff", ZRAM], check=True)
    (size.parent / "reset").write_text("1")


@pytest.mark.live
def test_the_kernel_does_so(pressed):
    looks = {name: pressed(name) for name in SCENARIOS}
    if os.environ.get("FOLIOSIM_RECORD"):
        GOLDEN.write_text(json.dumps(looks, indent=1) + "\n")
    assert looks == json.loads(GOLDEN.read_text())
