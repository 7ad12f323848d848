"""A kernel with 16 KiB pages."""
import json
from pathlib import Path

import pytest

from foliosim.verify import recording, runner
from foliosim.verify.compare import Differences, compare

RECORDINGS = Path(__file__).parent.parent / "recordings_16k" / "arm64.jsonl.gz"


@pytest.fixture(scope="module")
def scenarios():
    return list(recording.read(RECORDINGS))


def test_every_value_is_as_recorded(scenarios):
    assert {scenario.page_size for scenario in scenarios} == {16384}
    summary = runner.run([RECORDINGS], runner.Job(), jobs=runner.default_jobs())
    assert summary.total.scenarios == len(scenarios) == 119
    assert [(o.id, o.error or o.unsupported or o.mismatched) for o in summary.failed] == []


def test_pages_are_paired_by_their_size(scenarios):
    entry = next(entry for scenario in scenarios for entry in scenario.expect
                 if any(run[1] > 1 for run in entry["state"]["procs"]["p0"]["pages"]))
    changed = json.loads(json.dumps(entry))
    run = next(run for run in changed["state"]["procs"]["p0"]["pages"] if run[1] > 1)
    second = int(run[0], 16) + 16384
    run[1] = 1  # all pages of the run but the first are gone
    out = Differences(keep=1, page_size=16384)
    compare(entry, changed, {"op": "write"}, False, out)
    assert out.kept[0].where == second


def test_a_page_size_that_no_kernel_has_is_named(scenarios):
    line = {"id": "odd", "tags": [], "machine": {**scenarios[0].machine, "page_size": 8192}, "steps": [], "expect": []}
    with pytest.raises(recording.FormatError, match="8192"):
        recording.scenario_of(line)
