"""/proc/kpageflags and /proc/kpagecount: one 64-bit word per frame.  Follows fs/proc/page.c."""

def kpageflags(machine, first=0, count=None):
    """Words of /proc/kpageflags.

    Parameters
    ----------
    machine : Machine
    first : int
        Frame number of the first word.
    count : int, optional
        How many; all by default.

    Returns
    -------
    numpy.ndarray of uint64
        Fewer than wanted at the end of the memory.
    """
    return machine.core.procfs.kpageflags(machine, first, _clip(machine, first, count))


def kpagecount(machine, first=0, count=None):
    """Words of /proc/kpagecount; see `kpageflags`."""
    return machine.core.procfs.kpagecount(machine, first, _clip(machine, first, count))


def _clip(machine, first, count):
    total, _ = machine.core.procfs.frames(machine)
    if first < 0 or (count is not None and count < 0):
        raise ValueError(f"frames {first}, {count}: must not be negative")
    left = max(0, total - first)
    return left if count is None else min(count, left)
