"""One replay from beginning to end, with a comparison at every snapshot."""
from collections import Counter
from dataclasses import dataclass

from foliosim.replay.compare import OTHER_MODE, SAME_MODE, Comparison, compare_process
from foliosim.replay.engine import Replay, machine_for
from foliosim.replay.reader import TraceError
from foliosim.replay.series import Series, moments


@dataclass(eq=False)
class Result:
    """What a replay gave.

    Attributes
    ----------
    replay : Replay
    comparison : Comparison or None
        None: there was no truth.
    metrics : dict
        Counters of the machine at the end, while what still runs is still there.
    series : Series or None
        None: none was asked for.
    stopped : str
        Why the replay ended before its end; empty: it did not.
    """

    replay: Replay
    comparison: Comparison
    metrics: dict
    series: Series | None = None
    stopped: str = ""


def replay_trace(trace, *, truth=None, machine=None, other_mode=False, progress=None, samples=None):
    """Replay a trace.

    Parameters
    ----------
    trace : Trace
    truth : Truth, optional
        Compared at every snapshot.
    machine : Machine, optional
        Left out: one as the trace was recorded on.
    other_mode : bool
        The machine has another THP mode than the trace was recorded in, and the truth is of that mode: snapshots at the
        exit of processes are compared, in the fields that do not depend on when processes do what.
    progress : callable, optional
        Called with the number of events done.
    samples : int, optional
        Look at the machine this many times, evenly over the trace's time, and at every snapshot.  The replay ends where
        memory does then, instead of raising.

    Returns
    -------
    Result

    Raises
    ------
    TraceError
        The truth is not one of this trace.
    MemoryError
        The machine has no memory left.
    """
    never = trace.header["mode"] == "never" and not other_mode
    replay = Replay(trace, machine or machine_for(trace.header), thp_disabled=never, thp_is_recorded=not other_mode,
                    loaded=truth and truth.loaded)
    judge = _Judge(replay, truth, other_mode) if truth is not None else None
    series, stopped = Series(replay) if samples is not None else None, ""
    try:
        try:
            replay.run(_all_of(judge, series), progress, series, moments(trace, samples or 0))
        except MemoryError as error:
            if series is None:
                raise
            stopped = f"at {replay.now / 1e9:.3f} s: {error}"
        return Result(replay, judge and judge.comparison, _metrics(replay), series, stopped)
    finally:
        replay.close()


def _all_of(*callables):
    given = [one for one in callables if one is not None]
    return lambda event: [one(event) for one in given]


def _metrics(replay):
    names = ("pgfault", "cow_bytes", "thp_fault_alloc", "thp_split_page", "thp_split_pmd")
    vmstat = replay.machine.vmstat()
    return {**{name: vmstat[name] for name in names}, "found_mapped": int(replay.found.sum())}


class _Judge:
    """Compares at each snapshot of a trace."""

    def __init__(self, replay, truth, other_mode):
        self.replay, self.truth, self.other_mode = replay, truth, other_mode
        self.comparison = Comparison(must=OTHER_MODE if other_mode else SAME_MODE)
        self.exits, self.since = Counter(), {}

    def __call__(self, event):
        _, _, pid, _, number, why = event
        if not self.other_mode:
            if number >= len(self.truth.snapshots):
                raise TraceError(self.truth.path, 0, f"no snapshot {number}, which the trace has")
            self._compare(f"snapshot {number} ({why})", self.truth.snapshots[number])
        elif why == "exit":
            exits = [one for one in self.truth.snapshots if one["why"] == "exit" and one["pid"] == pid]
            at = self.exits[pid]
            self.exits[pid] += 1
            if at < len(exits):
                self._compare(f"exit of {pid}", exits[at])
            else:
                self.comparison.left_out[f"exit of {pid} is not in the truth"] += 1

    def _compare(self, where, snapshot):
        self.comparison.snapshots += 1
        for pid, want in sorted(snapshot["procs"].items()):
            space = self.replay.spaces.get(int(pid))
            if "smaps" not in want:
                self.comparison.left_out["process that had no memory any more"] += 1
                continue
            self.comparison.processes += 1
            if space is None:
                self.comparison.check("areas", f"{where}, process {pid}", "no process", "a process")
                continue
            compare_process(self.comparison, f"{where}, process {pid}", space.process, want)
            if not self.other_mode:
                self._compare_faults(f"{where}, process {pid}", int(pid), snapshot, want["status"])

    def _compare_faults(self, where, pid, snapshot, status):
        """Faults since the last execve; one that found its page mapped was counted too, as the kernel took it."""
        if "minflt" not in status or "majflt" not in status:
            return
        number = self.replay.number_of[pid]
        got = int(self.replay.faults[number] + self.replay.found[number])
        want = status["minflt"] + status["majflt"]
        if snapshot["why"] == "exec" and snapshot["pid"] == pid:
            self.since[pid] = got, want
        got_then, want_then = self.since.get(pid, (0, 0))
        self.comparison.check("minflt+majflt", where, got - got_then, want - want_then)
