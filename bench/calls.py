"""One page per call from Python, walks of many addresses, areas by the thousand, policy hooks, the import."""
import os
import subprocess
import sys
import time

import numpy as np

import foliosim as fs
from bench.border import border
from bench.floors import Memory, library
from bench.measure import Part, timed
from bench.ranges import PAGE, READ, WRITE
from foliosim.sizes import parse_size

FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
AT = 1 << 40


class Calls:
    """A Python loop over pages, a call each."""

    name = "one page per call"
    pages = 4096
    units = pages
    parts = {
        "translate": Part("translate", "call", 2),
        "fault": Part("touch, a first fault", "call", None, 1, ("fault-page", 0)),
        "touch": Part("touch, mapped", "call"),
        "cow": Part("touch, a COW fault", "call", None, 1, ("cow-page", 0)),
        "protect": Part("mprotect inside an area", "call", None, 1, ("protect-page", 0)),
    }

    def __init__(self):
        self.machine = fs.Machine(memory="1G")
        self.empty = border().Empty()

    def validate(self):
        self.machine.validate()

    def close(self):
        pass

    def ours(self, after):
        parent, size, out = self.machine.spawn(), self.pages * PAGE, {}
        parent.mmap(size, addr=AT, flags=FIXED)
        at = range(AT, AT + size, PAGE)

        def touch(process):
            for addr in at:
                process.touch(addr, PAGE, write=True)

        def translate():
            for addr in at:
                parent.translate(addr)

        def protect():
            for addr in at[1::2]:
                parent.mprotect(addr, PAGE, READ)
                parent.mprotect(addr, PAGE, WRITE)

        def step(key, call, *args):
            out[key] = timed(call, *args)[0]
            after()

        step("fault", touch, parent)
        step("touch", touch, parent)
        step("translate", translate)
        step("protect", protect)
        child = parent.fork()
        step("cow", touch, child)
        child.exit()
        parent.exit()
        return out

    def floor(self):
        empty, at = self.empty, range(AT, AT + self.pages * PAGE, PAGE)

        def address():
            for addr in at:
                empty.address(addr)

        def touch():
            for addr in at:
                empty.touch(addr, PAGE, write=True)

        return {"translate": timed(address)[0], "touch": timed(touch)[0]}


class Walks:
    """Process.walk of random addresses in one call.  Zero pages are mapped: tables without records behind them."""

    batch = 1 << 16

    def __init__(self, size):
        self.size = parse_size(size)
        self.name = f"walk, {size} mapped"
        self.parts = {"walk": Part("walk of 65,536 random addresses", "address", 2)}
        self.units = self.batch
        self.machine = fs.Machine(memory=2 * self.size, thp="never")
        self.process = self.machine.spawn()
        self.process.mmap(self.size, addr=AT, flags=FIXED)
        self.process.touch(AT, self.size)
        pages = self.size // PAGE
        self.memory = Memory(phys=8 * (pages + pages // 511 + 4096), out=16 * self.batch)
        library().build_tables(self.memory.phys, pages)
        random = np.random.default_rng(6)
        self.offsets = random.integers(0, self.size, self.batch * 8, dtype=np.uint64).reshape(8, -1)
        self.addresses = self.offsets + np.uint64(AT)
        self.turn = 0

    def validate(self):
        assert not self.process.walk(self.addresses[0])["error"].any()
        if self.size <= 1 << 36:
            self.machine.validate()

    def close(self):
        self.memory.close()

    def ours(self, after):
        self.turn = (self.turn + 1) % len(self.addresses)
        seconds, _ = timed(self.process.walk, self.addresses[self.turn])
        after()
        return {"walk": seconds}

    def floor(self):
        at = self.offsets[(self.turn + 4) % len(self.offsets)]
        return {"walk": timed(library().walk, self.memory.phys, at.ctypes.data, self.memory.out, self.batch)[0]}


class BesideJudges(Walks):
    """The same walk of 1 GiB, beside those of processor emulators and forensic tools."""

    def __init__(self):
        super().__init__("1G")
        self.name = "walk, 1G mapped, and others' walks"
        self.parts = {"unicorn": Part("walk of random addresses", "address", None, 25, judge="unicorn"),
                      "volatility3": Part("walk of random addresses", "address", None, 1000, judge="volatility3")}

    def ours(self, after):
        took = super().ours(after)["walk"]
        return dict.fromkeys(self.parts, took)

    def floor(self):
        return {}


class Areas:
    """A process with many areas of three pages."""

    stride, calls = 4 * PAGE, 4096
    units = calls

    def __init__(self, n):
        self.n = n
        self.name = f"{n:,} areas"
        self.parts = {"find": Part(f"find one of {n:,} (madvise, no change)", "call", 3 if n > 1000 else None),
                      "split": Part(f"split + merge among {n:,} (mprotect there and back)", "pair",
                                    3 if n > 1000 else None)}
        self.machine = fs.Machine(memory="4G", max_map_count=1 << 20)
        self.process = self.machine.spawn()
        for i in range(n):
            self.process.mmap(3 * PAGE, addr=AT + i * self.stride, flags=FIXED)
        random = np.random.default_rng(6)
        self.addresses = AT + random.integers(0, n, self.calls, dtype=np.uint64) * np.uint64(self.stride) + PAGE
        self.listed = [int(addr) for addr in self.addresses]
        self.areas = library().areas(n, AT, 3 * PAGE, self.stride)

    def validate(self):
        self.machine.validate()

    def close(self):
        library().areas_free(self.areas)

    def ours(self, after):
        process, addresses = self.process, self.listed

        def find():
            for addr in addresses:
                process.madvise(addr, PAGE, fs.MADV_NORMAL)

        def split():
            for addr in addresses:
                process.mprotect(addr, PAGE, READ)
                process.mprotect(addr, PAGE, WRITE)

        out = {"find": timed(find)[0]}
        out["split"] = timed(split)[0]
        after()
        return out

    def floor(self):
        at = self.addresses.ctypes.data
        return {"find": timed(library().find, self.areas, at, self.calls)[0],
                "split": timed(library().split_merge, self.areas, at, self.calls)[0]}


def _order0(order, pmd):
    return "order0"


class Hooks:
    """What a policy point costs that Python or a compiled function decides."""

    name = "policy hooks"
    calls = 100_000
    units = calls
    parts = {"python": Part("Python hook (floor: bare call from C)", "call", 1.5),
             "compiled": Part("compiled alternative", "call", limit=3)}

    def __init__(self):
        self.border = border()
        self.machines = {"python": fs.Machine(memory="1G", policy={"cow_order": _order0}),
                         "compiled": fs.Machine(memory="1G", policy={"cow_order": self.border.compiled_alternative()})}

    def validate(self):
        assert self.border.slot_calls(self.machines["python"], 3) == 0

    def close(self):
        pass

    def ours(self, after):
        out = {key: timed(self.border.slot_calls, machine, self.calls)[0] for key, machine in self.machines.items()}
        after()
        return out

    def floor(self):
        return {"python": timed(self.border.bare_calls, _order0, self.calls)[0]}


class Import:
    """A fresh interpreter that imports the package, less one that does not; the floor imports numpy alone.

    It is the time that one waits: CPU time counts what numpy's BLAS spins in threads of its own too.  Both find their
    bytecode in its place, as after a first import.
    """

    name = "import"
    units = 1
    parts = {"import": Part("import foliosim, with numpy, elapsed (floor: numpy alone)", "import", limit=150e6)}

    def validate(self):
        _child("import foliosim")

    def close(self):
        pass

    def ours(self, after):
        return {"import": _child("import foliosim") - _child("pass")}

    def floor(self):
        return {"import": _child("import numpy") - _child("pass")}


def _child(code):
    """Seconds until a Python has run the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - start
