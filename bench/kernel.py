"""The machine's own kernel doing the same: kernel.c, run with folios of one order, or a reason why that cannot be."""
import contextlib
import functools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from foliosim.live import settings
from foliosim.live.errors import LiveError

_SOURCE = Path(__file__).with_name("kernel.c")
_BYTES = {0: 128 << 20, 4: 256 << 20, 9: 512 << 20}


class Skip(Exception):
    """The kernel cannot be measured here; the message says why."""


@functools.cache
def _program():
    target = Path(tempfile.mkdtemp(prefix="foliosim-kernel-")) / "kernel"
    try:
        subprocess.run(["cc", "-O2", "-o", str(target), str(_SOURCE)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Skip("no C compiler named cc") from None
    except subprocess.CalledProcessError as error:
        raise Skip(f"cc failed on {_SOURCE.name}: {error.stderr}") from None
    return target


@contextlib.contextmanager
def _folios_of(order):
    """The THP settings under which advised memory gets folios of this order; restored afterwards."""
    if order == 0:
        yield
        return
    if not settings.THP.exists():
        raise Skip("this kernel has no transparent huge pages")
    if os.geteuid() != 0:
        raise Skip("not root: THP settings cannot be set for the run and restored")
    size = f"{4 << order}kB"
    try:
        with settings.Turn() as turn:
            turn.apply(settings.complete({"mthp": {"2048kB": "never", size: "madvise"}}))
            yield
    except LiveError as error:
        raise Skip(str(error)) from None


def seconds(op, order, rounds=5):
    """CPU seconds per unit (page, 2 MiB block of a split, or call): the median of some rounds.

    Parameters
    ----------
    op : str
        As kernel.c names it.
    order : int
        Of the folios: 0, 4 or 9.
    rounds : int

    Raises
    ------
    Skip
        There is no Linux, or no folios of this order.
    """
    if sys.platform != "linux":
        raise Skip(f"no Linux kernel here, but {sys.platform}")
    command = [str(_program()), op, str(order), str(_BYTES[order]), str(rounds)]
    with _folios_of(order):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise Skip(f"the kernel gave no folios of order {order}")
    if done.returncode:
        raise Skip(f"{op}: {done.stderr.strip() or done.returncode}")
    return statistics.median(map(float, done.stdout.split()))
