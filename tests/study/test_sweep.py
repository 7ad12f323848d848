"""Sweeps: the same result wherever they run, nothing that was finished is lost."""
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.study import StudyError, SweepError, choose, run_study, sweep
from foliosim.study.base import load

SLOW = "slow_study:STUDY"
PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(autouse=True)
def slow(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setenv("SLOW_STUDY", str(tmp_path))
    return tmp_path / "begun"


def begun(file):
    return [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []


def squares(result):
    return [run.metrics["square"] for run in result.runs]


def test_combinations():
    cases = choose.parameters(load("half-mlock"), ["split_fails=no"], ["size=2M,4M", "shape=pmd,pte"])
    assert [(case["size"] >> 20, case["shape"]) for case in cases] == [(2, "pmd"), (2, "pte"), (4, "pmd"), (4, "pte")]


def test_cases_that_are_alike_run_once():
    assert len(choose.parameters(load("half-mlock"), ["size=64K", "split_fails=no"], ["shape=pmd,pte"])) == 1


@pytest.mark.parametrize("settings, sweeps, named", [
    ([], ["sizes=1,2"], "sizes"), ([], ["size=2M,3M"], "3M"), ([], ["size="], "size="),
    (["size=2M"], ["size=4M"], "twice"), ([], ["size=2M", "size=4M"], "twice"), (["page_size=-1"], [], "-1"),
    (["page_size=16K"], [], "16384: valid for x86_64 are 4K"), (["page_size=1"], [], "'1'"), (["arch=riscv"], [], "riscv"),
])
def test_bad_words(settings, sweeps, named):
    with pytest.raises(StudyError, match=named):
        choose.parameters(load("half-mlock"), settings, sweeps)


@pytest.mark.parametrize("name, named", [("slow_study:NO", "NO"), ("no_such_module:X", "no_such_module"), (":", "':'")])
def test_studies_that_are_not_there(name, named):
    with pytest.raises(StudyError, match=named):
        load(name)


def test_the_seed_reaches_the_run():
    assert run_study(SLOW, seed=7).runs[0].metrics["seed"] == 7


def test_the_same_for_any_number_of_jobs(tmp_path):
    pytest.importorskip("matplotlib")
    written = []
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        result = CliRunner().invoke(main, ["study", "half-mlock", "--sweep", "size=2M,64K", "--jobs", jobs, "--out",
                                           str(out), "--json", str(out / "x.json")])
        assert result.exit_code == 0, result.output
        written.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"half-mlock.csv", "half-mlock.png", "x.json"}


def test_a_worker_that_dies(tmp_path, slow):
    """What was finished is kept; the same call goes on from there."""
    journal = tmp_path / "journal"
    arguments = {"settings": {"does": "die", "wait": 10}, "sweeps": {"number": range(6)}, "jobs": 2, "journal": journal}
    with pytest.raises(SweepError, match=r"a worker process died; (\d) of 6 runs are kept"):
        run_study(SLOW, **arguments)
    kept = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(kept) >= 1
    before = len(begun(slow))
    result = run_study(SLOW, **arguments)
    assert squares(result) == [n * n for n in range(6)]
    assert len(begun(slow)) - before == 6 - len(kept)
    assert not journal.exists()


def test_an_interrupted_command(tmp_path, slow):
    out = tmp_path / "out"
    command = ["study", SLOW, "--set", "does=interrupt", "--sweep", "number=0,1,2,3", "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and "interrupted; 2 of 4 runs are kept in" in result.output
    assert [file.name for file in out.iterdir()] == ["slow.unfinished.jsonl"]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert begun(slow) == [0, 1, 2, 2, 3]
    assert sorted(file.name for file in out.iterdir()) == ["slow.csv", "slow.png"]


def test_a_journal_that_is_cut_off_or_foreign(tmp_path, slow):
    journal = tmp_path / "journal"
    done = run_study(SLOW, sweeps={"number": [1, 2]}).runs
    tasks = sweep.tasks(SLOW, [run.parameters for run in done], choose.policies(load(SLOW)), 0)
    book = sweep.Journal(journal)
    for task, run in zip(tasks, done):
        book.add(task, run)
    journal.write_bytes(b"\x00\xff\n[]\n{}\n" + journal.read_bytes()[:-20])
    before = begun(slow)
    assert squares(run_study(SLOW, sweeps={"number": [1, 2]}, journal=journal)) == [1, 4]
    assert begun(slow)[len(before):] == [2]


def test_what_comes_behind_a_line_that_was_cut_off_is_kept(tmp_path, slow):
    journal = tmp_path / "journal"
    (run,) = run_study(SLOW).runs
    (task,) = sweep.tasks(SLOW, [run.parameters], choose.policies(load(SLOW)), 0)
    journal.write_bytes(b'{"key": "of a run that wa')
    for _ in range(2):
        sweep.Journal(journal).add(task, run)
    assert list(sweep.Journal(journal).found) == [task.key] and len(journal.read_bytes().splitlines()) == 3


def test_a_journal_that_is_damaged_or_no_file(tmp_path):
    journal = tmp_path / "journal"
    journal.write_text("[" * 200_000)
    assert sweep.Journal(journal).found == {}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(sweep.SweepError, match="pipe: is where finished runs are kept, and is no file"):
        sweep.Journal(tmp_path / "pipe")


def test_another_seed_or_policy_is_another_run(tmp_path, slow):
    journal = tmp_path / "journal"
    (task,) = sweep.tasks(SLOW, [run_study(SLOW).runs[0].parameters], choose.policies(load(SLOW)), 0)
    sweep.Journal(journal).add(task, run_study(SLOW).runs[0])
    before = len(begun(slow))
    run_study(SLOW, seed=1, journal=journal)
    assert len(begun(slow)) == before + 1


def test_a_policy_object_travels():
    from slow_study import Inherit

    (run,) = run_study(SLOW, policy=Inherit(), jobs=2).runs
    assert run.metrics["by_name"] == 0
    assert run.policy == {"cow_order": "slow_study.Inherit"} and run.label == "Inherit"


def test_a_policy_object_that_cannot_travel_is_refused():
    class Here:
        def cow_order(self, order, pmd):
            return "order0"

    with pytest.raises(StudyError, match="'Here' cannot be sent to another process: .*Here"):
        run_study(SLOW, policy=Here(), jobs=2)
    assert run_study(SLOW, policy=Here(), jobs=1).runs[0].metrics["by_name"] == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two worker processes."""
    distributed = pytest.importorskip("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        patch.setenv("SLOW_STUDY", str(tmp_path_factory.mktemp("cluster")))
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                                      host="127.0.0.1", silence_logs=50) as cluster:
            yield cluster


class TestDask:
    def test_a_worker_that_dies_midway(self, cluster, tmp_path):
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        with sweep.open_executor(address) as executor:
            result = run_study(SLOW, {"does": "die", "wait": 20}, sweeps={"number": range(12)}, executor=executor,
                               journal=tmp_path / "journal")
        assert squares(result) == [n * n for n in range(12)]
        assert list(tmp_path.parent.glob("cluster*/died"))

    def test_the_command(self, cluster, tmp_path):
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        for name, where in (("a", ["--executor", address]), ("b", [])):
            result = CliRunner().invoke(main, ["study", "half-mlock", *where, "--out", str(tmp_path / name),
                                               "--json", str(tmp_path / name / "x.json")])
            assert result.exit_code == 0, result.output
        assert (tmp_path / "a/x.json").read_bytes() == (tmp_path / "b/x.json").read_bytes()

    def test_nobody_there(self, tmp_path):
        pytest.importorskip("distributed")
        for address, named in (("dask://127.0.0.1:1", "127.0.0.1:1"), ("dask://x", "dask://HOST:PORT"), ("ray://x", "dask://HOST:PORT"), ("x", "'x'")):
            with pytest.raises(StudyError, match=named):
                sweep.open_executor(address)
