"""A run in a file: what ``foliosim replay`` writes and ``foliosim compare`` reads."""
from dataclasses import dataclass

from foliosim.plain import plain
from foliosim.replay.reader import TraceError, read_json, read_text
from foliosim.replay.series import COLUMNS
from foliosim.whole import write_json

FORMAT, VERSION = "foliosim-run", 1
NAME = "run.json"  # in a folder
_PARTS = {"trace": dict, "setting": dict, "metrics": dict, "samples": list, "stopped": str}


@dataclass(frozen=True, eq=False)
class RunFile:
    """A run that was read.

    Attributes
    ----------
    label : str
        What sets it apart, in tables and pictures.
    trace, setting, metrics : dict
        The trace's name, mode and events; preset, policy, thp, mthp, limit; counters.
    samples : list of list
        Rows of `COLUMNS`.
    stopped : str
        Why it ended before its end; empty: it did not.
    """

    label: str
    trace: dict
    setting: dict
    metrics: dict
    samples: list
    stopped: str = ""


def label_of(trace, setting):
    """A name for a run: its trace, and what was asked to be otherwise."""
    asked = [f"{name}={value}" for name, value in setting.items() if value not in (None, {}, "") and name != "policy"
             and not (name == "preset" and value == "linux-6.18")]
    asked += [f"{point}={choice}" for point, choice in setting.get("policy", {}).items()]
    return " ".join([f"{trace['name']}/{trace['mode']}", *asked])


def name_of(trace):
    """What a trace is called."""
    return plain(trace.header.get("name") or trace.path.name)


def about(trace):
    """What a run's file says of its trace."""
    return {"name": name_of(trace), "mode": trace.header["mode"], "events": len(trace)}


def as_dict(trace, setting, result):
    """A run as JSON holds it.

    Parameters
    ----------
    trace : Trace
    setting : dict
    result : Result
        With a series.

    Returns
    -------
    dict
    """
    of = about(trace)
    return envelope(of, result.series.rows) | {
        "label": label_of(of, setting), "setting": setting, "metrics": result.metrics, "stopped": result.stopped,
        "odd": {kind: dict(counter) for kind, counter in result.replay.odd.items()}}


def envelope(trace, rows):
    """What every run's file has: of which trace it is, and its rows."""
    return {"format": FORMAT, "version": VERSION, "trace": trace, "columns": COLUMNS, "samples": rows}


def write(data, path):
    """Write what `as_dict` gave."""
    write_json(path, data)


def read(path):
    """Read a run.

    Parameters
    ----------
    path : pathlib.Path
        A file, or a folder that ``foliosim replay --out`` has made.

    Returns
    -------
    RunFile

    Raises
    ------
    TraceError
        It cannot be read, or is not such a file.
    """
    path = path / NAME if path.is_dir() else path
    data = read_json(path, read_text(path))
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TraceError(path, 0, f"not a run: no object with format {FORMAT!r} (foliosim replay --json writes one)")
    if data.get("version") != VERSION:
        raise TraceError(path, 0, f"version {data.get('version')!r}: this foliosim reads version {VERSION}")
    for name, kind in _PARTS.items():
        if not isinstance(data.get(name), kind):
            raise TraceError(path, 0, f"damaged: {name} is missing or of another type than {kind.__name__}")
    for number, row in enumerate(data["samples"]):
        if not _is_row(row):
            raise TraceError(path, 0, f"damaged: sample {number} is no row of {len(COLUMNS)} numbers")
    data["stopped"] = plain(data["stopped"])
    return RunFile(plain(data.get("label", path)), *(data[name] for name in _PARTS))


def _is_row(row):
    if not isinstance(row, list) or len(row) != len(COLUMNS):
        return False
    return all(isinstance(value, str | int) if name in ("why", "pid") else type(value) is int and value >= 0
               for name, value in zip(COLUMNS, row))
