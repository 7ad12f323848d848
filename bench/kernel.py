"""The machine's own kernel doing the same, with folios of one order, or a reason why that cannot be."""
import statistics

from foliosim.calibrate import kernel
from foliosim.live.errors import LiveError
from foliosim.live.settings import Turn

PAGE, PMD = 4096, 2 << 20
_BYTES = {0: 128 << 20, 4: 256 << 20, 9: 512 << 20}


class Skip(Exception):
    """The kernel cannot be measured here; the message says why."""


def seconds(op, order, rounds=5):
    """CPU seconds per unit (page, 2 MiB block of a split, or call): the median of some rounds.

    Parameters
    ----------
    op : str
        As foliosim/calibrate/kernel.c names it.
    order : int
        Of the folios: 0, 4 or 9.
    rounds : int

    Raises
    ------
    Skip
        There is no Linux, or no folios of this order.
    """
    reason = kernel.why_not([order])
    if reason is not None:
        raise Skip(reason)
    try:
        with Turn() as turn, kernel.folios_of(turn, order):
            took = kernel.seconds(op, order, _BYTES[order], rounds)
    except LiveError as error:
        raise Skip(str(error)) from None
    return statistics.median(took) / (_BYTES[order] // (PMD if op.startswith("split") else PAGE))
