"""How fast others walk the tables that ours walk: Unicorn's MMU on TLB misses, and volatility3."""
import ctypes
import functools
import statistics
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import foliosim as fs
from bench.floors import library
from bench.kernel import Skip
from bench.measure import timed
from foliosim.dump.registers import processor_of
from foliosim.testing.judge.run import missing

AT, SIZE = 1 << 40, 1 << 30
_ADDRESSES = {"unicorn": 1 << 16, "volatility3": 1 << 12}


@functools.cache
def _process():
    """1 GiB of pages; not the zero page, of which volatility3 does not look at whole tables."""
    process = fs.Machine(memory=2 * SIZE, thp="never").spawn()
    process.mmap(SIZE, addr=AT, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.touch(AT, SIZE, write=True)
    return process


def seconds(judge, rounds=5):
    """CPU seconds per address, the median of some rounds of random addresses.

    Parameters
    ----------
    judge : {"unicorn", "volatility3"}
    rounds : int

    Raises
    ------
    Skip
        It is not installed.
    """
    if missing(judge):
        raise Skip(missing(judge))
    process, n = _process(), _ADDRESSES[judge]
    random = np.random.default_rng(6)
    with {"unicorn": _unicorn, "volatility3": _volatility}[judge](process) as ask:
        return statistics.median(ask(AT + random.integers(0, SIZE, n, dtype=np.uint64)) for _ in range(rounds)) / n


@contextmanager
def _unicorn(process):
    """Its MMU, called from C; CR3 is written before each round, which empties the TLB."""
    from unicorn.unicorn_py3.unicorn import uclib
    from unicorn.x86_const import UC_X86_REG_CR3

    from foliosim.testing.judge.answers import USER
    from foliosim.testing.judge.unicorn_x86_64 import UnicornX86

    processor = processor_of(process)
    judge = UnicornX86(process.machine.dump_physical().image(), processor)
    uc, _ = judge.engines[USER]
    translate = ctypes.cast(uclib.uc_vmem_translate, ctypes.c_void_p)

    def ask(addrs):
        uc.reg_write(UC_X86_REG_CR3, processor.root)
        out = np.zeros(len(addrs), np.uint64)
        took, failed = timed(library().translate, translate, uc._uch, addrs.ctypes.data, out.ctypes.data, len(addrs))
        assert not failed and np.array_equal(out, process.walk(addrs)["pa"])
        return took

    yield ask


@contextmanager
def _volatility(process):
    """Its Intel layer over a file, called from Python; `translate` would also ask whether the page itself is there."""
    from foliosim.testing.judge.volatility import Volatility

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tables.lime"
        process.machine.dump_physical(path)
        layer = Volatility(path, processor_of(process).root).layer

        def ask(addrs):
            took, found = timed(lambda at: [layer._translate(addr)[0] for addr in at], addrs.tolist())
            assert found == process.walk(addrs)["pa"].tolist()
            return took

        yield ask
