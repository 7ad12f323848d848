"""The running kernel: what is recorded of it, and whether a lie about it is found."""
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.live import facts
from foliosim.live.fuzz import Fuzzer
from foliosim.live.generate import Generator
from foliosim.live.recorder import OutsideError
from foliosim.live.settings import default, of_scenario
from foliosim.verify import recording
from foliosim.verify.engine import MachineEngine
from foliosim.verify.replay import replay

pytestmark = pytest.mark.live

RECORDINGS = Path(__file__).parent.parent / "recordings"
same_release = pytest.mark.skipif("not facts.release().startswith(facts.CONTRACT_RELEASE)",
                                  reason=f"this kernel is {facts.release()}, the recorded one 6.18")
AREA = {"proc": "p0", "addr": "0x200000000000", "length": 16384}
MMAP = {"op": "mmap", **AREA, "prot": "rw", "flags": ["private", "anonymous", "fixed"]}


@same_release
@pytest.mark.parametrize("theme", ["directed", "fork-cow", "gup", "mremap", "files"])
def test_recorded_scenarios_are_recorded_again(theme, recorder, turn):
    for scenario, _ in zip(recording.read(RECORDINGS / f"{theme}.jsonl.gz"), range(8)):
        assert recorder.record(scenario.steps, of_scenario({"machine": scenario.machine}), turn) == scenario.expect


def test_a_mapping_outside_the_arena_is_named(recorder, turn):
    away = {**MMAP, "addr": "0x0", "flags": ["private", "anonymous"]}
    with pytest.raises(OutsideError) as caught:
        recorder.run([MMAP, away], default(), turn)
    assert caught.value.step == 1


def test_record_writes_what_verify_reads(tmp_path):
    plan, out = tmp_path / "plan.jsonl", tmp_path / "out.jsonl.gz"
    steps = [MMAP, {"op": "write", **AREA, "value": 7}, {"op": "fork", "proc": "p0", "child": "p1"},
             {"op": "read", **{**AREA, "proc": "p1"}}]
    plan.write_text(json.dumps({"id": "mine", "steps": steps, "settings": {"mthp": {"16kB": "inherit"}}}) + "\n"
                    + json.dumps({"id": "wrong", "steps": [{"op": "read", **{**AREA, "proc": "p3"}}]}) + "\n")
    result = CliRunner().invoke(main, ["record", str(plan), "--out", str(out)])
    assert result.exit_code == 1
    assert "wrong: left out" in result.output
    [scenario] = recording.read(out)
    assert scenario.id == "mine"
    assert scenario.machine["mthp"]["16kB"] == "inherit"
    assert scenario.expect[3]["data"] == [[7, 4, 0]]


class Liar(MachineEngine):
    """Does not know of locked memory."""

    def perform(self, step):
        entry = super().perform(step)
        for proc in entry["state"]["procs"].values():
            proc["locked_kb"] = 0
        return entry


class Here:
    """An emulator in this process."""

    def __init__(self, make_engine):
        self._make_engine, self._waiting = make_engine, []

    def submit(self, scenario):
        self._waiting.append(scenario)

    def collect(self):
        scenario = self._waiting.pop(0)
        return scenario, self.replay(scenario)

    def replay(self, scenario):
        return replay(scenario, self._make_engine, details=True)


def test_a_lie_is_found_and_shrunk(recorder, turn):
    generator = Generator(1, {"mmap", "write", "read", "mlock", "munlock"}, set(), themes=["mlock"])
    findings = []
    fuzzer = Fuzzer(generator, recorder, Here(Liar), turn, findings.append)
    fuzzer.run(scenarios=6)
    assert fuzzer.tally.disagreed
    ops = [[step["op"] for step in finding.scenario.steps] for finding in findings]
    assert ["mmap", "mlock"] in ops
    assert {(d.part, d.field) for d in findings[0].outcome.first} == {("memory", "locked_kb")}


@same_release
def test_fuzz_counts_what_it_did(tmp_path):
    result = CliRunner().invoke(main, ["fuzz", "--live", "--seed", "3", "--scenarios", "12", "--ops",
                                       "mmap,munmap,write,read", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "12 scenarios" in result.output
    assert "0 disagree" in result.output
