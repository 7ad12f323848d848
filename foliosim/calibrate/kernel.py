"""The machine's own kernel: how long the operations of ``kernel.c`` take it with folios of one order."""
import contextlib
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from foliosim.live import build, settings
from foliosim.live.errors import LiveError

SOURCE = Path(__file__).with_name("kernel.c")
_NO_HUGE = 3


def why_not(orders):
    """The reason for which folios of these orders cannot be timed here, or None."""
    if sys.platform != "linux":
        return f"this is {sys.platform}; only Linux can be timed"
    if os.geteuid() != 0:
        return "not root: THP settings cannot be set for the run and restored"
    if os.sysconf("SC_PAGE_SIZE") != 4096:
        return f"pages of {os.sysconf('SC_PAGE_SIZE')} bytes; the cases count in pages of 4096"
    if any(orders) and not settings.THP.exists():
        return "this kernel has no transparent huge pages (CONFIG_TRANSPARENT_HUGEPAGE), so it has folios of 4kB only"
    missing = [f"{4 << order}kB" for order in orders if order and not _folder(order).exists()]
    if missing:
        return f"this kernel has no folios of {', '.join(missing)} (hugepages-*/enabled)"
    return None


def _folder(order):
    return settings.THP / f"hugepages-{4 << order}kB"


@contextlib.contextmanager
def folios_of(turn, order):
    """The settings under which advised memory has folios of this order.

    Parameters
    ----------
    turn : Turn
    order : int

    Raises
    ------
    LiveError
        What ran meanwhile got folios of other sizes.
    """
    if order:
        turn.apply(settings.complete({"mthp": {"2048kB": "never", f"{4 << order}kB": "madvise"}}))
    before = _fallbacks(order)
    yield
    if _fallbacks(order) != before:
        raise LiveError(f"the kernel had no folios of {4 << order}kB at times: memory is too scarce or scattered")


def _fallbacks(order):
    file = _folder(order) / "stats/anon_fault_fallback"
    return int(file.read_text()) if order and file.exists() else 0


def seconds(op, order, length, rounds):
    """CPU seconds of the thread that performs an operation, in each round.

    Parameters
    ----------
    op : str
        As kernel.c names it; or `fork-bare`: fork, of a process without the area.
    order : int
        Of the folios; the settings must be right (`folios_of`).
    length : int
        Bytes of the area.
    rounds : int

    Returns
    -------
    list of float

    Raises
    ------
    LiveError
        No compiler, no folios of the order, or the operation failed.
    """
    command = [build.program(SOURCE), op, str(order), str(length), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == _NO_HUGE:
        raise LiveError(f"the kernel gave no folios of {4 << order}kB")
    if done.returncode:
        raise LiveError(f"{op}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return [float(line) for line in done.stdout.split()]


def time_case(case, length, rounds):
    """Median ns of a case; of a fork without what a fork of an empty process takes.

    Parameters
    ----------
    case : Case
        The settings must be right for it (`folios_of`).
    length : int
        Bytes of the area.
    rounds : int

    Raises
    ------
    LiveError
        See `seconds`.
    """
    took = statistics.median(seconds(case.op, case.order, length, rounds))
    if case.op.startswith("fork"):
        took -= statistics.median(seconds("fork-bare", 0, length, rounds))
    return took * 1e9


def describe(length, rounds):
    """Facts of this machine and of the run, for a table."""
    return {"kernel": platform.release(), "arch": platform.machine(), "processor": _processor(),
            "area_bytes": length, "rounds": rounds}


def _processor():
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown"
