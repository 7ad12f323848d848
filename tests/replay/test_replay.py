"""Traces of real programs: a pipe of three programs, and redis with huge pages, a fork and its copies."""
import json
import lzma
from pathlib import Path

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.replay import TraceError, read_trace
from foliosim.replay.run import replay_trace
from foliosim.replay.truth import read_truth

DATA = Path(__file__).parent / "data"
NAMES = ("pipe-never", "pipe-always", "redis-always")


def files(name):
    return DATA / f"{name}.trace.jsonl.xz", DATA / f"{name}.truth.json.xz"


@pytest.mark.parametrize("name", NAMES)
def test_what_must_follow_does(name):
    trace, truth = files(name)
    result = replay_trace(read_trace(trace), truth=read_truth(truth))
    assert result.comparison.differences == []
    assert result.comparison.follows
    assert result.comparison.fields["present"].values > 1000
    assert not result.replay.odd["differs"] and not result.replay.odd["refused"]


@pytest.mark.parametrize("name", NAMES)
def test_the_machine_is_valid_and_empty_afterwards(name):
    trace = read_trace(files(name)[0])
    machine = replay_trace(trace).replay.machine
    machine.validate()
    assert machine.processes() == []


def test_the_stream_of_small_pages_tells_what_huge_pages_would_do():
    runner = CliRunner()
    args = [str(files("pipe-never")[0]), "--thp", "always", "--against", str(files("pipe-always")[1])]
    assert runner.invoke(main, ["replay", *args]).exit_code == 0


def altered(tmp_path, change):
    data = json.loads(lzma.decompress(files("redis-always")[1].read_bytes()))
    change(data["snapshots"][1]["procs"]["100"])
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(data))
    return path


def heap(process):
    return max(process["smaps"], key=lambda area: area.get("AnonHugePages", 0))


@pytest.mark.parametrize("field, change", [
    ("areas", lambda process: heap(process).update(end=heap(process)["end"] + 4096)),
    ("VmFlags", lambda process: heap(process).update(VmFlags="rd wr")),
    ("AnonHugePages", lambda process: heap(process).update(AnonHugePages=0)),
    ("present", lambda process: heap(process)["pages"].pop()),
    ("words", lambda process: heap(process)["pages"][0].__setitem__(2, 21)),
    ("VmPTE", lambda process: process["status"].update(VmPTE=4)),
    ("minflt+majflt", lambda process: process["status"].update(minflt=10**6)),
])
def test_a_difference_is_seen(tmp_path, field, change):
    path = altered(tmp_path, change)
    comparison = replay_trace(read_trace(files("redis-always")[0]), truth=read_truth(path)).comparison
    assert not comparison.follows and not comparison.holds(field)
    result = CliRunner().invoke(main, ["replay", str(files("redis-always")[0]), "--against", str(path)])
    assert result.exit_code == 1


def lines():
    return lzma.decompress(files("pipe-never")[0].read_bytes()).decode().splitlines()


@pytest.mark.parametrize("change, line, reason", [
    (lambda text: text[:-1], 0, "the file is cut off"),
    (lambda text: text[:40] + ["nonsense"] + text[41:], 41, "not JSON"),
    (lambda text: text[:40] + ['["f",1,2,3,4,"q"]'] + text[41:], 41, "flags 'q'"),
    (lambda text: text[:40] + ['["Z",1]'] + text[41:], 41, "kind 'Z'"),
    (lambda text: text[:40] + ['["c",1,100,100,"mmap",0,[1,2],0,{}]'] + text[41:], 41, "mmap with 2 arguments"),
    (lambda text: ["{}"] + text[1:], 1, "not a trace"),
])
def test_what_is_no_trace_is_refused_with_line_and_reason(tmp_path, change, line, reason):
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(change(lines())) + "\n")
    with pytest.raises(TraceError, match=reason) as caught:
        read_trace(path)
    assert not line or caught.value.line == line
    result = CliRunner().invoke(main, ["replay", str(path)])
    assert result.exit_code == 1 and len(result.output.strip().splitlines()) == 1


def test_compressed_data_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "trace.jsonl.xz"
    path.write_bytes(files("pipe-never")[0].read_bytes()[:-200])
    with pytest.raises(TraceError, match="damaged or cut off"):
        read_trace(path)


@pytest.mark.parametrize("change", [
    lambda text: "\n".join(json.dumps(json.loads(line)) for line in text.splitlines()),
    lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("\n", "\n\n \n"),
    lambda text: text.replace('\n["f",', '\n\t[ "f" , ').replace('"]\n', '" ]  \n')])
def test_blanks_do_not_matter(change, tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(change("\n".join(lines())).encode())
    was, now = read_trace(files("pipe-never")[0]), read_trace(path)
    assert now.events == was.events and now.before.tolist() == was.before.tolist()
    assert all((getattr(now, name) == getattr(was, name)).all() for name in ("time", "pid", "address", "flags"))
