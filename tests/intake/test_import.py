"""What users have becomes a trace: the samples give the traces that were made of them, and no line is lost in silence."""
import json
import lzma
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.intake import text
from foliosim.intake.events import Events
from foliosim.intake.lines import Complaints
from foliosim.intake.strace import StraceText
from foliosim.intake.words import UnknownWord, number, result, split
from foliosim.replay import TraceError, read_trace
from foliosim.replay.run import replay_trace

DATA = Path(__file__).parent / "data"
TRACES = Path(__file__).parents[1] / "replay/data"


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def recorded(name):
    """Header and events of a trace, but for the snapshots: a text has none."""
    header, *events = map(json.loads, lzma.open(TRACES / f"{name}.trace.jsonl.xz", "rt"))
    return header, [event for event in events if event[0] != "S"]


@pytest.mark.parametrize("name", ["pipe-never", "pipe-always"])
def test_perf_text_gives_the_trace_that_was_made_of_it(tmp_path, name):
    like = TRACES / f"{name}.trace.jsonl.xz"
    out = run("import", "perf", DATA / f"{name}.perf.txt.xz", "--like", like, "--out", tmp_path / "t.jsonl.xz")
    assert out.exit_code == 0 and "not used" not in out.output
    want_header, want = recorded(name)
    header, *got = map(json.loads, lzma.open(tmp_path / "t.jsonl.xz", "rt"))
    start = want[0][1] - got[0][1]  # the recorder began some time before the first event
    for event in got:
        event[1] += start
        if event[0] == "c":
            event[5] += start
    assert got == want
    own = {"name", "program", "events", "counts", "duration_ns"}
    assert {key: value for key, value in header.items() if key not in own} == {
        key: value for key, value in want_header.items() if key not in own}
    replayed = replay_trace(read_trace(tmp_path / "t.jsonl.xz"))
    assert replayed.metrics == replay_trace(read_trace(like)).metrics


def calls(events):
    """Program -> system calls, without times and numbers of processes."""
    found, path = defaultdict(list), {}
    for event in events:
        if event[0] == "X":
            path[event[2]] = event[4]
        elif event[0] == "c":
            found[path.get(event[2])].append((event[4], tuple(event[6]), event[7], event[8].get("file")))
    return found


def test_strace_text_gives_the_calls_that_perf_saw():
    got = calls(text.read("strace", DATA / "pipe.strace.txt.xz")[0].finish())
    want = calls(recorded("pipe-never")[1])
    got["/usr/bin/sh"], want["/usr/bin/sh"] = got.pop("/bin/sh"), want.pop("/bin/sh")
    assert got.keys() == want.keys()
    for path in ("/usr/bin/sh", "/usr/bin/gzip"):
        assert got[path] == want[path]
    locale = ("/usr/lib/locale", "/usr/lib/x86_64-linux-gnu/gconv")  # that run had none, so it maps no files of one
    for path in ("/usr/bin/seq", "/usr/bin/sort"):
        assert [(name, file) for name, _, _, file in got[path]] == [
            (name, file) for name, _, _, file in want[path] if not (file or "").startswith(locale)]


def test_strace_of_threads():
    events, complaints, program = text.read("strace", DATA / "node.strace.txt.xz")
    ordered = events.finish()
    assert not complaints.counts and program == ["node", "job.js"]
    kinds = Counter(event[0] for event in ordered)
    assert kinds == {"c": 1569, "E": 7, "F": 6, "X": 1}
    assert {event[2] for event in ordered} == {100}
    assert [event[4] for event in ordered if event[0] == "E"] == [0] * 6 + [1]


def test_strace_can_be_replayed(tmp_path):
    path = tmp_path / "t.jsonl"
    assert run("import", "strace", DATA / "node.strace.txt.xz", "--out", path, "--like",
               TRACES / "pipe-never.trace.jsonl.xz").exit_code == 0
    odd = replay_trace(read_trace(path)).replay.odd
    assert not odd["unsupported"] and sum(odd["differs"].values()) == 2  # mprotect of what execve had mapped


def of_strace(*lines):
    events, complaints = Events(), Complaints()
    reader = StraceText(events, complaints)
    for at, line in enumerate(lines, 1):
        reader.line(at, line)
    reader.finish()
    return events.finish(), complaints


def test_forms_of_strace():
    events, complaints = of_strace(
        '1.000001 execve("/bin/a\\"b", ["a", "b, c"], 0x7ff /* 2 vars */) = 0 <0.000100>',
        "[pid     7] 1.000200 madvise(0x7f0000000000, 4096, MADV_DONTNEED <unfinished ...>",
        "[pid     8] 1.000300 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x1000}, 88) = 9",
        "[pid     7] 1.000400 <... madvise resumed>) = -1 EINVAL (Invalid argument)",
        "9 1.000500 mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0) "
        "= -1 ENOMEM (Cannot allocate memory) <0.000002>",
        "9 1.000600 mmap(NULL, 8192, PROT_READ, MAP_SHARED, 4</tmp/x, (1)>, 0x1000) = 0x7f1000000000",
        "9 1.000700 +++ killed by SIGKILL (core dumped) +++")
    assert not complaints.counts
    assert [event[0] for event in events] == ["X", "c", "F", "c", "c", "E"]
    execve, advise, fork, failed, mapped, _ = events
    assert execve[4] == '/bin/a"b'
    assert advise[5] < advise[1] and advise[6:8] == [[0x7f0000000000, 4096, 4], -22]
    assert fork[6] == 0x4100 and failed[6][3] == 0x40022 | 21 << 26 and failed[7] == -12
    assert mapped[6][4:] == [4, 4096] and mapped[8]["file"] == "/tmp/x, (1)"


def test_threads_that_end_by_anothers_execve():
    events, complaints = of_strace(
        '7 1.000001 execve("/bin/a", ["a"], 0x7ff /* 2 vars */) = 0',
        "7 1.000002 clone(child_stack=0x7f0, flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD) = 8",
        "strace: Process 8 attached",
        '8 1.000003 execve("/bin/b", ["b"], 0x7ff /* 2 vars */ <pid changed to 7 ...>',
        "7 1.000004 +++ superseded by execve in pid 8 +++",
        "7 1.000005 <... execve resumed>) = 0",
        "7 1.000006 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9} ---",
        "7 1.000007 exit_group(0) = ?",
        "7 1.000008 +++ exited with 0 +++")
    assert not complaints.counts
    assert [(event[0], event[2]) for event in events] == [("X", 100), ("F", 100), ("X", 100), ("c", 100), ("E", 100)]
    assert events[2][4] == "/bin/b" and events[-1][4] == 1


@pytest.mark.parametrize("line", [
    "7 1.000002 munmap(0x7f0000000000, 4096 <unfinished ...>) = ?",
    "7 1.000002 munmap(0x7f0000000000, 4096 <unfinished ...>",
    "7 1.000002 munmap(0x7f0000000000, 4096) = ? ERESTARTNOINTR (To be restarted)"])
def test_a_call_that_does_not_return_is_named(line):
    events, complaints = of_strace('7 1.000001 execve("/bin/a", ["a"], 0x7ff /* 2 vars */) = 0', line,
                                   "7 1.000003 +++ killed by SIGKILL +++")
    assert complaints.named == ["line 2: call that does not return: munmap"]
    assert [event[0] for event in events] == ["X", "E"]


def test_lines_that_cannot_be_used_are_counted_and_named(tmp_path):
    lines = lzma.open(DATA / "pipe.strace.txt.xz", "rt").read().splitlines()
    lines[3] = lines[3][:60]
    lines[8] = lines[8].replace("MAP_PRIVATE", "MAP_ODD")
    lines[10] = "nonsense"
    path = tmp_path / "pipe.txt"
    path.write_text("\n".join(lines))
    output = run("import", "strace", path, "--out", tmp_path / "t.jsonl").output
    assert "line 4: not a call, or cut off" in output and "line 11: not a line of strace" in output
    assert "line 9: word 'MAP_ODD' is not known" in output
    assert (tmp_path / "t.jsonl").exists()


def test_lines_of_perf_that_cannot_be_used_are_counted_and_named(tmp_path):
    lines = lzma.open(DATA / "pipe-never.perf.txt.xz", "rt").read().splitlines()
    at = next(at for at, line in enumerate(lines) if "sys_exit_mmap" in line)
    lines[at] = lines[at].partition("sys_exit_mmap")[0] + "sys_exit_mmap: "
    lines[20] = lines[20][:40]
    lines.insert(0, "perf 1/1 [000] 1.000000001: cycles: 1")
    lines[2] = lines[2].replace("PERF_RECORD_COMM exec: sh", "PERF_RECORD_LOST lost 7")
    path = tmp_path / "p.txt"
    path.write_text("\n".join(lines) + "\nsh 1/1 [0")
    output = run("import", "perf", path, "--out", tmp_path / "t.jsonl").output
    assert "line 1: event that is not used: cycles: 1" in output
    assert f"line {at + 2}: broken or cut off" in output and "line 22: " in output
    assert f"line {len(lines) + 1}: not a line of perf script" in output
    assert "7 records were lost" in output


@pytest.mark.parametrize("kind", ["perf", "strace"])
@pytest.mark.parametrize("data, reason", [
    (b"PERFILE2\0\0\0", "perf's binary recording"), (b"", "no event of memory"), (b"\0\1\2\n\3", "line 1: binary data"),
    (b"hello\nworld\n", "line 1: not a line of"), (lzma.compress(b"x" * 9999)[:-9], "damaged or cut off"),
])
def test_a_corrupt_file_ends_with_one_clear_line(tmp_path, kind, data, reason):
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=reason):
        text.read(kind, path)
    out = run("import", kind, path, "--out", tmp_path / "t.jsonl")
    assert out.exit_code == 1 and len(out.output.strip().splitlines()) == 1
    assert not (tmp_path / "t.jsonl").exists()


def test_words():
    assert split('NULL, 3</a,b>, {x=1, y=[2, 3]}, "a, \\"b"') == ["NULL", "3</a,b>", "{x=1, y=[2, 3]}", '"a, \\"b"']
    assert number("PROT_READ|PROT_WRITE|0x8") == 11 and number("01000") == 512 and number("addr=0x10") == 16
    assert result("0x7f00") == 0x7f00 and result("-1 EAGAIN (x)") == -11 and result("?") is None
    with pytest.raises(UnknownWord):
        number("MAP_NO_SUCH")
    with pytest.raises(UnknownWord):
        split('"open')
