"""The fit, on timings that were made up; what the command says and writes.  (On a real kernel: tests/live.)"""
import contextlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim import costs
from foliosim.calibrate import CASES, Case, command, fit, kernel, nnls
from foliosim.calibrate.cases import HELD_OUT_ORDERS, ORDERS, counts
from foliosim.cli import main

LENGTH = 4 << 20
MADE_UP = {"pte_set": 20.0, "ref": 60.0, "mapcount": 3.0, "fault": 500.0, "zero_page": 300.0, "copy_page": 700.0,
           "folio_alloc": 200.0, "folio_free": 90.0, "table_alloc": 900.0, "table_free": 700.0, "record": 100.0,
           "syscall": 250.0, "rmap_call": 15.0, "vma": 400.0, "gup": 110.0, "mlock": 130.0, "tlb_flush": 350.0}


def time_of(numbers):
    return sum(MADE_UP.get(name, 0) * count for name, count in numbers.items())


@pytest.fixture(scope="module")
def counted():
    return {case: counts(case, LENGTH) for case in CASES}


class TestNnls:
    def test_recovers(self):
        rng = np.random.default_rng(1)
        matrix, wanted = rng.random((40, 8)), np.array([0, 1, 2, 0, 3.5, 0, 0.1, 7])
        np.testing.assert_allclose(nnls(matrix, matrix @ wanted), wanted, atol=1e-9)

    def test_nothing_negative(self):
        """min (x - 1)^2 + (y + 1)^2 lies at y = 0; and with one column 2x = -3 at x = 0."""
        assert nnls([[1, 0], [0, 1]], [1, -1]).tolist() == [1, 0]
        assert nnls([[2]], [-3]).tolist() == [0]

    def test_a_column_that_came_in_goes_out(self):
        """All optimality conditions hold: gradient 0 where x > 0, not above 0 elsewhere."""
        rng = np.random.default_rng(5)
        for _ in range(50):
            matrix, values = rng.normal(size=(9, 6)), rng.normal(size=9)
            x = nnls(matrix, values)
            gradient = matrix.T @ (values - matrix @ x)
            assert (x >= 0).all() and (gradient < 1e-8).all()
            assert np.abs(gradient[x > 0]).max(initial=0) < 1e-8

    def test_no_numbers(self):
        with pytest.raises(ValueError, match="finite"):
            nnls([[np.inf, 1.0]], [1.0])


class TestCounts:
    def test_by_hand(self, counted):
        """4 MiB are 1024 pages; mlock looks up each and locks each folio; munlock only does the second."""
        assert {order: counted[Case("mlock", order)]["mlock"] for order in ORDERS} == {
            order: 1024 >> order for order in ORDERS}
        assert {order: counted[Case("mlock", order)]["gup"] for order in ORDERS} == {
            order: 1024 if order < 9 else 2 for order in ORDERS}
        assert counted[Case("munlock", 4)]["gup"] == counted[Case("mlock", 4)]["ref"] == 0
        assert counted[Case("munlock", 4)]["mlock"] == 64
        assert counted[Case("split", 4)]["record"] == counted[Case("populate", 4)]["zero_page"] == 1024
        assert counted[Case("cow", 9)]["copy_page"] == counted[Case("reuse", 0)]["fault"] == 1024
        assert counted[Case("reuse", 9)]["copy_page"] == 0

    def test_some_are_held_out_of_each_kind(self):
        held = {case for case in CASES if case.held_out}
        assert {case.op for case in held} >= {"fork", "munmap", "protect", "mlock", "dontneed", "cow", "split"}
        assert {case.order for case in held} >= set(HELD_OUT_ORDERS)
        assert {case.op for case in CASES} - {case.op for case in CASES if not case.held_out} == {
            "dontneed", "split-free"}


class TestFit:
    def test_recovers_what_was_made_up(self, counted):
        result = fit([(case, numbers, time_of(numbers)) for case, numbers in counted.items()])
        assert max(result.errors()) < 1e-6 and max(result.errors(held_out=False)) < 1e-6
        assert not result.alike
        assert result.coefficients.keys() == MADE_UP.keys()
        for name, ns in MADE_UP.items():
            assert result.coefficients[name] == pytest.approx(ns, rel=1e-4), name

    def test_held_out_cases_do_not_count(self, counted):
        measured = [(case, numbers, time_of(numbers)) for case, numbers in counted.items()]
        wrong = [(case, numbers, ns * (100 if case.held_out else 1)) for case, numbers, ns in measured]
        assert fit(wrong).coefficients == fit(measured).coefficients
        assert min(fit(wrong).errors()) == pytest.approx(0.99)

    def test_noise(self, counted):
        rng = np.random.default_rng(3)
        result = fit([(case, numbers, time_of(numbers) * rng.uniform(0.9, 1.1)) for case, numbers in counted.items()])
        assert np.median(result.errors()) < 0.1
        assert min(result.coefficients.values()) > 0

    def test_operations_that_come_together(self):
        result = fit([(Case("fork", 0), {"ref": n, "vma": n}, 5.0 * n) for n in (1, 2, 3)])
        assert result.alike and sum(result.coefficients.values()) == pytest.approx(5)

    def test_bad_timings(self, counted):
        with pytest.raises(ValueError, match="fork 4kB: 0.0 ns cannot be"):
            fit([(Case("fork", 0), {"ref": 1}, 0.0)])
        with pytest.raises(ValueError, match="no case"):
            fit([(Case("dontneed", 0), {"ref": 1}, 1.0)])


@pytest.fixture
def made_up_kernel(monkeypatch):
    """A kernel whose times follow from the counts."""
    monkeypatch.setattr(kernel, "why_not", lambda orders: None)
    monkeypatch.setattr(kernel, "folios_of", lambda turn, order: contextlib.nullcontext())
    monkeypatch.setattr(kernel, "time_case", lambda case, length, rounds: time_of(counts(case, length)))
    monkeypatch.setattr(command, "Turn", lambda lock: contextlib.nullcontext())


def run(*arguments):
    return CliRunner().invoke(main, ["calibrate", *arguments])


class TestCommand:
    def test_a_table_that_the_ledger_takes(self, made_up_kernel, tmp_path):
        file = tmp_path / "mine.json"
        result = run("--size", "2M", "--order", "0", "--order", "4", "--order", "5", "--name", "mine", "--out", str(file))
        assert result.exit_code == 0, result.output
        assert "munmap" in result.output and "128kB" in result.output and "held out: " in result.output
        table = costs.load(file)
        assert (table.name, table.held_out_error) == ("mine", 0)
        assert table.facts["area_bytes"] == 2 << 20
        machine = fs.Machine(memory="64M")
        process = machine.spawn()
        before = machine.ledger()
        process.write(process.mmap(64 << 12), 64 << 12, value=1)
        grown = machine.ledger() - before
        assert grown.time(file) == pytest.approx(time_of(
            {name.removeprefix("ops."): value for name, value in grown.items() if name.startswith("ops.")}), rel=0.01)
        assert list(tmp_path.iterdir()) == [file]

    def test_json(self, made_up_kernel):
        result = json.loads(run("--size", "2M", "--order", "0", "--json").stdout)
        assert {case["op"] for case in result["cases"] if case["held_out"]} == {"dontneed"}
        assert all(abs(case["error"]) < (0.05 if case["held_out"] else 1e-6) for case in result["cases"])
        assert costs.CostTable(**result["table"]).name

    @pytest.mark.parametrize("arguments, words", [
        (["--size", "3M"], "multiple of 2M"), (["--size", "much"], "much"), (["--order", "1"], "'1'"),
        (["--rounds", "0"], "rounds")])
    def test_bad_input(self, made_up_kernel, arguments, words):
        result = run(*arguments)
        assert result.exit_code == 2 and words in result.output


class TestSaysNo:
    def one_line(self, *arguments):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.output.startswith("cannot calibrate: ") and result.output.count("\n") == 1
        return result.output

    def test_no_linux(self, monkeypatch):
        monkeypatch.setattr(kernel.sys, "platform", "darwin")
        assert "darwin" in self.one_line()

    def test_not_root(self, monkeypatch):
        monkeypatch.setattr(kernel.os, "geteuid", lambda: 1000)
        assert "not root" in self.one_line()

    def test_no_huge_pages(self, monkeypatch, tmp_path):
        monkeypatch.setattr(kernel.os, "geteuid", lambda: 0)
        monkeypatch.setattr(kernel.settings, "THP", tmp_path / "none")
        assert "no transparent huge pages" in self.one_line()
        assert kernel.why_not([0]) is None

    def test_no_small_sizes(self, monkeypatch, tmp_path):
        (tmp_path / "hugepages-2048kB").mkdir()
        monkeypatch.setattr(kernel.os, "geteuid", lambda: 0)
        monkeypatch.setattr(kernel.settings, "THP", tmp_path)
        assert "no folios of 16kB, 32kB, 64kB" in self.one_line()
        assert kernel.why_not([0, 9]) is None


def test_the_built_in_table():
    table = costs.load(costs.DEFAULT)
    assert table.name == costs.DEFAULT and table.facts["kernel"].startswith("6.18")
    assert 0 < table.held_out_error < 0.5
    assert set(table.coefficients) <= set(counts(Case("fork", 0), 2 << 20))
    assert min(table.coefficients.values()) > 0


def test_a_table_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    file = tmp_path / "table.json"
    costs.CostTable("one", "x", {"ref": 1.0}).write(file)
    monkeypatch.setattr(costs.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        costs.CostTable("two", "x", {"ref": 2.0}).write(file)
    assert costs.load(file).name == "one" and list(tmp_path.iterdir()) == [file]
