"""Bad files: a few hundred for each reader, and those that once were findings."""
import gzip
import json
import lzma

import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim import costs
from foliosim.cli import main
from foliosim.errors import SavedError
from foliosim.intake import text, words
from foliosim.replay import reader
from foliosim.replay.reader import TraceError, read_text
from foliosim.replay.truth import read_truth
from foliosim.schedule import Program, ScheduleError
from foliosim.sizes import parse_size
from foliosim.study import histogram
from foliosim.study.base import StudyError
from foliosim.testing import fuzz
from foliosim.verify import recording


@pytest.mark.parametrize("name", fuzz.readers())
def test_changed_inputs(name):
    out = fuzz.run(name, 200, seed=5)
    assert not out.findings, out.findings[0][0]
    assert sum(out.results.values()) >= 200 and len(out.results) == 2


def test_what_a_finding_is(tmp_path):
    def read(path):
        if b"\0" in open(path, "rb").read():
            raise KeyError("odd")
        raise ValueError("two\nlines")

    tester = fuzz.Tester(fuzz.Reader(read, lambda: (ValueError,), (b"",), ".txt"), tmp_path)
    with pytest.raises(fuzz.Finding, match="KeyError: 'odd', at .*test_fuzz"):
        tester.test(b"\0")
    with pytest.raises(fuzz.Finding, match="not one line"):
        tester.test(b"x")


# ---- what was found ----

@pytest.mark.parametrize("size", ["9" * 400, "1e5", "9" * 400 + "G", "\u0663G", "1." + "1" * 30])
def test_a_size_of_too_many_digits(size):
    with pytest.raises(ValueError, match="not a number with a unit"):
        parse_size(size)


def test_a_size_is_exact():
    assert parse_size("9007199254740993") == 9007199254740993 and parse_size("1.5K") == 1536


@pytest.mark.parametrize("content", [b"[" * 60000, b"[1,2,3,4,5,6,7,8,9," + b"9" * 400 + b"]"])
def test_a_histogram_that_is_none(content, tmp_path):
    path = tmp_path / "histogram"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=str(path)):
        histogram.load(str(path))
    with pytest.raises(StudyError):
        histogram.load("\0")


def test_a_recording_with_a_number_of_too_many_digits(tmp_path):
    path = tmp_path / "recording.jsonl"
    path.write_text('{"id": %s}\n' % ("9" * 5000))
    with pytest.raises(recording.RecordingError, match="too many digits"):
        list(recording.read(path))


def test_a_call_that_lasted_for_ever(tmp_path):
    path = tmp_path / "strace.txt"
    path.write_text('7 5.000001 execve("/bin/a", ["a"], 0x7ffe /* 20 vars */) = 0\n'
                    "7 5.000002 munmap(0x7f0000000000, 8192) = 0 <%s.0>\n" % ("9" * 400))
    tester = fuzz.Tester(fuzz.readers()["strace"], tmp_path)
    tester.test(path.read_bytes())


def test_a_cost_of_too_many_digits(tmp_path):
    path = tmp_path / "costs.json"
    path.write_text('{"name": "a", "source": "b", "coefficients": {"ref": %s}}' % ("9" * 400))
    with pytest.raises(ValueError, match=str(path)):
        costs.load(path)


@pytest.mark.parametrize("packed", [lzma.compress(bytes(8 << 20), preset=0), gzip.compress(bytes(8 << 20))])
def test_little_that_expands_to_much(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_EXPANDED", 1 << 20)
    path = tmp_path / "trace"
    path.write_bytes(packed)
    with pytest.raises(TraceError, match="that expand to more than"):
        read_text(path)


def test_deflated_data_that_is_damaged(tmp_path):
    path, data = tmp_path / "trace", bytearray(gzip.compress(b"abc" * 100))
    data[12] ^= 0xff
    path.write_bytes(data)
    with pytest.raises(TraceError, match="damaged or cut off"):
        read_text(path)


def test_a_recorded_line_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "LONGEST", 1000)
    path = tmp_path / "long.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" + b" " * 100000))
    with pytest.raises(recording.RecordingError, match="long.jsonl.gz:2: a line of more than 1,000 bytes"):
        list(recording.read_lines(path))


@pytest.mark.parametrize("run, reason", [
    ([0, 1 << 40, 1], "more than 16,777,216 pages"), ([0, 1, 1 << 70], "no runs"), ([1 << 63, 1, 1], "no runs")])
def test_pages_of_a_truth_that_nobody_has(run, reason, tmp_path):
    area = {"start": 0, "end": 4096, "perms": "", "offset": 0, "VmFlags": "", "name": "", "pages": [run]}
    snapshot = {"why": "exec", "pid": 1, "procs": {"1": {"smaps": [area]}}}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"format": "foliosim-truth", "version": 1, "snapshots": [snapshot]}))
    with pytest.raises(TraceError, match=reason):
        read_truth(path)


@pytest.mark.parametrize("kind, line", [
    ("perf", " " * 60000), ("perf", "a" * 60000), ("perf", "1/1 [0] " * 7000),
    ("perf", "p 7/7 [0] 5.000001: syscalls:sys_enter_mmap: " + "a" * 60000),
    ("perf", "p 7/7 [0] 5.000001: kmem:mm_page_alloc: " + "b" * 60000),
    ("perf", "p 7/7 [0] 5.000001: exceptions:page_fault_user: address=x error_code=0x1"),
    ("strace", '7 5.0 mmap(' + "/*" * 30000 + ') = 0'), ("strace", "7 5.0 mlockall(1<<99999999999) = 0"),
    ("strace", "7 5.0 clone(child_stack=NULL) = 8"), ("strace", "(" * 60000)])
def test_lines_that_once_took_long_or_broke(kind, line, tmp_path):
    path = tmp_path / "text"
    path.write_text(line + "\n")
    with pytest.raises(TraceError, match="no event of memory in it"):
        text.read(kind, path)


@pytest.mark.parametrize("kind", ["perf", "strace"])
def test_a_line_with_a_carriage_return_is_quoted_as_one(kind, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"7 5.{} a\rb")
    with pytest.raises(TraceError) as caught:
        text.read(kind, path)
    assert r"a\rb" in str(caught.value) and "\r" not in str(caught.value)


def test_a_shift_that_is_too_far():
    with pytest.raises(words.UnknownWord):
        words.number("1<<64")


@pytest.mark.parametrize("program, reason", [
    ({"actors": {"a": 5}}, "must be a list"), ({"actors": {"a": []}, "machine": []}, "machine must be an object"),
    ({"actors": {"a": []}, "od\nd": 1}, r"unknown 'od\\nd'")])
def test_a_program_that_is_none_names_its_file(program, reason, tmp_path):
    path = tmp_path / "program.json"
    path.write_text(json.dumps(program))
    with pytest.raises(ScheduleError, match=f"{path}.*{reason}"):
        Program.read(path)


@pytest.mark.parametrize("old, new", [
    ('"layout": "', '"layout": 1, "_": "'), ('"files": []', '"files": [[1, true]]'), ('"nr_pages": 8192', '"nr_pages": 4096'),
    ('"pages": 1', '"pages": 1000000000000'), ('"pages": 1', '"pages": 0'), ('"sections"', '"section"')])
def test_a_header_that_was_made_by_hand(old, new, tmp_path):
    header, = fuzz._header()
    assert old.encode() in header
    path = tmp_path / "machine"
    path.write_bytes(fuzz._sealed(header.replace(old.encode(), new.encode())))
    with pytest.raises(SavedError, match=str(path)):
        fs.Machine.load(path)


# ---- commands ----

@pytest.mark.parametrize("command", [
    ["verify", "BAD.jsonl", "--json", "OUT"], ["replay", "BAD", "--json", "OUT"], ["compare", "BAD", "BAD", "--out", "OUT"],
    ["import", "perf", "BAD", "--out", "OUT"], ["import", "strace", "BAD", "--out", "OUT"], ["show", "BAD"],
    ["schedule", "search", "BAD", "--out", "OUT"], ["schedule", "replay", "BAD"],
    ["study", "zero-histogram", "--set", "histogram=BAD", "--json", "OUT"]], ids=" ".join)
@pytest.mark.parametrize("content", [b"", b"\0\xff\xfe", b'{"format": 5}', b"[[[[", b"foliosim" + bytes(60)])
def test_a_command_says_what_is_wrong_in_one_line_and_writes_nothing(command, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad, out = tmp_path / "bad.jsonl", tmp_path / "out"
    bad.write_bytes(content)
    out.write_text("as it was")
    named = [word.replace("BAD.jsonl", str(bad)).replace("BAD", str(bad)).replace("OUT", str(out)) for word in command]
    result = CliRunner().invoke(main, named)
    if command[0] == "verify" and not content:
        return
    said = [line for line in result.output.splitlines() if line.strip()]
    assert result.exit_code not in (0, None) and isinstance(result.exception, SystemExit), result.output
    assert any(str(bad) in line for line in said) and not any("Traceback" in line for line in said)
    assert out.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "out"]
