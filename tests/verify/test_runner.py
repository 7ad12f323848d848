"""Many scenarios: totals, workers, and engines that fail, hang or die."""
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import every_kind, faulty, honest

from foliosim import cli
from foliosim.verify import command, leaves, recording, runner

RECORDINGS = Path(__file__).parent.parent / "recordings"
FAULTS = ["raise", "unsupported", "invalid", "fine"]


@pytest.fixture
def faults(write_lines):
    return write_lines("faults.jsonl", *[{**every_kind(), "id": f"s{n}!{way}"} for n, way in enumerate(FAULTS)])


@pytest.mark.parametrize("jobs", [1, 2])
def test_recorded_entries_match_themselves(jobs):
    """The whole way through files, workers and totals, on an engine that answers as recorded."""
    files = recording.find_files([RECORDINGS])
    summary = runner.run(files, runner.Job(make_engine=honest), jobs=jobs)
    entries = [entry for path in files for scenario in recording.read(path) for entry in scenario.expect]
    assert summary.ok and summary.total.mismatched_values == 0
    assert summary.total.scenarios == 176 and summary.total.steps == len(entries)
    assert summary.total.values + summary.total.masked == sum(map(leaves.count, entries))
    assert summary.total.masked == 0
    assert sum(totals.scenarios for totals in summary.by_theme.values()) == 176
    assert set(summary.by_theme) == {path.name.split(".")[0] for path in files}


@pytest.mark.parametrize("jobs", [1, 2])
def test_failing_engines_are_findings(faults, jobs):
    summary = runner.run([faults], runner.Job(make_engine=faulty, validate=True), jobs=jobs)
    assert summary.total.mismatched_scenarios == ["s0!raise", "s2!invalid"]
    assert summary.total.unsupported == ["s1!unsupported"]
    assert (summary.total.scenarios, summary.total.matched, summary.ok) == (4, 1, False)
    assert summary.total.steps == 2 + 2 + 2 + 5
    errors = [outcome.error for outcome in summary.failed]
    assert errors == ["KeyError: 'lost frame'", None, "ValidationError: folio 0x200: mapcount is 3, recomputed 2"]


def test_worker_that_dies_or_hangs_costs_one_scenario(write_lines):
    ways = ["fine", "die", "fine", "hang", "fine", "fine"]
    path = write_lines("deaths.jsonl", *[{**every_kind(), "id": f"s{n}!{way}"} for n, way in enumerate(ways)])
    summary = runner.run([path], runner.Job(make_engine=faulty), jobs=2, timeout=8.0)
    assert summary.total.scenarios == 6
    assert summary.total.mismatched_scenarios == ["s1!die", "s3!hang"]
    assert "exit status 9" in summary.failed[0].error
    assert "no answer in 8 s" in summary.failed[1].error


class TestCommand:
    @pytest.fixture(autouse=True)
    def engine(self, monkeypatch):
        job = runner.Job
        monkeypatch.setattr(runner, "Job", lambda **options: job(make_engine=faulty, **options))

    def invoke(self, *words):
        return CliRunner().invoke(cli.main, ["verify", "--jobs", "1", *map(str, words)])

    def test_status_and_json(self, faults, tmp_path):
        out = tmp_path / "out.json"
        result = self.invoke(faults, "--json", out, "--validate")
        assert result.exit_code == 1
        report = json.loads(out.read_text())
        assert list(report) == ["scenarios", "steps", "values", "masked", "mismatched_scenarios", "mismatched_values",
                                "unsupported", "by_theme"]
        assert report["mismatched_scenarios"] == ["s0!raise", "s2!invalid"]
        assert "4 scenarios, 11 steps" in " ".join(result.output.split())

    def test_all_right_is_status_0(self, faults):
        result = self.invoke(faults, "--id", "s3!fine")
        assert result.exit_code == 0
        assert "0 scenarios and 0 values mismatch" in " ".join(result.output.split())

    def test_unsupported_alone_fails(self, faults):
        assert self.invoke(faults, "--id", "s1!unsupported").exit_code == 1

    def test_show_unsupported_and_error(self, faults):
        assert "unsupported: op 'x' is not implemented" in self.invoke(faults, "--show", "--id", FAULT[1]).output
        assert "KeyError: 'lost frame'" in self.invoke(faults, "--show", "--id", FAULT[0]).output

    def test_nothing_to_replay_is_no_success(self, faults):
        assert self.invoke(faults, "--id", "nobody").exit_code == 1
        assert self.invoke(faults, "--theme", "nothing").exit_code == 1

    def test_theme(self, faults):
        assert "4 scenarios" in " ".join(self.invoke(faults, "--theme", "directed").output.split())


FAULT = [f"s{n}!{way}" for n, way in enumerate(FAULTS)]


def test_subcommands_are_listed_without_importing_them():
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    assert "verify" in result.output and "study" in result.output
    assert command.verify.name == "verify"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_timeout_that_is_no_number(jobs, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    result = CliRunner().invoke(cli.main, ["verify", str(tmp_path), "--jobs", jobs, "--timeout", "nan"])
    assert result.exit_code == 2 and "nan is no number of seconds" in result.output
