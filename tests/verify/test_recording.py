"""Broken files give one clear line with file and line number."""
import copy
import gzip
import json

import pytest
from click.testing import CliRunner

from foliosim.verify import recording
from foliosim.verify.command import verify
from foliosim.verify.recording import RecordingError


def _reason(path):
    with pytest.raises(RecordingError) as caught:
        list(recording.read(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestBrokenFiles:
    def test_truncated_gzip(self, small, write_lines):
        path = write_lines("a.jsonl.gz", *[{**small, "id": f"s{n}"} for n in range(50)])
        path.write_bytes(path.read_bytes()[:-40])
        reason = _reason(path)
        assert reason.startswith(f"{path}:") and "truncated" in reason

    def test_not_gzip(self, tmp_path):
        path = tmp_path / "a.jsonl.gz"
        path.write_text("{}")
        assert "a.jsonl.gz:1: broken compressed data" in _reason(path)

    def test_damaged_gzip(self, small, write_lines):
        path = write_lines("a.jsonl.gz", small)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        assert f"{path}:" in _reason(path)

    def test_truncated_line(self, small, write_lines, tmp_path):
        path = write_lines("a.jsonl", small, small)
        path.write_bytes(path.read_bytes()[:-100])
        reason = _reason(path)
        assert "a.jsonl:2: not JSON" in reason and "truncated" in reason

    def test_no_json(self, small, write_lines):
        assert "a.jsonl:3: not JSON" in _reason(write_lines("a.jsonl", small, small, "{nonsense"))

    def test_no_text(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'{"id": "\xff\xfe"}\n')
        assert "a.jsonl:1: not UTF-8" in _reason(path)

    def test_folder_without_recordings(self, tmp_path):
        with pytest.raises(RecordingError, match="no .jsonl"):
            recording.find_files([tmp_path])

    def test_missing_path(self, tmp_path):
        with pytest.raises(RecordingError, match="no such file"):
            recording.find_files([tmp_path / "none.jsonl"])

    def test_command_prints_one_line(self, small, write_lines):
        path = write_lines("a.jsonl", small, "[1, 2")
        for jobs in ("1", "2"):
            result = CliRunner().invoke(verify, [str(path), "--jobs", jobs, "--id", "other"])
            assert result.exit_code == 2
            assert result.stderr.strip().splitlines()[-1].startswith(f"{path}:2: not JSON")
            assert "Traceback" not in result.output


def _delete(key):
    return lambda s: s.pop(key)


def _step(n, **changes):
    return lambda s: s["steps"][n].update(changes)


def _without(n, key):
    return lambda s: s["steps"][n].pop(key)


def _expect(change):
    return lambda s: change(s["expect"][1])


FORMATS = {
    "no id": (_delete("id"), "'id' is missing"),
    "no machine": (_delete("machine"), "'machine' is missing"),
    "no steps": (_delete("steps"), "'steps' is missing"),
    "no tags": (_delete("tags"), "'tags' is missing"),
    "lengths differ": (lambda s: s["expect"].pop(), "5 steps but 4 expected results"),
    "no op": (_without(1, "op"), "step 1: 'op' is missing"),
    "no addr": (_without(1, "addr"), "step 1 (read): 'addr' is missing"),
    "bad addr": (_step(1, addr="0xzz"), "'addr' is '0xzz'"),
    "bad length": (_step(1, length="8192"), "'length' is '8192'"),
    "bad prot": (_step(4, prot="rq"), "'prot' is 'rq'"),
    "bad flag": (_step(4, flags=["sideways"]), "'flags' is ['sideways']"),
    "bad advice": (_step(1, op="madvise", advice="hope"), "'advice' is 'hope'"),
    "bad stride": (_step(1, stride=0), "'stride' is 0"),
    "bad proc": (_step(1, proc=7), "'proc' is 7"),
    "dead proc": (_step(1, proc="p5"), "no process p5 lives"),
    "no result": (_expect(lambda e: e.pop("ret")), "needs one of ret, errno, signal"),
    "two results": (_expect(lambda e: e.update(errno="EIO")), "needs one of ret, errno, signal"),
    "unknown field": (_expect(lambda e: e.update(extra=1)), "unknown field 'extra'"),
    "no state": (_expect(lambda e: e.pop("state")), "'state' is missing"),
    "no frames": (_expect(lambda e: e["state"].pop("frames")), "'frames' is missing"),
    "bad run": (_expect(lambda e: e["state"]["frames"].append([1, 2])), "[1, 2] is not a run"),
    "bad count": (_expect(lambda e: e["state"]["frames"].append([9, -1, "0x0", 0])), "is not a run"),
    "no pages": (_expect(lambda e: e["state"]["procs"]["p0"].pop("pages")), "'pages' is missing"),
    "bad smaps": (_expect(lambda e: e["state"]["procs"]["p0"]["vmas"][0]["smaps"].update(Rss="4")), "'Rss' is '4'"),
    "bad locked": (_expect(lambda e: e["state"]["procs"]["p0"].update(locked_kb=None)), "'locked_kb' is None"),
    "bad counter": (_expect(lambda e: e["vmstat"].update(x=1.5)), "'x' is 1.5"),
}


@pytest.mark.parametrize("change, reason", FORMATS.values(), ids=FORMATS.keys())
def test_wrong_format_is_named(small, write_lines, change, reason):
    bad = copy.deepcopy(small)
    change(bad)
    line = _reason(write_lines("a.jsonl", small, bad))
    assert "a.jsonl:2: " in line and reason in line


@pytest.mark.parametrize("line", ["[]", "7", "null", '"text"'])
def test_line_that_is_no_object(write_lines, line):
    assert _reason(write_lines("a.jsonl", line)).endswith("a.jsonl:1: not a JSON object")


def test_every_kind_of_damage_is_an_error_of_the_recording(small):
    """Whatever single part of a scenario is replaced by rubbish, parsing never fails in another way."""
    text = json.dumps(small)
    for rubbish in (None, [], {}, -1, "x", [None], {"a": None}):
        for path in _paths(small):
            broken = json.loads(text)
            _replace(broken, path, rubbish)
            try:
                recording.parse("f", 1, json.dumps(broken).encode())
            except RecordingError:
                pass


def _paths(value, path=()):
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        if path[:1] == ("expect",) and len(path) > 1 and path[1] > 1:
            return
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _replace(value, path, rubbish):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = rubbish


def test_files_of_folders_are_found_once(small, write_lines, tmp_path):
    a, b = write_lines("a.jsonl", small), write_lines("b.jsonl.gz", small)
    (tmp_path / "note.txt").write_text("no recording")
    assert recording.find_files([tmp_path, a]) == [a, b]
    assert [s.id for s in recording.read(b)] == ["every-kind"]
    assert gzip.decompress(b.read_bytes()) == a.read_bytes()


@pytest.mark.parametrize("tags, theme", [
    (["vma", "random"], "vma"), (["mlock", "thp"], "directed"), (["entries"], "entries"),
    (["entries", "random"], "random"),
])
def test_theme(small, tags, theme):
    assert recording.scenario_of({**small, "tags": tags}).theme == theme
