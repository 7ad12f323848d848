"""The engine against the real kernel: the recordings beside the tests, every step of them, invariants included."""
import importlib.util
from pathlib import Path

import pytest

from foliosim.verify import recording, runner

RECORDINGS = Path(__file__).parent.parent / "recordings"
FIRST_THEMES = {"directed", "thp", "fork-cow", "mlock", "gup", "vma"}


def _first_operations():
    spec = importlib.util.spec_from_file_location("choice_of_recordings", RECORDINGS / "select.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.uses_first_operations


@pytest.fixture(scope="module")
def outcomes():
    files = recording.find_files([RECORDINGS])
    uses_first = _first_operations()
    ids = {s.id for path in files for s in recording.read(path)
           if s.theme in FIRST_THEMES and uses_first({"steps": s.steps})}
    summary = runner.run(files, runner.Job(ids=frozenset(ids), validate=True), jobs=runner.default_jobs())
    assert summary.ids == ids
    return summary


def test_nothing_is_unsupported(outcomes):
    assert outcomes.total.unsupported == []


def test_invariants_hold_after_every_step(outcomes):
    assert {o.id: o.error for o in outcomes.failed if o.error} == {}


def test_recorded_values_are_matched(outcomes):
    """At least 80 % of the scenarios match in full."""
    assert outcomes.total.matched >= 0.8 * outcomes.total.scenarios, outcomes.total.mismatched_scenarios
