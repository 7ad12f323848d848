"""What the kernel said about the processes of a trace at its snapshots."""
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foliosim.replay.reader import TraceError, read_json, read_text

FORMAT, VERSION = "foliosim-truth", 1
PRESENT, SWAPPED, EXCLUSIVE, FILE, ANON, HEAD, TAIL, THP, ZERO, MLOCKED, HUGETLB, KSM = (1 << bit for bit in range(12))
_PAGE = 4096
_MOST_PAGES = 1 << 24    # of an area: 64 GiB
_AREA = {"start": int, "end": int, "perms": str, "offset": int, "VmFlags": str, "name": str}


@dataclass(eq=False)
class Truth:
    """The truth of a trace.

    Attributes
    ----------
    path : Path
    snapshots : list of dict
        As in the file, in order: ``t``, ``why``, ``pid``, ``procs``.
    """

    path: Path
    snapshots: list

    def loaded(self, pid, number):
        """What the number-th execve of a process has built, as `Loaded`; None: the truth does not say it."""
        seen = 0
        for snapshot in self.snapshots:
            if snapshot["why"] != "exec" or snapshot["pid"] != pid:
                continue
            if seen == number:
                return _loaded(snapshot["procs"].get(str(pid), {}))
            seen += 1
        return None


@dataclass
class Loaded:
    """A program that has just been loaded.

    Attributes
    ----------
    arguments : int
        Pages in a row at the top of the stack that arguments and environment fill.  Those below were written by faults,
        which are in the trace.
    ends : dict of int to int
        Areas: start to end.
    """

    arguments: int = 1
    ends: dict = field(default_factory=dict)


def _loaded(process):
    areas = process.get("smaps", ())
    stack = [area for area in areas if area["name"] == "[stack]"]
    return Loaded(_run_at_end(stack[0]) if stack else 1, {area["start"]: area["end"] for area in areas})


def _run_at_end(area):
    at, words = words_of(area)
    below = (area["end"] - area["start"]) // _PAGE - 1 - at[words & PRESENT != 0][::-1]
    return int((below == np.arange(len(below))).sum())


def read_truth(path):
    """Read a truth.

    Parameters
    ----------
    path : path
        JSON, plain or compressed with xz or gzip.

    Returns
    -------
    Truth

    Raises
    ------
    TraceError
        The file cannot be read, or is not what the format says.
    """
    path = Path(path)
    data = read_json(path, read_text(path))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TraceError(path, 0, f"not a truth: no object with format {FORMAT!r}")
    if data.get("version") != VERSION:
        raise TraceError(path, 0, f"version {data.get('version')!r}: this foliosim reads version {VERSION}")
    snapshots = data.get("snapshots")
    if not isinstance(snapshots, list):
        raise TraceError(path, 0, "no list of snapshots")
    for number, snapshot in enumerate(snapshots):
        reason = _fault_of(snapshot)
        if reason:
            raise TraceError(path, 0, f"snapshot {number}: {reason}")
    return Truth(path, snapshots)


def _fault_of(snapshot):
    # why a snapshot is not what the format says; None: it is
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("procs"), dict):
        return "no object with procs"
    if not isinstance(snapshot.get("why"), str) or not isinstance(snapshot.get("pid"), int):
        return "why or pid is missing"
    for pid, process in snapshot["procs"].items():
        if not pid.isdecimal() or not isinstance(process, dict):
            return f"process {pid!r}: no number, or no object"
        if not isinstance(process.get("smaps", []), list) or not isinstance(process.get("status", {}), dict):
            return f"process {pid}: smaps or status has the wrong type"
        for area in process.get("smaps", []):
            if not isinstance(area, dict) or not all(isinstance(area.get(name), kind) for name, kind in _AREA.items()):
                return f"process {pid}: an area without {', '.join(_AREA)}"
            if not isinstance(area.get("pages", []), list) or not all(_is_run(run) for run in area.get("pages", [])):
                return f"process {pid}: area {area['start']:#x} has pages that are no runs"
            if sum(run[1] for run in area.get("pages", [])) > _MOST_PAGES:
                return f"process {pid}: area {area['start']:#x} has more than {_MOST_PAGES:,} pages"
    return None


def _is_run(run):
    return isinstance(run, list) and len(run) == 3 and all(type(value) is int and 0 <= value < 1 << 52 for value in run)


def words_of(area):
    """The page words of an area of a truth.

    Returns
    -------
    (page, word) : numpy.ndarray of int64
        Page relative to the area's start, ascending, and its word without the bit for KSM.
    """
    runs = np.array(area.get("pages", []), np.int64).reshape(-1, 3)
    starts, counts, words = runs.T
    offset = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) if len(runs) else runs[:, 0]
    return offset + np.arange(counts.sum()), np.repeat(words, counts) & ~np.int64(KSM)
