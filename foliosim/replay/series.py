"""What a machine looked like in the course of a replay: one row of numbers for each look."""

import numpy as np

from foliosim import whole

# Column to the name in the ledger.
LEDGER = {
    "rss_bytes": "acct.Rss", "anon_bytes": "acct.AnonPages", "huge_bytes": "acct.AnonHugePages",
    "cow_bytes": "cow_bytes", "bloat_bytes": "bloat_bytes", "stranded_bytes": "stranded_bytes",
    "tlb_entries": "tlb_entries.plain", "pt_bytes": "pt_bytes", "splits": "splits.ok", "pmd_splits": "pmd_splits",
}
COLUMNS = ("time_ns", "why", "pid", "processes", "faults", "used_bytes", *LEDGER)
SAMPLES = 100  # looks between snapshots, if nothing else is said


def moments(trace, number):
    """So many moments of a trace, ns, evenly from its first event to its last."""
    times = np.concatenate([trace.time.astype(np.int64), [event[1] for event in trace.events]])
    if not number or not len(times):
        return []
    return np.linspace(times.min(), times.max(), number + 1)[1:].astype(np.int64).tolist()


class Series:
    """Rows of `COLUMNS`: one for each look at the machine.

    ``why`` and ``pid`` are those of the snapshot at which the look was taken; between snapshots they are empty.

    Parameters
    ----------
    replay : Replay

    Attributes
    ----------
    rows : list of list
    """

    def __init__(self, replay):
        self.replay = replay
        self.rows = []

    def __call__(self, event=None):
        """Look at the machine; at a snapshot, with its event."""
        machine = self.replay.machine
        ledger = machine.ledger()
        why, pid = (event[5], event[2]) if event else ("", "")
        self.rows.append([self.replay.now, why, pid, len(machine.processes()), machine.vmstat()["pgfault"],
                          machine.usage, *(ledger[name] for name in LEDGER.values())])


def column(rows, name):
    """One column of rows."""
    at = COLUMNS.index(name)
    return [row[at] for row in rows]


def summary(rows):
    """What a run comes to: peaks of what goes up and down, totals of what is counted.

    Parameters
    ----------
    rows : list of list

    Returns
    -------
    dict of str to int
    """
    peaks = {f"peak_{name}": max(column(rows, name), default=0)
             for name in ("rss_bytes", "used_bytes", "bloat_bytes", "tlb_entries", "pt_bytes", "stranded_bytes")}
    totals = {name: max(column(rows, name), default=0) for name in ("faults", "cow_bytes", "splits", "pmd_splits")}
    return {**peaks, **totals}


def write_csv(rows, path):
    """Write the rows with a line of names."""
    whole.write_csv(path, COLUMNS, rows)
