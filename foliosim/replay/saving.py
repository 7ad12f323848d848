"""A program that forks a child which saves a snapshot, from its trace: what the study bgsave asks about.

The first child that shares no memory and does not execute a program is the one that saves.
"""
import numpy as np

from foliosim.replay.engine import Replay
from foliosim.replay.reader import read_trace
from foliosim.replay.setting import machine_of, setting_of
from foliosim.study.scene import block_of, used_bytes

_WRITE = 1
_LOOK_EVERY = 64  # faults
_CLONE_VM = 0x100


class NoSave(ValueError):
    """The trace has no fork of a child that saves."""


class Saving(Replay):
    """A replay that looks at the time between a fork and the child's exit.

    Attributes
    ----------
    metrics : dict
        Empty until the child has exited.
    """

    def __init__(self, trace, machine, **options):
        super().__init__(trace, machine, **options)
        self._executing = {event[2] for event in trace.events if event[0] == "X"}
        self._parent = self._child = None
        self.metrics, self._pages = {}, set()
        self._largest = self._peak = self._writes = 0

    def _fork(self, event):
        super()._fork(event)
        child, flags = event[4], event[6]
        if self._child is None and child in self.spaces and not flags & _CLONE_VM and child not in self._executing:
            self._parent, self._child = event[2], child
            self._before = self.machine.ledger()
            self._peak = used_bytes(self._before)

    def _touch(self, start, stop):
        if self._child is None or self.metrics:
            super()._touch(start, stop)
            return
        trace, page = self.trace, self.machine.page_size
        mine = (trace.pid[start:stop] == self._parent) & ((trace.flags[start:stop] & _WRITE) != 0)
        self._writes += int(mine.sum())
        self._pages.update((trace.address[start:stop][mine] // np.uint64(page)).tolist())
        copied = self.machine.vmstat()["cow_bytes"]
        for at in range(start, stop):
            super()._touch(at, at + 1)
            now = self.machine.vmstat()["cow_bytes"]
            self._largest, copied = max(self._largest, now - copied), now
            if at % _LOOK_EVERY == 0 or at == stop - 1:
                self._peak = max(self._peak, used_bytes(self.machine.ledger()))

    def _exit(self, event):
        ends = event[2] == self._child and event[4] and not self.metrics
        entries = self._entries() if ends else 0
        super()._exit(event)
        if ends:
            now = self.machine.ledger()
            counted = now - self._before
            self.metrics = {
                **counted, "rss_bytes": now["acct.Rss"], "used_bytes": used_bytes(now), "peak_bytes": self._peak,
                "oom": 0, "written_bytes": len(self._pages) * self.machine.page_size,
                "largest_copy_bytes": self._largest, "parent_tlb_entries": entries,
                "faults_per_1000_writes": 1000 * counted["faults.cow"] / self._writes if self._writes else 0.0,
                "writes": self._writes}

    def _entries(self):
        """TLB entries of the parent's anonymous memory: one for each page or PMD leaf."""
        process, page = self.spaces[self._parent].process, self.machine.page_size
        smaps = process.smaps()
        anonymous, huge = (int(smaps[name].sum()) << 10 for name in ("Anonymous", "AnonHugePages"))
        return huge // block_of(page) + (anonymous - huge) // page


def save_of_trace(path, policy, thp, mthp, **machine):
    """Replay a trace up to its end, and measure its save.

    Parameters
    ----------
    path : path
    policy : dict
    thp : str
        THP mode.
    mthp : dict
        Folio size to mode.
    **machine
        ``arch`` and ``page_size``, if not as recorded.

    Returns
    -------
    dict
        Metrics, as those of the study bgsave; ``writes``: recorded stores of the parent that raised a fault then.

    Raises
    ------
    TraceError
        The trace cannot be read.
    NoSave
        It has no such fork.
    """
    trace = read_trace(path)
    machine = machine_of(trace.header, setting_of(policy=policy, thp=thp, mthp=mthp, **machine))
    replay = Saving(trace, machine, thp_is_recorded=False)
    try:
        replay.run()
        machine.validate()
    finally:
        replay.close()
    if not replay.metrics:
        raise NoSave(f"{path}: no fork of a child that saves and exits is in this trace")
    return replay.metrics
