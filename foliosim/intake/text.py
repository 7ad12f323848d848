"""From a text to a trace."""
from foliosim.intake import write
from foliosim.intake.events import Events
from foliosim.intake.lines import Complaints
from foliosim.intake.perf import PerfText
from foliosim.intake.strace import StraceText
from foliosim.replay.reader import TraceError, read_text

_LONGEST = 1 << 16
READERS = {"perf": PerfText, "strace": StraceText}
_WHAT = {"perf": "text of perf script", "strace": "text of strace -f -ttt"}
_BINARY = {b"PERFILE2": "this is perf's binary recording: give the text that `perf script` makes of it",
           b"\x7fELF": "this is a program"}


def read(kind, path):
    """Read a text.

    Parameters
    ----------
    kind : {"perf", "strace"}
    path : pathlib.Path
        Plain or compressed with xz or gzip.

    Returns
    -------
    (Events, Complaints, list of str)
        Events; lines that could not be used; arguments of the program, as far as the text has them.

    Raises
    ------
    TraceError
        The file cannot be read, or is no such text.
    """
    data = read_text(path)
    for magic, what in _BINARY.items():
        if data.startswith(magic):
            raise TraceError(path, 0, what)
    events, complaints = Events(), Complaints()
    reader = READERS[kind](events, complaints)
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        if len(text) > _LONGEST:
            complaints.add(number, f"longer than {_LONGEST:,} characters", text)
        elif "\0" in text:
            complaints.add(number, "binary data", repr(text[:40]))
        else:
            reader.line(number, text)
    reader.finish()
    if not len(events):
        first = f"; {complaints.named[0]}" if complaints.named else ""
        raise TraceError(path, 0, f"no event of memory in it: it is no {_WHAT[kind]}{first}")
    return events, complaints, getattr(reader, "program", [])


def trace_of(events, program, facts, *, name, mode=None):
    """The header and the events of a trace.

    Parameters
    ----------
    events : Events
    program : list of str
    facts : dict
        What the text does not say; see `write.FACTS`.
    name : str
    mode : str, optional
        Left out: as the facts are.

    Returns
    -------
    (dict, list of list)
    """
    ordered = events.finish()
    paths = [event[4] for event in ordered if event[0] == "X"]
    mode = mode or facts.get("mode") or write.mode_of(facts)
    return write.header_of(ordered, events, facts, name=name, program=program or paths[:1], mode=mode), ordered
