"""Bad files for every reader: it ends in one line that names the file, the place and the reason, and soon.

``python -m foliosim.testing.fuzz trace --runs 1000000 --from FILE`` changes real files, or its own small ones, at
random;
``--guided`` lets libFuzzer (``atheris``, extra ``fuzz``) look for inputs that reach new lines of the reader.  A finding
is
an exception of another kind, a message of several lines or without the file's name, more than a second, or more memory
than a reader needs.  It is kept in a file, which ``--again FILE`` reads again.
"""
import gzip
import hashlib
import importlib
import inspect
import json
import lzma
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import click

SLOW = 1.0              # seconds of CPU
MEMORY = 512 << 20      # bytes that a reader may take for an input of a few thousand
LONGEST = 6000          # bytes of an input
_WATCHED = ("branch", "costs", "intake.text", "policy.choose", "policy.points", "replay.reader", "replay.runfile",
            "replay.series", "replay.truth", "saved", "schedule.program", "sizes", "study.histogram", "study.sizes",
            "verify.recording")           # modules whose lines --guided sees
_FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Finding(AssertionError):
    """What a reader must not do.

    Attributes
    ----------
    key : tuple
        The same for inputs that do the same.
    """

    def __init__(self, text, *key):
        super().__init__(text)
        self.key = key or (text[:40],)


# ---- readers: what is called with the path of a file, or a text ----

def _recording(path):
    from foliosim.verify import recording

    for _ in recording.read(path):
        pass


def _truth(path):
    from foliosim.replay.truth import read_truth, words_of

    for snapshot in read_truth(path).snapshots:
        for process in snapshot["procs"].values():
            for area in process.get("smaps", []):
                words_of(area)


def _trace(path):
    from foliosim.replay.reader import read_trace

    read_trace(path)


def _imported(kind):
    def read(path):
        from foliosim.intake import text
        from foliosim.intake.write import FACTS

        events, _, program = text.read(kind, Path(path))
        facts = {**dict.fromkeys(FACTS, 0), "kernel": "6.18", "arch": "x86_64", "page_size": 4096, "thp": {}}
        text.trace_of(events, program, facts, name="fuzz")
    return read


def _run(path):
    from foliosim.replay import runfile

    runfile.read(Path(path))


def _machine(path):
    from foliosim import Machine

    Machine.load(path)


def _histogram(path):
    from foliosim.study import histogram

    histogram.load(str(path))


def _costs(path):
    from foliosim import costs

    costs.load(path).time(Counter())


def _program(path):
    from foliosim.schedule import Program, Schedule, ScheduleError

    program = Program.read(path)
    try:
        program.check()
    except ScheduleError:
        pass                # says which step, and `foliosim schedule` says of which file
    Schedule.read(path)


def _policy(text):
    from foliosim.policy import POINTS, choose

    point, _, answer = text.partition("=")
    with mock.patch.object(choose, "installed", dict):      # the packages that are here need not be read each time
        choose.choices({point: answer} if answer else text)
    for one in POINTS.values():
        try:
            one.parse(answer or text)
        except ValueError:
            pass


def _size(text):
    from foliosim.sizes import parse_size
    from foliosim.study.sizes import sizes_of, sizes_value

    try:
        parse_size(text)
    except ValueError:
        sizes_of(sizes_value(text))


def _errors(*names):
    """Exceptions by the names of their modules, imported when they are needed."""
    def found():
        return tuple(getattr(importlib.import_module(module), name) for module, _, name in
                     (one.rpartition(".") for one in names))
    return found


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes
    ----------
    read : callable
        Called with a path, or with a text.
    errors : callable
        Gives the exceptions that it may raise.
    seeds : tuple of bytes, or callable
        Small inputs that are right, or what makes them.
    suffix : str
        Of the file; empty: a text.
    seal : callable, optional
        What makes a changed input look whole again.
    """

    read: object
    errors: object
    seeds: tuple
    suffix: str = ""
    seal: object = None


_TRACE_ERROR = _errors("foliosim.replay.reader.TraceError")
_HEADER = {"format": "foliosim-trace", "version": 1, "page_size": 4096, "arch": "x86_64", "root": 100, "events": 6,
           "thp": {}, "files": {"/bin/a": {"dev": "00:00", "ino": 5, "size": 8192}}, "mem_total_kb": 65536,
           "mode": "always"}
_EVENTS = (["X", 1, 100, 100, "/bin/a"], ["m", 2, 100, 100, 4194304, 8192, 0, "r-xp", {"file": "/bin/a"}],
           ["f", 3, 100, 100, 4194304, "rp"],
            ["c", 5, 100, 100, "mmap", 4, [0, 8192, 3, 34, -1, 0], 139637976727552, {}],
           ["F", 6, 100, 100, 101, 101, 17], ["E", 7, 101, 101, 1])
_AREA = {"start": 4096, "end": 65536, "perms": "rw-p", "offset": 0, "VmFlags": "rd wr", "name": "[heap]",
         "pages": [[0, 4, 17], [8, 1, 5]]}
_SNAPSHOT = {"t": 5, "why": "exec", "pid": 100, "procs": {"100": {"smaps": [_AREA], "status": {"VmRSS": "20 kB"}}}}
_STATE = {"procs": {"p0": {"vmas": [{"start": "0x200000000000", "end": "0x200000004000", "perms": "rw-p",
                                    "smaps": {"Rss": 16}, "flags": ["rd", "wr"]}],
                           "pages": [["0x200000000000", 4, "0x102", 0, 1]], "changed": [], "locked_kb": 0,
                           "pgtable_kb": 8}}, "frames": [[0, 4, "0x5868", 1]]}
_SCENARIO = {"id": "s", "tags": ["random", "vma"], "machine": {"arch": "x86_64", "thp_enabled": "madvise", "mthp": {}},
             "steps": [{"op": "mmap", "proc": "p0", "addr": "0x200000000000", "length": 16384, "prot": "rw",
                        "flags": ["private", "anonymous", "fixed"]},
                       {"op": "write", "proc": "p0", "addr": "0x200000000000", "length": 16384, "value": 1}],
             "expect": [{"ret": "0x200000000000", "state": _STATE},
                        {"ret": 4, "vmstat": {"pgfault": 4}, "state": _STATE}]}
_PERF = b"""prog 7/7 [000] 5.000000001: PERF_RECORD_COMM exec: prog:7/7
prog 7/7 [000] 5.000000002: PERF_RECORD_MMAP2 7/7: [0x400000(0x2000) @ 0 fd:01 5 0]: r-xp /bin/prog
prog 7/7 [000] 5.000000003: sched:sched_process_exec: filename=/bin/prog pid=7 old_pid=7
prog 7/7 [000] 5.000000004: exceptions:page_fault_user: address=0x400000 ip=0x400000 error_code=0x14
prog 7/7 [000] 5.000000005: syscalls:sys_enter_mmap: addr: 0x00, len: 0x2000, prot: 0x3, flags: 0x22, fd: \
0xffffffff, off: 0x0
prog 7/7 [000] 5.000000006: syscalls:sys_exit_mmap: 0x7f0000000000
prog 7/7 [000] 5.000000007: PERF_RECORD_FORK(8:8):(7:7)
prog 7/7 [000] 5.000000008: task:task_newtask: pid=8 comm=prog clone_flags=0x11 oom_score_adj=0
prog 8/8 [001] 5.000000009: kmem:mm_page_alloc: page=0x1 pfn=0x200 order=9 migratetype=1 gfp_flags=GFP_TRANSHUGE_LIGHT
prog 8/8 [001] 5.000000010: PERF_RECORD_LOST lost 5
prog 8/8 [001] 5.000000011: sched:sched_process_exit: comm=prog pid=8 prio=120 group_dead=true
"""
_STRACE = b"""7 5.000001 execve("/bin/a", ["a", "b\\n"], 0x7ffe /* 20 vars */) = 0
7 5.000002 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000 <0.000010>
7 5.000003 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</lib/libc.so>, 0x1000) = 0x7f0000010000
7 5.000004 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 8
8 5.000005 madvise(0x7f0000000000, 4096, MADV_DONTNEED <unfinished ...>
7 5.000006 munmap(0x7f0000000000, 8192) = -1 EINVAL (Invalid argument)
8 5.000007 <... madvise resumed>) = 0
8 5.000008 mmap(NULL, 2<<20, PROT_NONE, MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0) = ?
8 5.000009 +++ exited with 0 +++
"""
_SCHEDULE = {"machine": {"memory": "64M"}, "setup": [{"op": "fork", "proc": "p0", "child": "p1"}],
             "actors": {"a": [{"op": "munmap", "proc": "p0", "addr": "0x200000000000", "length": 4096}]},
             "daemons": {"k": {"op": "khugepaged"}}, "order": ["a", "k"], "why": "x", "value": 1, "step": 0}


def _json(*values):
    return "\n".join(json.dumps(value, separators=(",", ":")) for value in values).encode() + b"\n"


@cache
def _saved():
    import foliosim as fs

    machine = fs.Machine(memory="32M", thp="always")
    process = machine.spawn()
    process.write(process.mmap(16384), 16384, value=3)
    machine.inject.lock((process, process.mmap(4096, flags=0x8022)))
    with tempfile.TemporaryDirectory() as folder:
        machine.save(f"{folder}/machine")
        return (Path(f"{folder}/machine").read_bytes(),)


def _header():
    """The header of a saved machine."""
    from foliosim import saved

    data, = _saved()
    size = saved._FIXED.unpack_from(data)[2]
    return (data[saved._FIXED.size:saved._FIXED.size + size],)


def _sealed(header):
    """A saved machine with this header, sizes and checksum as they must be."""
    from foliosim import saved

    data, = _saved()
    rest = data[saved._FIXED.size + saved._FIXED.unpack_from(data)[2]:-saved._DIGEST]
    size = saved._FIXED.size + len(header) + len(rest) + saved._DIGEST
    body = saved._FIXED.pack(saved.MAGIC, saved.FORMAT, len(header), size) + header + rest
    return body + hashlib.sha256(body).digest()


def _run_file():
    from foliosim.replay.series import COLUMNS

    return {"format": "foliosim-run", "version": 1, "trace": {"name": "a", "mode": "always", "events": 5},
            "setting": {},
            "metrics": {"faults.minor": 5}, "samples": [[5 if name not in ("why",) else "end" for name in COLUMNS]],
            "stopped": "", "label": "a"}


def readers():
    """Every reader by its name.

    Returns
    -------
    dict of str to Reader
    """
    trace = _json(_HEADER, *_EVENTS)
    return {
        "recording": Reader(_recording, _errors("foliosim.verify.recording.RecordingError"),
                            (_json(_SCENARIO),), ".jsonl"),
        "recording.gz": Reader(_recording, _errors("foliosim.verify.recording.RecordingError"),
                               (gzip.compress(_json(_SCENARIO)), gzip.compress(_json(_SCENARIO), 0)), ".jsonl.gz"),
        "trace": Reader(_trace, _TRACE_ERROR, (trace,), ".jsonl"),
        "trace.xz": Reader(_trace, _TRACE_ERROR, (lzma.compress(trace), gzip.compress(trace, 0)), ".jsonl.xz"),
        "truth": Reader(_truth, _TRACE_ERROR,
                        (_json({"format": "foliosim-truth", "version": 1, "snapshots": [_SNAPSHOT]}),), ".json"),
        "perf": Reader(_imported("perf"), _TRACE_ERROR, (_PERF,), ".txt"),
        "strace": Reader(_imported("strace"), _TRACE_ERROR, (_STRACE,), ".txt"),
        "run": Reader(_run, _TRACE_ERROR, (_json(_run_file()),), ".json"),
        "machine": Reader(_machine, _errors("foliosim.errors.SavedError"), _saved, ".machine"),
        "machine.header": Reader(_machine, _errors("foliosim.errors.SavedError"), _header, ".machine", _sealed),
        "histogram": Reader(_histogram, _errors("foliosim.study.base.StudyError"),
                            (b"1,2,3 4 5\n6 7 8 9 0.5 # ten\n", b"[1,2,3,4,5,6,7,8,9,0]",
                             b"Utilized[0-50]: 1331 680884\n" * 10), ".txt"),
        "costs": Reader(_costs, _errors("builtins.ValueError"),
                        (Path(__file__).parents[1].joinpath("cost_tables", "zen2-guest-6.18.json").read_bytes(),),
                         ".json"),
        "schedule": Reader(_program, _errors("foliosim.schedule.ScheduleError"), (_json(_SCHEDULE),), ".json"),
        "policy": Reader(_policy, _errors("builtins.ValueError"),
                         (b"linux-6.18", b"cow_order=fixed(2)", b"partial_unmap=split_now_if_order<=4",
                           b"vma_split=retry(3)")),
        "size": Reader(_size, _errors("builtins.ValueError"), (b"64K", b"16K+64K+2M", b"16K..2M", b"1.5GiB", b"4096")),
    }


# ---- one input ----

class Tester:
    """Gives inputs to a reader.

    Parameters
    ----------
    reader : Reader
    folder : path
        Where its file is written.

    Attributes
    ----------
    results : Counter
        What came of the inputs: "read", or the name of an exception.
    """

    def __init__(self, reader, folder):
        self.reader, self.errors, self.results = reader, reader.errors(), Counter()
        self.path = f"{folder}/input{reader.suffix}"
        self._peak = _peak()

    def test(self, data):
        """One input; raises `Finding`."""
        if self.reader.seal is not None:
            data = self.reader.seal(data)
        if self.reader.suffix:
            with open(self.path, "wb") as file:
                file.write(data)
        what = self.path if self.reader.suffix else data.decode("utf-8", "surrogateescape")
        began = time.thread_time()
        try:
            self.reader.read(what)
            self.results["read"] += 1
        except self.errors as error:
            self.results[type(error).__name__] += 1
            self._message(str(error))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise Finding(f"{type(error).__name__}: {str(error)[:300]}, at {place.filename}:{place.lineno}",
                          type(error), place.filename, place.lineno) from error
        took = time.thread_time() - began
        if took > SLOW:
            raise Finding(f"took {took:.1f} s", "time")
        if _peak() - self._peak > MEMORY:
            self._peak, before = _peak(), self._peak
            raise Finding(f"took {(self._peak - before) >> 20} MiB", "memory")

    def _message(self, text):
        if not text or "\n" in text or "\r" in text:
            raise Finding(f"message is not one line: {text[:300]!r}", "lines")
        if self.reader.suffix and self.path not in text:
            raise Finding(f"message does not name the file: {text[:300]!r}", "name")


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


# ---- mutation ----

_NUMBERS = (b"0", b"-1", b"1", b"4095", b"65536", b"2147483648", b"4294967296", b"9223372036854775807",
            b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"-9223372036854775809", b"1e999",
            b"9" * 400, b"1152921504606846976", b"1e15", b"null", b"true", b"[]", b"{}", b'""', b"0x7fffffffffff")
_BYTES = (b"\0", b"\n", b"\r", b"\xff", b'"', b"[", b"]", b"{", b"}", b",", b":", b" " * 500, b"[" * 3000, b"\\ud800",
          b"\xed\xa0\x80", b"=", b"(", b")", b"..", b"+", b"/*", b"<<", b"<", b">", b"-", b"%s", b"\xf0\x9f\x98\x80")


def mutate(rng, seeds):
    """A changed copy of one of some inputs."""
    data = bytearray(rng.choice(seeds))
    most = max(2 * LONGEST, 2 * len(seeds[0]))
    if len(data) > most:
        data = _cut(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        _CHANGES[rng.randrange(len(_CHANGES))](rng, data, seeds)
    return bytes(data[:most])


def _cut(rng, data):
    """The first line and some in a row of others."""
    lines = bytes(data).split(b"\n")
    at = rng.randrange(len(lines))
    out = bytearray(b"\n".join([lines[0], *lines[at:at + 12]]) + b"\n")
    return out if len(out) <= 4 * LONGEST else out[:4 * LONGEST]


def _flip(rng, data, seeds):
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng, data, seeds):
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _insert(rng, data, seeds):
    at = rng.randint(0, len(data))
    data[at:at] = rng.choice(_BYTES)


def _delete(rng, data, seeds):
    at = rng.randint(0, len(data))
    del data[at:at + rng.choice((1, 1, 2, 4, 16, 100))]


def _repeat(rng, data, seeds):
    at, n = rng.randint(0, len(data)), rng.choice((1, 2, 5, 20, 100))
    data[at:at] = data[at:at + n] * rng.choice((1, 1, 2, 10))


def _splice(rng, data, seeds):
    other = rng.choice(seeds)
    at, start = rng.randint(0, len(data)), rng.randint(0, len(other))
    data[at:at + rng.choice((0, 8, 40))] = other[start:start + rng.choice((3, 20, 100))]


def _truncate(rng, data, seeds):
    del data[rng.randint(0, len(data)):]


def _number(rng, data, seeds):
    """Another number in the place of one."""
    places = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if not places:
        return
    start = end = rng.choice(places)
    while start and 0x30 <= data[start - 1] <= 0x39:
        start -= 1
    while end < len(data) and 0x30 <= data[end] <= 0x39:
        end += 1
    data[start:end] = rng.choice(_NUMBERS)


_CHANGES = (_flip, _byte, _insert, _delete, _repeat, _splice, _truncate, _number, _number)


# ---- runs ----

@dataclass
class Outcome:
    """What a run came to.

    Attributes
    ----------
    runs : int
    results : Counter
        As `Tester.results`.
    findings : list of (str, bytes)
        What was wrong, and the input; one of each text.
    """

    runs: int = 0
    results: Counter = field(default_factory=Counter)
    findings: list = field(default_factory=list)


def run(name, runs, seed=0, sources=(), progress=None):
    """Give a reader changed inputs.

    Parameters
    ----------
    name : str
        Of a reader.
    runs, seed : int
    sources : iterable of bytes
        Real inputs besides the reader's own.
    progress : callable, optional
        Called with the runs so far, now and then.

    Returns
    -------
    Outcome
    """
    reader, rng, out = readers()[name], random.Random(f"foliosim fuzz {seed}"), Outcome()
    right, known = _seeds(reader), set()
    seeds = [*right, *sources]
    with tempfile.TemporaryDirectory(dir=_FAST) as folder:
        tester = Tester(reader, folder)
        for one in right:
            tester.test(one)
        if tester.results["read"] != len(right):
            raise AssertionError(f"{name}: inputs that are right: {dict(tester.results)}")
        while out.runs < runs:
            data = mutate(rng, seeds)
            out.runs += 1
            try:
                tester.test(data)
            except Finding as finding:
                if finding.key not in known:
                    known.add(finding.key)
                    out.findings.append((str(finding), data))
            if progress is not None and not out.runs % 1000:
                progress(out.runs)
        out.results = tester.results
    return out


def _seeds(reader):
    return reader.seeds() if callable(reader.seeds) else reader.seeds


def _instrument():
    """Let atheris see which lines of the readers run: in modules that come now, and in those that are there."""
    import atheris

    there = [sys.modules[f"foliosim.{name}"] for name in _WATCHED if f"foliosim.{name}" in sys.modules]
    with atheris.instrument_imports(include=["foliosim"], enable_loader_override=False):
        for name in _WATCHED:
            importlib.import_module(f"foliosim.{name}")
    for module in there:
        classes = [one for one in vars(module).values() if inspect.isclass(one)]
        for one in [value for space in (module, *classes) for value in vars(space).values()]:
            if inspect.isfunction(one) and one.__module__ == module.__name__:
                atheris.instrument_func(one)


def _guided(name, runs, seed, sources, corpus):
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    _instrument()
    reader = readers()[name]
    folder = Path(corpus or tempfile.mkdtemp(dir=_FAST, prefix="foliosim-fuzz-"))
    for number, data in enumerate([*_seeds(reader), *sources]):
        (folder / f"seed{number}").write_bytes(data[:4 * LONGEST])
    tester = Tester(reader, tempfile.mkdtemp(dir=_FAST, prefix="foliosim-fuzz-"))

    def one(data):
        try:
            tester.test(data)
        except Finding as finding:
            print(f"finding: {finding}", file=sys.stderr, flush=True)
            raise
    atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed + 1}", f"-max_len={2 * LONGEST}", "-timeout=10",
                   "-rss_limit_mb=4096", "-print_final_stats=1", str(folder)], one)
    atheris.Fuzz()


@click.command()
@click.argument("reader", type=click.Choice(list(readers())))
@click.option("--runs", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--from", "sources", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A real file to change; compressed ones are unpacked for readers of plain text.")
@click.option("--guided", is_flag=True, help="Let atheris look for inputs that reach new lines.")
@click.option("--corpus", type=click.Path(file_okay=False, exists=True), help="Where --guided keeps its inputs.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), default=Path("fuzz-findings"),
              show_default=True,
              help="Folder for inputs that were findings.")
@click.option("--again", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read this finding again.")
def main(reader, runs, seed, sources, guided, corpus, keep, again):
    """Give READER bad files.  Exit status 1: there are findings."""
    from rich.progress import Progress

    if again is not None:
        with tempfile.TemporaryDirectory() as folder:
            Tester(readers()[reader], folder).test(again.read_bytes())
        return
    real = [_unpacked(path, reader) for path in sources]
    if guided:
        _guided(reader, runs, seed, real, corpus)
        return
    with Progress() as bar:
        task = bar.add_task(reader, total=runs)
        out = run(reader, runs, seed, real, lambda done: bar.update(task, completed=done))
    for number, (text, data) in enumerate(out.findings):
        keep.mkdir(exist_ok=True, parents=True)
        path = keep / f"{reader}-{seed}-{number}"
        path.write_bytes(data)
        click.echo(f"{path}: {text}")
    results = ", ".join(f"{name} {count:,}" for name, count in out.results.most_common())
    click.echo(f"{reader}, seed {seed}: {out.runs:,} inputs: {results}; {len(out.findings)} findings")
    sys.exit(bool(out.findings))


def _unpacked(path, reader):
    from foliosim.replay.reader import read_text

    return path.read_bytes() if "." in reader else read_text(path)


if __name__ == "__main__":
    main()
