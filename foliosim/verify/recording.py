"""Reads recorded scenarios and checks that they have the recorded format, so that nothing later has to."""
import gzip
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from foliosim.verify import numbers

SUFFIXES = (".jsonl", ".jsonl.gz")
LONGEST = 1 << 26    # bytes of a line
PAGE_SIZES = (4096, 16384, 65536)


class RecordingError(Exception):
    """A file is broken; the text is one line, "file:line: reason"."""

    def __init__(self, path, line, reason):
        super().__init__(path, line, reason)
        self.path, self.line, self.reason = path, line, reason

    def __str__(self):
        return f"{self.path}:{self.line}: {self.reason}"


class FormatError(ValueError):
    """A scenario does not have the recorded format."""


@dataclass(frozen=True)
class Scenario:
    """One checked line of a recording."""

    id: str
    tags: tuple
    machine: dict
    steps: list
    expect: list

    @property
    def theme(self):
        """Generator of a random walk; else "entries" or "directed", which are written by hand."""
        if "random" in self.tags:
            return next((tag for tag in self.tags if tag not in ("random", "entries")), "random")
        return "entries" if "entries" in self.tags else "directed"

    @property
    def page_size(self):
        """Bytes of a page; 4096 unless the machine says otherwise."""
        return self.machine.get("page_size", numbers.PAGE_SIZE)

    @property
    def noisy(self):
        """Do other processes of the recorded machine get large folios too?  Then counters are masked."""
        return self.machine["thp_enabled"] == "always" or "always" in self.machine["mthp"].values()


# ---- files ----

def find_files(paths):
    """Files of the given files and folders, folders searched to any depth.

    Raises
    ------
    RecordingError
        A path does not exist, has another suffix, or a folder holds no recording.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.jsonl*") if p.is_file() and p.name.endswith(SUFFIXES))
            if not inside:
                raise RecordingError(path, 0, "no .jsonl or .jsonl.gz file in this folder")
            found += inside
        elif not path.exists():
            raise RecordingError(path, 0, "no such file or folder")
        elif not path.name.endswith(SUFFIXES):
            raise RecordingError(path, 0, "not a .jsonl or .jsonl.gz file")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def read_lines(path):
    """Yield (line number, bytes of the line, share of the file read) of every scenario of a file."""
    number = 0
    try:
        path = os.fspath(path)
        size = max(os.path.getsize(path), 1)
        with open(path, "rb") as raw, (gzip.GzipFile(fileobj=raw) if str(path).endswith(".gz") else raw) as lines:
            while line := lines.readline(LONGEST + 1):
                number += 1
                _need(len(line) <= LONGEST, f"a line of more than {LONGEST:,} bytes")
                if line.strip():
                    yield number, line, min(raw.tell() / size, 1.0)
    except EOFError:
        raise RecordingError(path, number + 1, "truncated: the compressed data ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise RecordingError(path, number + 1, f"broken compressed data: {error}") from None
    except FormatError as error:
        raise RecordingError(path, number, str(error)) from None
    except OSError as error:
        raise RecordingError(path, number + 1, error.strerror or str(error)) from None


def parse(path, number, line):
    """The scenario of one line.

    Raises
    ------
    RecordingError
        The line is no JSON or does not have the recorded format.
    """
    try:
        return scenario_of(json.loads(line))
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else " (the file seems truncated)"
        raise RecordingError(path, number, f"not JSON: {error.msg} at column {error.colno}{cut}") from None
    except UnicodeDecodeError:
        raise RecordingError(path, number, "not UTF-8 text") from None
    except RecursionError:
        raise RecordingError(path, number, "not JSON: nested too deeply") from None
    except FormatError as error:
        raise RecordingError(path, number, str(error)) from None
    except ValueError:
        raise RecordingError(path, number, "not JSON: a number of too many digits") from None


def read(path):
    """Yield the scenarios of a file."""
    for number, line, _ in read_lines(path):
        yield parse(path, number, line)


# ---- format ----

def _need(condition, reason):
    if not condition:
        raise FormatError(reason)


def _is_int(value):
    return type(value) is int


def _is_hex(value):
    if type(value) is not str or not value.startswith("0x"):
        return False
    try:
        int(value, 16)
    except ValueError:
        return False
    return True


def _is_names(value):
    return type(value) is list and all(type(name) is str for name in value)


def _get(where, obj, key, kind):
    _need(key in obj, f"{where}: {key!r} is missing")
    value = obj[key]
    _need(type(value) is kind, f"{where}: {key!r} is {value!r:.60}, not {kind.__name__}")
    return value


def scenario_of(obj):
    """Check a decoded line and wrap it; raises FormatError."""
    _need(type(obj) is dict, "not a JSON object")
    name = _get("scenario", obj, "id", str)
    where = f"scenario {name}"
    tags = _get(where, obj, "tags", list)
    _need(_is_names(tags), f"{where}: 'tags' holds something else than text")
    machine = _get(where, obj, "machine", dict)
    for key, kind in (("arch", str), ("thp_enabled", str), ("mthp", dict)):
        _get(f"{where}: machine", machine, key, kind)
    _need(machine.get("page_size", numbers.PAGE_SIZE) in PAGE_SIZES,
          f"{where}: machine: 'page_size' is {machine.get('page_size')!r:.60}, not one of {PAGE_SIZES}")
    steps, expect = _get(where, obj, "steps", list), _get(where, obj, "expect", list)
    _need(len(steps) == len(expect), f"{where}: {len(steps)} steps but {len(expect)} expected results")
    for number, (step, entry) in enumerate(zip(steps, expect)):
        check_step(f"{where}: step {number}", step)
        check_expect(f"{where}: expect {number}", entry)
    _check_processes(where, steps)
    return Scenario(name, tuple(tags), machine, steps, expect)


def _check_processes(where, steps):
    # Every step belongs to a process that lives.
    alive = {"p0"}
    for number, step in enumerate(steps):
        _need(step["proc"] in alive, f"{where}: step {number}: no process {step['proc']} lives")
        if step["op"] == "fork":
            _need(step["child"] not in alive, f"{where}: step {number}: {step['child']} lives already")
            alive.add(step["child"])
        elif step["op"] == "exit":
            alive.remove(step["proc"])


def _is_prot(value):
    return value in numbers.PROT if type(value) is str else False


def _is_advice(value):
    return _is_int(value) or (type(value) is str and value in numbers.MADV)


def _names_of(table):
    return lambda value: _is_names(value) and all(name in table for name in value)


def _is_slot(value):
    return type(value) is str and value[1:].isdecimal() and value[:1].isalpha()


def _is_text(value):
    return type(value) is str


_RANGE = {"addr": _is_hex, "length": _is_int}
_ACCESS = {**_RANGE, "stride?": _is_int, "offset?": _is_int}
# Arguments of each op; a question mark means that there is a default.
STEPS = {
    "mmap": {**_RANGE, "prot": _is_prot, "flags": _names_of(numbers.MAP), "file?": _is_slot, "offset?": _is_int},
    "munmap": _RANGE,
    "mprotect": {**_RANGE, "prot": _is_prot},
    "madvise": {**_RANGE, "advice": _is_advice},
    "mlock": _RANGE,
    "munlock": _RANGE,
    "mlock2": {**_RANGE, "flags": _names_of(numbers.MLOCK)},
    "mremap": {"addr": _is_hex, "old_length": _is_int, "new_length": _is_int, "flags": _names_of(numbers.MREMAP),
               "new_addr?": _is_hex},
    "msync": {**_RANGE, "flags": _names_of(numbers.MSYNC)},
    "mseal": _RANGE,
    "mincore": _RANGE,
    "write": {**_ACCESS, "value": _is_int, "delta?": _is_int},
    "read": _ACCESS,
    "fork": {"child": _is_slot},
    "exit": {},
    "get": {"id": _is_slot, **_RANGE},
    "peek": {"id": _is_slot},
    "put": {"id": _is_slot},
    "pin": {"id": _is_slot, **_RANGE},
    "unpin": {"id": _is_slot},
    "file": {"file": _is_slot, "kind": _is_text, "length": _is_int, "fill?": _is_int},
    "ftruncate": {"file": _is_slot, "length": _is_int},
    "punch": {"file": _is_slot, "offset": _is_int, "length": _is_int},
    "clear_refs": {"value": _is_int},
    "thp_disable": {"value": _is_int, "flags?": _is_int},
}


def check_step(where, step):
    """Check the arguments of a step.  An op that is not in the table is not checked: the engine refuses it."""
    _need(type(step) is dict, f"{where}: not a JSON object")
    op = _get(where, step, "op", str)
    _need(_is_slot(_get(where, step, "proc", str)), f"{where}: proc is {step['proc']!r:.60}, not p0, p1, ...")
    for key, is_right in STEPS.get(op, {}).items():
        name = key.rstrip("?")
        if name in step:
            _need(is_right(step[name]), f"{where} ({op}): {name!r} is {step[name]!r:.60}")
        else:
            _need(key != name, f"{where} ({op}): {name!r} is missing")
    _need(step.get("stride", 1) > 0, f"{where} ({op}): 'stride' is {step.get('stride')!r}")


_EXPECT = {"ret", "errno", "signal", "code", "addr", "data", "vmstat", "mthp_stats", "state"}
_PROC = {"vmas", "pages", "changed", "locked_kb", "pgtable_kb", "entries", "tables"}
_VMA = {"start", "end", "perms", "file", "offset", "smaps", "flags"}


def _known(where, obj, known):
    if not obj.keys() <= known:
        raise FormatError(f"{where}: unknown field {min(obj.keys() - known)!r}")


def _ints(where, obj):
    _need(type(obj) is dict, f"{where}: not a JSON object")
    for key, value in obj.items():
        _need(_is_int(value), f"{where}: {key!r} is {value!r:.60}, not an integer")


def _runs(where, runs, right):
    _need(type(runs) is list, f"{where}: not a list of runs")
    for run in runs:
        if type(run) is not list or not right(run):
            raise FormatError(f"{where}: {run!r:.80} is not a run")


def _count(value):
    return type(value) is int and 0 < value <= 1 << 24


def _data_run(run):
    return len(run) == 3 and _is_int(run[0]) and _count(run[1]) and _is_int(run[2])


def _page_run(run):
    return (len(run) == 5 and _is_hex(run[0]) and _count(run[1]) and _is_hex(run[2])
            and (run[3] is None or _is_int(run[3])) and _is_int(run[4]))


def _changed_run(run):
    return len(run) == 2 and _is_hex(run[0]) and _count(run[1])


def _frame_run(run):
    return len(run) == 4 and _is_int(run[0]) and _count(run[1]) and _is_hex(run[2]) and _is_int(run[3])


def _entry_run(run):
    return len(run) == 4 and _is_hex(run[0]) and run[1] in (1, 2) and _count(run[2]) and _is_hex(run[3])


def check_expect(where, entry):
    """Check an expected result and observation."""
    _need(type(entry) is dict, f"{where}: not a JSON object")
    _known(where, entry, _EXPECT)
    kinds = [key for key in ("ret", "errno", "signal") if key in entry]
    _need(len(kinds) == 1, f"{where}: needs one of ret, errno, signal and has {kinds or 'none'}")
    if "ret" in entry:
        _need(_is_int(entry["ret"]) or _is_hex(entry["ret"]), f"{where}: 'ret' is {entry['ret']!r:.60}")
    elif "errno" in entry:
        _get(where, entry, "errno", str)
    else:
        _get(where, entry, "signal", str)
        _get(where, entry, "code", str)
        _need(_is_hex(entry.get("addr")), f"{where}: 'addr' of the signal is {entry.get('addr')!r:.60}")
    _runs(f"{where}: data", entry.get("data", []), _data_run)
    _ints(f"{where}: vmstat", entry.get("vmstat", {}))
    for size, counters in _get(where, {"mthp_stats": {}, **entry}, "mthp_stats", dict).items():
        _ints(f"{where}: mthp_stats {size}", counters)
    state = _get(where, entry, "state", dict)
    _known(f"{where}: state", state, {"procs", "frames"})
    for name, proc in _get(f"{where}: state", state, "procs", dict).items():
        _check_proc(f"{where}: {name}", proc)
    _runs(f"{where}: frames", _get(f"{where}: state", state, "frames", list), _frame_run)


def _check_proc(where, proc):
    _need(type(proc) is dict, f"{where}: not a JSON object")
    _known(where, proc, _PROC)
    for vma in _get(where, proc, "vmas", list):
        _check_vma(f"{where}: vmas", vma)
    _runs(f"{where}: pages", _get(where, proc, "pages", list), _page_run)
    _runs(f"{where}: changed", _get(where, proc, "changed", list), _changed_run)
    _get(where, proc, "locked_kb", int)
    _get(where, proc, "pgtable_kb", int)
    _runs(f"{where}: entries", proc.get("entries", []), _entry_run)
    _ints(f"{where}: tables", proc.get("tables", {}))


def _check_vma(where, vma):
    _need(type(vma) is dict, f"{where}: an area is not a JSON object")
    _known(where, vma, _VMA)
    for key in ("start", "end"):
        _need(_is_hex(vma.get(key)), f"{where}: {key!r} is {vma.get(key)!r:.60}")
    where = f"{where}: area {vma['start']}"
    _get(where, vma, "perms", str)
    _get(where, {"file": "", **vma}, "file", str)
    _get(where, {"offset": 0, **vma}, "offset", int)
    _ints(f"{where}: smaps", _get(where, vma, "smaps", dict))
    _need(_is_names(_get(where, vma, "flags", list)), f"{where}: 'flags' holds something else than text")
