"""What the emulator writes for a state equals what the live kernel showed of it: golden/*.json, made by record.py."""
import json
from pathlib import Path

import masks
import pytest
import readers
from states import DEFAULT, STATES
from tracee import SETUP

from foliosim.verify.engine import MachineEngine
from foliosim.verify.recording import Scenario

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_kernel(path, tmp_path):
    golden = json.loads(path.read_text())
    engine = MachineEngine(Scenario(path.stem, (), golden["machine"], golden["steps"], []))
    for step in golden["steps"]:
        assert "errno" not in engine.perform(step), step
        engine.validate()
    engine.machine.write_proc(tmp_path)
    shown = readers.show(tmp_path, {name: process.pid for name, process in engine.procs.items()})
    if "sysfs" in golden["shown"]:
        shown["vmstat"] = readers.vmstat_rows((tmp_path / "vmstat").read_text())
        shown["sysfs"] = readers.sysfs(tmp_path / "sys/kernel/mm/transparent_hugepage")
    assert masks.difference(masks.masked(shown), golden["shown"]) is None


def test_every_state_is_recorded():
    assert {path.stem for path in GOLDEN} == set(STATES)
    for path in GOLDEN:
        golden = json.loads(path.read_text())
        assert golden["steps"] == SETUP + STATES[path.stem]["steps"]
        assert golden["machine"] == DEFAULT | STATES[path.stem].get("machine", {})
