"""What if: a trace under limits, modes and policies; runs in files, side by side."""
import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.replay import read_trace, whatif
from foliosim.replay.run import replay_trace
from foliosim.replay.series import COLUMNS, column, summary
from foliosim.study import run_study

DATA = Path(__file__).parent / "data"
PIPE, REDIS = (DATA / f"{name}.trace.jsonl.xz" for name in ("pipe-never", "redis-always"))


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_looks_change_nothing_and_are_at_every_snapshot():
    trace = read_trace(REDIS)
    plain, looked = replay_trace(trace), replay_trace(trace, samples=50)
    assert plain.metrics == looked.metrics
    rows = looked.series.rows
    assert [row[COLUMNS.index("why")] for row in rows if row[1]] == [e[5] for e in trace.events if e[0] == "S"]
    assert len(rows) > 12 and column(rows, "time_ns") == sorted(column(rows, "time_ns"))
    assert all(value == sorted(value) for value in (column(rows, name) for name in ("faults", "cow_bytes")))
    assert summary(rows)["faults"] == looked.metrics["pgfault"]


def test_a_look_in_the_middle_of_faults_is_exact():
    trace = read_trace(PIPE)
    rows = replay_trace(trace, samples=400).series.rows
    between = [row for row in rows if not row[1]]
    assert len(between) > 50
    assert len({row[COLUMNS.index("faults")] for row in between}) > 50


def test_a_run_is_written_and_compared(tmp_path):
    for folder, more in (("a", ()), ("b", ("--thp", "always"))):
        result = run("replay", PIPE, "--out", tmp_path / folder, *more)
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == ["run.csv", "run.json", "run.png"]
    rows = list(csv.DictReader((tmp_path / "a/run.csv").open()))
    saved = json.loads((tmp_path / "a/run.json").read_text())
    assert [int(row["rss_bytes"]) for row in rows] == column(saved["samples"], "rss_bytes")
    assert max(int(row["huge_bytes"]) for row in rows) == 0
    result = run("compare", tmp_path / "a", tmp_path / "b/run.json", "--out", tmp_path / "c.png")
    assert result.exit_code == 0 and (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "pipe/never thp=always" in result.output
    faults = [summary(json.loads((tmp_path / one / "run.json").read_text())["samples"])["faults"] for one in "ab"]
    assert faults[0] > faults[1] and all(f"{number:,}" in result.output for number in faults)


@pytest.mark.parametrize("change, reason", [
    (lambda text: text[:300], "not JSON"),
    (lambda text: "{}", "not a run"),
    (lambda text: text.replace('"version": 1', '"version": 9'), "this foliosim reads version 1"),
    (lambda text: text.replace('"metrics"', '"matrix"'), "damaged: metrics"),
    (lambda text: text.replace('"exec"', "1", 1).replace('"samples": [', '"samples": [[1],'), "damaged: sample 0"),
])
def test_a_foreign_or_damaged_run_is_refused_in_one_line(tmp_path, change, reason):
    good = tmp_path / "run.json"
    assert run("replay", PIPE, "--json", good).exit_code == 0
    good.write_text(change(good.read_text()))
    result = run("compare", good, "--out", tmp_path / "x.png")
    assert result.exit_code == 1 and reason in result.output
    assert len(result.output.strip().splitlines()) == 1 and not (tmp_path / "x.png").exists()


def test_an_empty_folder_is_no_run(tmp_path):
    result = run("compare", tmp_path)
    assert result.exit_code == 1 and "no run in this folder" in result.output


def test_a_limit_that_is_too_small_ends_the_replay_and_says_when(tmp_path):
    result = run("replay", REDIS, "--limit", "16M", "--json", tmp_path / "run.json")
    assert result.exit_code == 1 and "out of memory at " in result.output
    saved = json.loads((tmp_path / "run.json").read_text())
    assert saved["stopped"] and summary(saved["samples"])["peak_used_bytes"] <= 16 << 20


def test_with_swap_it_fits():
    machine_peak = summary(replay_trace(read_trace(REDIS), samples=10).series.rows)["peak_used_bytes"]
    assert machine_peak > 24 << 20
    result = run("replay", REDIS, "--limit", "24M", "--swap", "1G")
    assert result.exit_code == 0, result.output


def test_a_sweep_is_all_combinations_and_gives_runs_to_compare(tmp_path):
    result = run("replay", PIPE, "--sweep", "thp=never,always", "--policy", "cow_order=order0", "--policy",
                 "cow_order=inherit", "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "s/replay.csv").open()))
    assert [(row["thp"], row["cow_order"]) for row in rows] == [
        ("never", "order0"), ("never", "inherit"), ("always", "order0"), ("always", "inherit")]
    assert run("compare", tmp_path / "s", "--out", tmp_path / "c.png").exit_code == 0


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
    real, seen = whatif.replay_trace, []

    def replay_two(*args, **options):
        seen.append(args)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(whatif, "replay_trace", replay_two)
    args = ["replay", PIPE, "--sweep", "thp=recorded,never,madvise,always", "--out", tmp_path / "s"]
    result = run(*args)
    assert result.exit_code == 1 and "interrupted; 2 of 4 runs are kept in" in result.output
    assert [file.name for file in (tmp_path / "s").iterdir()] == ["replay.unfinished.jsonl"]
    assert run(*args).exit_code == 0 and len(seen) == 5
    monkeypatch.undo()
    assert run(*args[:-1], tmp_path / "t").exit_code == 0
    for name in ("replay.csv", "run-00.json", "run-03.json"):
        assert (tmp_path / "s" / name).read_text() == (tmp_path / "t" / name).read_text()
    assert not (tmp_path / "s/replay.unfinished.jsonl").exists()


def test_a_sweep_equals_its_runs_one_by_one(tmp_path):
    swept = run_study(whatif.WHERE, settings={"trace": str(PIPE)}, sweeps={"thp": ["never", "always"]})
    for one in swept.runs:
        path = tmp_path / "run.json"
        assert run("replay", PIPE, "--thp", one.parameters["thp"], "--json", path).exit_code == 0
        numbers = summary(json.loads(path.read_text())["samples"])
        assert numbers == {name: one.metrics[name] for name in numbers}


@pytest.mark.parametrize("args, reason", [
    (["--limit", "much"], "size 'much'"),
    (["--sweep", "colour=red"], "key 'colour'"),
    (["--sweep", "thp=sometimes"], "thp='sometimes'"),
    (["--policy", "cow_order=nine"], "nine"),
    (["--sweep", "thp=never", "--against", DATA / "pipe-never.truth.json.xz"], "--against"),
])
def test_what_cannot_be_asked_is_named(args, reason):
    result = run("replay", PIPE, *args)
    assert result.exit_code == 1 and reason in result.output
    assert len(result.output.strip().splitlines()) == 1
