"""Reading a trace: its header, its page faults as columns, and the other events in their places."""
import gzip
import io
import json
import lzma
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foliosim.replay.events import EventError, check_event, check_header
from foliosim.replay.scan import scan_lines
from foliosim.whole import read_whole


_EXPANDED, _RATIO = 64 << 20, 200    # bytes that compressed data may expand to: so many, and so many times its size


class TraceError(ValueError):
    """A trace or truth that cannot be read; the message names the file, the line and the reason."""

    def __init__(self, path, line, reason):
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {reason}")
        self.path, self.line, self.reason = path, line, reason


@dataclass(eq=False)
class Trace:
    """What the kernel saw of a program's memory.

    Attributes
    ----------
    path : Path
    header : dict
        The first line.
    time, pid, tid, address, flags : numpy.ndarray
        Columns of the page faults, one element each: ns, process, thread, bytes, bits (1 write, 2 instruction fetch,
        4 a page was present, 8 kernel mode).
    events : list of list
        The other events, in order, as the file has them.
    before : numpy.ndarray of int64
        Number of faults before each of them.
    lines : numpy.ndarray of int64
        Line of each of them in the file.
    """

    path: Path
    header: dict
    time: np.ndarray
    pid: np.ndarray
    tid: np.ndarray
    address: np.ndarray
    flags: np.ndarray
    events: list
    before: np.ndarray
    lines: np.ndarray

    def __len__(self):
        return len(self.events) + len(self.time)

    def without(self, faults):
        """The same trace without some faults: an array of bool, True for those that go."""
        if not faults.any():
            return self
        gone = np.concatenate([[0], np.cumsum(faults)])
        columns = {name: getattr(self, name)[~faults] for name in ("time", "pid", "tid", "address", "flags")}
        return replace(self, **columns, before=self.before - gone[self.before])


def read_text(path):
    """The bytes of a file that may be compressed with xz or gzip.

    Raises
    ------
    TraceError
        The file cannot be read, or its compressed data is damaged or cut off.
    """
    path = Path(path)
    try:
        return expanded(path, read_whole(path))
    except OSError as error:
        raise TraceError(path, 0, error.strerror or str(error)) from None


def expanded(path, data):
    """What `data`, the content of a file, is without the compression of xz or gzip; `TraceError` if it is damaged."""
    try:
        if data.startswith(b"\xfd7zXZ\x00"):
            return _bounded(path, lzma.open(io.BytesIO(data)), len(data))
        return _bounded(path, gzip.open(io.BytesIO(data)), len(data)) if data.startswith(b"\x1f\x8b") else data
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise TraceError(path, 0, f"compressed data is damaged or cut off: {error}") from None


def _bounded(path, file, size):
    most = _EXPANDED + _RATIO * size
    with file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TraceError(path, 0, f"{size:,} bytes that expand to more than {most:,}: no text is like that")
    return data


def read_json(path, text, line=0):
    """One JSON value; `TraceError` if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(path, line, f"not JSON: {error}") from None


def read_trace(path):
    """Read a trace, whole.

    Parameters
    ----------
    path : path
        JSON lines, plain or compressed with xz or gzip.

    Returns
    -------
    Trace

    Raises
    ------
    TraceError
        The file cannot be read, or a line is not what the format says.
    """
    return parse_trace(Path(path), read_text(path))


def parse_trace(path, data):
    """The trace that a file's content, not compressed, is.  Errors: those of `read_trace`."""
    first = data.find(b"\n")
    first = len(data) if first < 0 else first
    header = read_json(path, data[:first], 1)
    text = np.frombuffer(data, np.uint8)
    columns, others = scan_lines(text, min(first + 1, len(data)))
    events = _events(path, data, others)
    try:
        check_header(header)
    except EventError as error:
        raise TraceError(path, 1, error) from None
    trace = Trace(path, header, *columns, events, others[:, 2].copy(), others[:, 3] + 2)
    if len(trace) != header["events"]:
        raise TraceError(path, len(trace) + 1, f"{len(trace):,} events, but the header announces "
                                               f"{header['events']:,}: the file is cut off or was changed")
    return trace


def _events(path, data, others):
    events = []
    for start, end, _, line in others.tolist():
        event = read_json(path, data[start:end], line + 2)
        try:
            check_event(event)
        except EventError as error:
            raise TraceError(path, line + 2, error) from None
        events.append(event)
    return events
