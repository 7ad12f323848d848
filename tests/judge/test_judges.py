"""Judges from outside agree with the walk; and would say so if they did not.  Long runs: foliosim.testing.judge."""
import json
import random

import numpy as np
import pytest
from click.testing import CliRunner
from test_arm64_walk import ENTRIES as ARM_ENTRIES
from test_arm64_walk import ROOT as ARM_ROOT
from test_arm64_walk import VECTORS as ARM_VECTORS
from test_x86_64_walk import ENTRIES as X86_ENTRIES
from test_x86_64_walk import ROOT as X86_ROOT
from test_x86_64_walk import VECTORS as X86_VECTORS

from foliosim.dump.registers import Processor
from foliosim.testing.judge import run
from foliosim.testing.judge.answers import FAULT, FETCH, USER
from foliosim.testing.judge.machines import random_machine
from foliosim.testing.judge.trial import Trial
from foliosim.testing.judge.verdict import Verdict

pytest.importorskip("unicorn", reason="unicorn is not installed: the extra judge")

from foliosim.testing.judge import with_unicorn  # noqa: E402
from foliosim.testing.judge.__main__ import main  # noqa: E402
from foliosim.testing.judge.engine import LastFault  # noqa: E402
from foliosim.testing.judge.unicorn_arm64 import UnicornArm64  # noqa: E402
from foliosim.testing.judge.unicorn_x86_64 import UnicornX86  # noqa: E402

SMALL = {"areas": 60, "changes": 200}
FAILURE = 0xc0000000


def volatility():
    return pytest.importorskip("foliosim.testing.judge.with_volatility",
                               reason="volatility3 is not installed: the extra judge", exc_type=ImportError)


def image(entries):
    memory = np.zeros(1 << 18, np.uint64)
    for at, entry in entries.items():
        memory[at // 8] = entry
    return memory.view(np.uint8)


def answer(engine, addr, access):
    pa, error = engine.ask(np.array([addr], np.uint64), access)[0].tolist()
    return error or pa


class TestWorkedExamples:
    """The tables and answers that tests/arch holds our own walk against."""

    @pytest.mark.parametrize("addr, access, state, expected, bits", [
        vector[1:] for vector in X86_VECTORS], ids=[vector[0] for vector in X86_VECTORS])
    def test_x86_64(self, addr, access, state, expected, bits):
        if not expected & FAILURE and expected >> 40:
            pytest.skip("Unicorn's processors have physical addresses of 40 bits")
        on = frozenset(name for name, bit in {"smep": 0x400, "smap": 0x800}.items() if state & bit) | {"nxe", "wp"}
        engine = UnicornX86(image(X86_ENTRIES), Processor("x86_64", 4096, X86_ROOT, 48, bits, on))
        assert answer(engine, addr, access) == expected

    @pytest.mark.parametrize("addr, access, state, expected", [
        vector[1:5] for vector in ARM_VECTORS], ids=[vector[0] for vector in ARM_VECTORS])
    def test_arm64(self, addr, access, state, expected):
        if state & 0x300 and not expected & FAILURE:
            pytest.skip("Unicorn's processor sets no access flags and dirty states")
        engine = UnicornArm64(image(ARM_ENTRIES), Processor("arm64", 4096, ARM_ROOT, 48, 48,
                                                            frozenset({"pan"} if state & 0x400 else ())))
        assert answer(engine, addr, access) == expected


class TestRandomMachines:
    @pytest.mark.parametrize("arch, widths", [("x86_64", 2), ("arm64", 7)])
    def test_unicorn(self, arch, widths):
        verdicts = run.run(arch, 1500 * widths, judges=["unicorn"], per_machine=1500, **SMALL)
        assert [line for verdict in verdicts for line in verdict.shown] == []
        assert [verdict.wrong for verdict in verdicts] == [0] * len(verdicts)
        as_written = verdicts[0]
        assert as_written.machines == widths and as_written.answers >= 6 * 1500 * widths
        assert {"page, writable", "page, read-only", "huge page, read-only", "page, PROT_NONE", "swapped", "guard",
                "nothing", "no table"} <= set(as_written.kinds)
        assert arch == "x86_64" or as_written.kinds["contiguous page, read-only"] > 100

    def test_volatility(self):
        volatility()
        intel, linux = run.run("x86_64", 1500, judges=["volatility3"], per_machine=1500, **SMALL)
        assert intel.shown == linux.shown == []
        assert intel.wrong == linux.wrong == 0
        for verdict in (intel, linux):
            assert verdict.answers + sum(verdict.undecided.values()) - verdict.undecided["five-level tables"] == verdict.addresses

    def test_what_is_undecided_is_named(self):
        arm, _ = run.run("arm64", 1500, judges=["unicorn"], per_machine=1500, **SMALL)
        assert arm.undecided["accessed and dirty states that the processor sets itself"] > 100


class TestDisagreements:
    """A judge that is shown other tables than the machine's must differ."""

    @pytest.fixture
    def trial(self):
        machine = random_machine(random.Random(1), "x86_64", "4K", **SMALL)
        return Trial(machine, np.random.default_rng(1))

    def take_rights(self, trial):
        """Change the machine after it was dumped."""
        for process in trial.machine.processes():
            for area in process.maps():
                process.mprotect(int(area["start"]), int(area["end"] - area["start"]), 0)

    def test_unicorn(self, trial):
        self.take_rights(trial)
        verdict = Verdict("Unicorn x86_64", "as written")
        with_unicorn.as_written(trial, verdict, 600)
        assert verdict.wrong > 100 and len(verdict.shown) == 10
        assert "x86_64 4K 48 bits, user read of 0x" in verdict.shown[0]

    def test_accessed_and_dirty_bits(self, trial, monkeypatch):
        honest = trial.walk_in
        monkeypatch.setattr(trial, "walk_in", lambda *args, **keywords: honest(*args))
        verdict = Verdict("Unicorn x86_64", "accessed and dirty bits")
        with_unicorn.used(trial, verdict, 600)
        assert verdict.wrong > 10 and "entry" in verdict.shown[0]

    def test_volatility(self, trial):
        self.take_rights(trial)
        intel, linux = Verdict("Intel32e", "as written"), Verdict("LinuxIntel32e", "as written")
        volatility().presence(trial, intel, linux, 600)
        assert intel.wrong > 100
        assert linux.wrong == 0  # the pages are still there, says pagemap

    def test_what_is_shown(self):
        verdict, addrs = Verdict("Unicorn", "as written"), np.arange(3, dtype=np.uint64)
        ours = np.array([(4096, 0), (0, 0x80000004), (0, 0x80000004)], [("pa", "u8"), ("error", "u4")])
        theirs = np.array([(8192, 0), (0, 0x80000005), (0, 0x80000004)], ours.dtype)
        verdict.compare("read", addrs, ours, theirs)
        assert (verdict.answers, verdict.wrong) == (3, 2)
        assert verdict.shown == ["read of 0x0: address 0x1000, Unicorn address 0x2000",
                                 "read of 0x1: error 0x80000004, Unicorn error 0x80000005"]


def test_unicorn_forgets_where_it_ran_before_it_had_the_tables():
    machine = random_machine(random.Random(3), "arm64", "16K", 36, areas=20, changes=20)
    trial = Trial(machine, np.random.default_rng(1))
    process, processor, _, _ = next(iter(trial.spaces(trial.dump.image(), 4)))
    judge = UnicornArm64(trial.dump.image(), processor)
    access = USER | FETCH
    assert trial.walk(process, processor, np.array([judge.base], np.uint64), access)["error"][0]
    assert answer(judge, judge.base, access) & FAULT


def test_a_unicorn_that_keeps_its_state_otherwise_is_refused():
    uc = next(iter(UnicornX86(image(X86_ENTRIES), Processor("x86_64", 4096, X86_ROOT, 48, 46, frozenset())).engines.values()))
    with pytest.raises(RuntimeError, match="code of a fault is at 0 places"):
        LastFault(uc[0], [(lambda: None, {"code": 0x12345678})], {"code": 4})


def test_a_judge_that_is_not_there(monkeypatch):
    with pytest.raises(ValueError, match="judge 'bochs': valid are unicorn, volatility3"):
        run.run("x86_64", 10, judges=["bochs"])
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="unicorn is not installed"):
        run.run("x86_64", 10, judges=["unicorn"])


def test_command(tmp_path):
    command = ["--addresses", "200", "--arch", "arm64", "--judge", "unicorn", "--json", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    verdicts = json.loads((tmp_path / "out").read_text())
    assert [verdict["wrong"] for verdict in verdicts] == [0, 0]
    assert [verdict["addresses"] for verdict in verdicts] == [201, 201]
    assert "disagreements" in done.output and "page, read-only" in done.output


def test_tags_lead_to_the_same_entries():
    trial = Trial(random_machine(random.Random(2), "arm64", "16K", 48, **SMALL), np.random.default_rng(2))
    _, _, tables, addrs = next(trial.spaces(trial.dump.image(), 600))
    addrs = addrs & np.uint64((1 << 48) - 1)
    for plain, tagged in zip(tables.entries_at(addrs), tables.entries_at(addrs | np.uint64(0xc2 << 56)), strict=True):
        assert np.array_equal(plain, tagged)
