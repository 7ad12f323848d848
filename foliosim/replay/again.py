"""Page faults that the kernel gave up, and that were taken again."""
import numpy as np

from foliosim.replay.events import FAULT_KERNEL, FAULT_PRESENT

_OF_A_RANGE = {"munmap", "mmap", "mremap", "madvise", "mprotect", "pkey_mprotect"}


def given_up(trace):
    """Faults that have mapped nothing, and that the kernel did not count.

    A fault is raised again if a signal came while it waited for a page, and one that must not sleep (of a futex, or
    inside a copy) is given up first, and then taken.  So it is one whose thread does nothing before it faults on the
    same page again and finds it as before, while nobody took the page or its rights away.  In user mode two stores to
    a page that may not be written can both have been answered: the kernel writes files back by itself.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    numpy.ndarray of bool
        One element for each fault of the trace.
    """
    out = np.zeros(len(trace.time), bool)
    order = np.argsort(trace.tid, kind="stable")
    tid, page = trace.tid[order], trace.address[order] // np.uint64(trace.header["page_size"])
    flags = trace.flags[order]
    missing, in_kernel = (flags & FAULT_PRESENT) == 0, (flags & FAULT_KERNEL) != 0
    twice = (tid[1:] == tid[:-1]) & (page[1:] == page[:-1]) & (missing[1:] == missing[:-1])
    twice &= missing[1:] | in_kernel[1:] & in_kernel[:-1]
    for first, second in zip(order[:-1][twice].tolist(), order[1:][twice].tolist()):
        out[first] = not any(_comes_between(trace, first, event) for event in _between(trace, first, second))
    return out


def _between(trace, first, second):
    low, high = np.searchsorted(trace.before, first + 1), np.searchsorted(trace.before, second, "right")
    return trace.events[low:high]


def _comes_between(trace, fault, event):
    """Does an event show that the fault was over, or take its page away?"""
    if event[0] == "S" or event[2] != trace.pid[fault]:
        return False
    if event[3] == trace.tid[fault] or event[0] == "X":
        return True
    if event[0] == "F":
        return trace.flags[fault] & FAULT_PRESENT != 0 and event[4] != event[2]
    return event[0] == "c" and event[4] in _OF_A_RANGE and event[6][0] <= trace.address[fault] < sum(event[6][:2])
