import csv
import json

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.policy import POINTS, preset
from foliosim.study import base, run_study

HALF, HUGE = 1 << 20, 2 << 20
P01 = tuple(name for name in POINTS["vma_split"].names if name not in ("fail", "retry"))
P02 = POINTS["mlock_rule"].names


def study(*arguments, out):
    return CliRunner().invoke(main, ["study", "half-mlock", "--out", str(out), *arguments])


def runs_of(settings=(), choices=(), preset_name="linux-6.18"):
    return run_study("half-mlock", dict(one.split("=") for one in settings), policy=choices, preset=preset_name).runs


def by_policy(runs, fails):
    return {run.label: run.metrics for run in runs if run.parameters["split_fails"] == fails}


@pytest.fixture(scope="module")
def runs():
    return runs_of()


def test_all_alternatives_are_run(runs):
    expected = {"linux-6.18"}
    expected |= {f"mlock_rule={name}" for name in P02[1:]} | {f"vma_split={name}" for name in P01[1:]}
    for fails in ("no", "yes"):
        assert set(by_policy(runs, fails)) == expected
    assert len(runs) == 2 * len(expected)


@pytest.mark.parametrize("label, overshoot, undershoot, pageout", [
    ("linux-6.18", 0, HALF, HALF),
    ("mlock_rule=contained_lazy", 0, HALF, HALF),
    ("mlock_rule=pmd_only", 0, HALF, HALF),
    ("mlock_rule=whole", HALF, 0, 0),
    ("mlock_rule=split", 0, 0, HALF),
    ("mlock_rule=forbid", 0, 0, HALF),
    ("vma_split=split_try", 0, 0, HALF),
    ("vma_split=split_try_defer", 0, 0, HALF),
    ("vma_split=defer_always", 0, HALF, HALF),
    ("vma_split=split_nonuniform", 0, 0, HALF),
])
def test_where_splits_succeed(runs, label, overshoot, undershoot, pageout):
    got = by_policy(runs, "no")[label]
    assert (got["mlock_overshoot"], got["mlock_undershoot"], got["pageout_bytes"]) == (overshoot, undershoot, pageout)
    assert got["splits.failed"] == 0
    assert (got["splits.ok"] > 0) == ("split_" in label or label.endswith(("=split", "=forbid")))
    assert got["tlb_entries.plain"] == 512 and got["pmd_splits"] == 1


def test_where_splits_fail_only_copies_are_exact(runs):
    for label, got in by_policy(runs, "yes").items():
        assert got["splits.ok"] == 0
        assert got["mlock_overshoot"] + got["mlock_undershoot"] == (0 if "copy_out" in label else HALF), label
        assert got["splits.failed"] == by_policy(runs, "no")[label]["splits.failed"] + (
            "split_" in label or label.endswith(("=split", "=forbid", "vma_split=copy_out")))
    assert by_policy(runs, "yes")["vma_split=split_try_defer"]["deferred.partial"] == 1
    assert by_policy(runs, "yes")["vma_split=split_try"]["deferred.partial"] == 0


@pytest.mark.parametrize("locked", ["0", "4K", "64K", "1028K", "1536K", "2M"])
def test_on_paper(locked):
    """A folio that stays whole is on one list: undershoot = locked, or overshoot = size - locked; splits are exact."""
    runs = runs_of([f"locked={locked}", "split_fails=no", "shape=pte"])
    nr_bytes = runs[0].parameters["locked"]
    got = by_policy(runs, "no")
    partial = 0 < nr_bytes < HUGE
    assert got["linux-6.18"]["mlock_undershoot"] == (nr_bytes if partial else 0)
    assert got["mlock_rule=pmd_only"]["mlock_undershoot"] == nr_bytes          # nothing is mapped by a PMD
    assert got["mlock_rule=whole"]["mlock_overshoot"] == (HUGE - nr_bytes if partial else 0)
    for label in ("mlock_rule=split", "vma_split=split_try", "vma_split=split_nonuniform"):
        assert got[label]["mlock_overshoot"] == got[label]["mlock_undershoot"] == 0
        assert got[label]["pageout_bytes"] == HUGE - nr_bytes


@pytest.mark.parametrize("size", ["16K", "64K", "512K", "4M", "6M"])
def test_other_sizes(size):
    runs = runs_of([f"size={size}", "split_fails=no"])
    nr_bytes = runs[0].parameters["size"]
    cut = nr_bytes < HUGE or nr_bytes % (2 * HUGE) != 0      # does the boundary lie in a folio?
    within = min(nr_bytes, HUGE) // 2
    assert by_policy(runs, "no")["linux-6.18"]["mlock_undershoot"] == (within if cut else 0)
    assert by_policy(runs, "no")["mlock_rule=whole"]["mlock_overshoot"] == (within if cut else 0)


@pytest.mark.parametrize("label, kept, swapped", [
    ("linux-6.18", False, 0),                       # the folio that is locked in part cannot be had at all
    ("mlock_rule=whole", False, 0),
    ("mlock_rule=split", True, None), ("vma_split=split_try", True, None),
    ("vma_split=split_nonuniform", True, HALF),     # the other half is one folio, that goes whole
    ("vma_split=defer_always", True, HALF),         # the shrinker splits it, when the memory is needed
])
def test_under_pressure(label, kept, swapped):
    """Room for the locked half and the page tables, and some: only who knows what is locked can use the rest."""
    point, _, name = label.partition("=")
    runs = runs_of(["limit=1200K", "split_fails=no"], [label] if name else ["mlock_rule=contained_eager"])
    got = runs[0].metrics
    assert got["oom"] == (not kept)
    assert got["rss_bytes"] + got["swap_bytes"] == HUGE
    if kept:
        assert HALF - (1200 << 10) + HALF <= got["swap_bytes"] <= HALF
    if swapped is not None:
        assert got["swap_bytes"] == swapped


def test_where_nothing_can_be_split_the_limit_is_missed():
    for run in runs_of(["limit=1200K", "split_fails=yes"]):
        assert run.metrics["oom"] == 1 and run.metrics["splits.ok"] == 0
    text = base.load("half-mlock").conclude(runs_of(["limit=1200K"]))
    assert "13 of 13 cannot keep to a limit of 1.172 MiB" in text and "4 of 13 cannot keep to a limit" in text


def test_maps_that_merged():
    one, two = (runs_of([f"shape={shape}", "locked=256K", "split_fails=no"], ["mlock_rule=contained_eager"])[0]
                for shape in ("pmd", "merged-maps"))
    assert one.metrics["mlock_undershoot"] == two.metrics["mlock_undershoot"] == 256 << 10
    assert two.metrics["tlb_entries.plain"] == 512 and two.metrics["pmd_splits"] == 1


def test_making_the_shape_is_not_counted():
    runs = runs_of(["shape=pte", "split_fails=no"])
    assert {run.metrics["pmd_splits"] for run in runs} == {0}
    assert {run.metrics["mlock_undershoot"] for run in runs_of(["split_fails=no"])} == {
        run.metrics["mlock_undershoot"] for run in runs}


def test_policies_asked_for_are_combined():
    choices = ["mlock_rule=whole", "mlock_rule=split", "vma_split=keep", "vma_split=split_try"]
    runs = runs_of(["split_fails=no"], choices)
    assert [run.policy for run in runs] == [
        {"mlock_rule": "whole"}, {"vma_split": "split_try", "mlock_rule": "whole"},
        {"mlock_rule": "split"}, {"vma_split": "split_try", "mlock_rule": "split"}]


def test_several_presets_are_compared():
    """As they are, or each with the policies that are asked for."""
    names = ["linux-6.1", "linux-6.18", "linux-6.1"]
    runs = runs_of(["split_fails=no"], preset_name=names)
    assert [(run.label, run.preset, run.policy) for run in runs] == [(name, name, {}) for name in names[:2]]
    runs = runs_of(["split_fails=no"], ["mlock_rule=whole"], preset_name=names)
    assert [run.label for run in runs] == [f"{name} + mlock_rule=whole" for name in names[:2]]


def test_a_preset_is_the_ground_for_the_rest():
    runs = runs_of(["split_fails=no"], preset_name="wilcox-2023")
    assert runs[0].label == "wilcox-2023" and runs[0].policy == {}
    assert all(run.preset == "wilcox-2023" for run in runs)
    assert by_policy(runs, "no")["vma_split=keep"]["mlock_undershoot"] == HALF
    assert preset("wilcox-2023")["vma_split"] == "split_try_defer"


def test_the_conclusion_follows_from_the_numbers(runs):
    conclude = base.load("half-mlock").conclude
    text = conclude(runs)
    assert "linux-6.18 leaves 1 MiB of it on a list that reclaim takes from. " in text
    assert "7 of 13 policies keep exactly the locked pages (512 TLB entries). " in text
    assert "2 of 13 policies keep exactly the locked pages (mlock_rule=copy_out and vma_split=copy_out; " in text
    assert text.count(". ") == 2
    over = conclude(runs_of(["split_fails=no"], ["mlock_rule=whole"]))
    assert "mlock_rule=whole makes 1 MiB unevictable that nobody locked. " in over
    alone = conclude(runs_of(["split_fails=no"], ["mlock_rule=split"]))
    assert "mlock_rule=split keeps exactly the locked pages" in alone
    assert "all 13 policies keep exactly the locked pages" in conclude(runs_of(["locked=0"]))


class TestCommand:
    def test_files(self, tmp_path):
        pytest.importorskip("matplotlib")
        out = tmp_path / "new" / "folder"
        result = study("--json", str(tmp_path / "x.json"), out=out)
        assert result.exit_code == 0, result.output
        assert (out / "half-mlock.png").read_bytes().startswith(b"\x89PNG")
        written = json.loads((tmp_path / "x.json").read_text())
        assert list(written) == ["study", "question", "seed", "runs", "conclusion"]
        assert written["study"] == "half-mlock" and written["conclusion"] in result.output
        rows = list(csv.DictReader((out / "half-mlock.csv").open()))
        assert len(rows) == len(written["runs"]) == 26
        for row, run in zip(rows, written["runs"]):
            assert list(run) == ["parameters", "preset", "policy", "metrics"]
            assert run["policy"].items() <= row.items()
            assert all(row[name] == str(value) for name, value in {**run["parameters"], **run["metrics"]}.items())

    def test_the_same_again(self, tmp_path):
        pytest.importorskip("matplotlib")
        for name in ("a", "b"):
            assert study("--json", str(tmp_path / name / "x.json"), out=tmp_path / name).exit_code == 0
        for name in ("x.json", "half-mlock.csv", "half-mlock.png"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_table(self, tmp_path):
        output = study(out=tmp_path).output
        for words in ("overshoot", "undershoot", "PAGEOUT", "TLB", "deferred", "mlock_rule=whole", "split_fails=yes"):
            assert words in output

    def test_several_presets(self, tmp_path):
        output = study("--preset", "linux-6.1", "--preset", "linux-6.18", out=tmp_path).output
        assert "linux-6.1: mlock_rule=pmd_only, " in output
        assert "linux-6.18: mlock_rule=contained_eager, " in output

    def test_the_machine_in_short(self, tmp_path):
        result = study("--arch", "arm64", "--page-size", "16K", "--set", "size=32M", "--json", str(tmp_path / "x"),
                       out=tmp_path)
        assert result.exit_code == 0, result.output
        parameters = json.loads((tmp_path / "x").read_text())["runs"][0]["parameters"]
        assert (parameters["arch"], parameters["page_size"]) == ("arm64", 16384)

    def test_without_matplotlib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        result = study(out=tmp_path)
        assert result.exit_code == 0
        assert "`plot`" in result.output and "matplotlib" in result.output
        assert (tmp_path / "half-mlock.csv").exists() and not (tmp_path / "half-mlock.png").exists()

    def test_alone_it_lists(self):
        result = CliRunner().invoke(main, ["study"])
        assert result.exit_code == 0
        for name in base.STUDIES:
            assert f"{name}: {base.load(name).question}" in result.output

    @pytest.mark.parametrize("arguments, named", [
        (["--set", "sizes=2M"], ["sizes", "size, locked, shape, limit, split_fails, arch, page_size"]),
        (["--set", "size=3M"], ["size='3M'", "from 16K to 2M"]),
        (["--set", "size=12K"], ["size='12K'"]),
        (["--set", "size=big"], ["big"]),
        (["--set", "size=8K"], ["size='8K'", "from 16 KiB to 2 MiB"]),
        (["--set", "page_size=64K"], ["65536", "valid for x86_64 are 4K"]),
        (["--set", "locked=5000"], ["locked='5000'", "half"]),
        (["--set", "locked=4M"], ["locked='4M'", "up to 2 MiB"]),
        (["--set", "shape=round"], ["shape='round'", "pmd", "pte"]),
        (["--set", "limit=4K"], ["limit='4K'", "from 64 KiB on"]),
        (["--set", "split_fails=maybe"], ["split_fails='maybe'", "no", "yes", "both"]),
        (["--set", "size"], ["--set 'size'", "name=value"]),
        (["--policy", "p2=whole"], ["'p2'", "mlock_rule"]),
        (["--policy", "mlock_rule=half"], ["mlock_rule='half'", "contained_eager"]),
        (["--preset", "linux-9.9"], ["linux-9.9", "linux-6.18"]),
    ])
    def test_a_bad_word_is_named_with_the_valid_ones(self, tmp_path, arguments, named):
        result = study(*arguments, out=tmp_path)
        assert result.exit_code == 1
        assert result.output.count("\n") == 1
        assert all(words in result.output for words in named), result.output
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_study(self):
        result = CliRunner().invoke(main, ["study", "no-such"])
        assert result.exit_code == 1
        assert "no-such" in result.output and "half-mlock" in result.output

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        result = study(out=tmp_path / "file" / "sub")
        assert result.exit_code == 1 and "cannot write" in result.output


@pytest.mark.parametrize("shape", ["pmd", "pte"])
@pytest.mark.parametrize("arch, page_size, size", [("arm64", "4K", "2M"), ("arm64", "16K", "32M"), ("arm64", "64K", "512M"),
                                                   ("arm64", "64K", "2M")])
def test_the_same_on_every_machine(arch, page_size, size, shape):
    """What is unevictable, and what is not, is a matter of folios; TLB entries are one of the page size."""
    settings = [f"arch={arch}", f"page_size={page_size}", f"size={size}", f"shape={shape}", "split_fails=no"]
    got = by_policy(runs_of(settings, ["mlock_rule=contained_eager", "mlock_rule=whole", "mlock_rule=split"]), "no")
    half = runs_of(settings, ["mlock_rule=whole"])[0].parameters["locked"]
    assert [(one["mlock_overshoot"], one["mlock_undershoot"]) for one in got.values()] == [(0, half), (half, 0), (0, 0)]
    assert got["mlock_rule=split"]["pageout_bytes"] == half
    page, cont = {"4K": (4096, 16), "16K": (16384, 128), "64K": (65536, 32)}[page_size]
    assert {one["tlb_entries.plain"] for one in got.values()} == {2 * half // page}
    entries = 2 * half // page
    assert [one["tlb_entries.contpte"] for one in got.values()] == [entries // cont, entries // cont, entries]
