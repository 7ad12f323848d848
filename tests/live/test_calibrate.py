"""foliosim calibrate on the machine's own kernel."""
import json

import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim.calibrate import CASES, kernel
from foliosim.cli import main
from foliosim.live.settings import THP, read


@pytest.fixture(autouse=True)
def folios():
    reason = kernel.why_not([0, 9])
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.live
def test_a_table_of_this_machine(tmp_path):
    before = {path: read(path) for path in (THP / "enabled", THP / "hugepages-2048kB/enabled")}
    file = tmp_path / "mine.json"
    result = CliRunner().invoke(main, ["calibrate", "--size", "16M", "--rounds", "3", "--order", "0", "--order", "9",
                                       "--name", "mine", "--json", "--out", str(file)])
    assert result.exit_code == 0, result.output
    cases = json.loads(result.stdout)["cases"]
    took = {(case["op"], case["order"]): case["measured_ns"] for case in cases}
    assert took["fork", 0] > 5 * took["fork", 9]
    assert took["populate", 0] > took["read", 0] > took["munmap", 0] > 0
    assert all(case["predicted_ns"] > 0 for case in cases)
    machine = fs.Machine(memory="64M")
    process = machine.spawn()
    process.touch(process.mmap(1 << 20), 1 << 20, write=True)
    assert 256 * 50 < machine.ledger().time(file) < 256 * 100_000      # ns, for 256 faults
    assert {path: read(path) for path in before} == before


@pytest.mark.live
@pytest.mark.parametrize("op", sorted({case.op for case in CASES}))
def test_the_program_knows_every_operation(op):
    assert len(kernel.seconds(op, 0, 2 << 20, 2)) == 2
