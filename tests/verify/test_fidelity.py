"""The engine against the real kernel: the recordings beside the tests, every step of them, invariants included.

`fuzz.jsonl.gz` holds what the live fuzzer found, shrunk, and arguments at the borders of what system calls take; it is
written by `foliosim record`.
"""
from pathlib import Path

import pytest

from foliosim.verify import recording, runner

RECORDINGS = Path(__file__).parent.parent / "recordings"


@pytest.fixture(scope="module")
def outcomes():
    files = recording.find_files([RECORDINGS])
    return runner.run(files, runner.Job(validate=True), jobs=runner.default_jobs())


def test_nothing_is_unsupported(outcomes):
    assert outcomes.total.unsupported == []


def test_invariants_hold_after_every_step(outcomes):
    assert {o.id: o.error for o in outcomes.failed if o.error} == {}


def test_recorded_values_are_matched(outcomes):
    assert outcomes.total.mismatched_scenarios == []
    assert outcomes.total.matched == outcomes.total.scenarios > 150
