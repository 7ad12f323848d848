"""``foliosim bench split``, and the checks of bench/: each can fail."""
import json

import pytest
from click.testing import CliRunner

from foliosim.bench.command import bench
from foliosim.bench.split import SITUATIONS, measure


def costs(**keywords):
    return {(cost.situation, cost.target): cost for cost in measure(folios=2, rounds=1, **keywords)}


def test_counts_of_a_split_are_those_of_the_rules():
    found = costs(situations=["private", "shared"], targets=["PMD", 4, 0], processes=3)
    pmd, order4, order0 = (found["private", target].counts for target in ("PMD", 4, 0))
    assert pmd["PTEs"] >= 512 and pmd["records"] == 0 and pmd["flushes"] >= 1
    assert order4["records"] == order0["records"] == 512
    assert order0["PTEs"] >= 1024  # the PMD is split, then each entry is made anew
    assert found["shared", 0].counts["PTEs"] >= 3 * 1024 - 512
    assert {cost.result for cost in found.values()} == {"ok"}


@pytest.mark.parametrize("situation", ["pinned", "extra reference"])
def test_a_reference_makes_the_folio_split_fail_and_not_that_of_the_pmd(situation):
    found = costs(situations=[situation], targets=["PMD", 0])
    assert found[situation, "PMD"].result == "ok"
    assert found[situation, 0].result == "EAGAIN"
    assert found[situation, 0].counts["records"] == 0


def test_a_policy_decides_for_the_pinned():
    found = costs(situations=["pinned"], targets=[0], policy={"pin_short": "per_page_count"})
    assert found["pinned", 0].result == "ok"


def test_every_situation_has_its_rows():
    found = costs(targets=["PMD", 0])
    assert {situation for situation, _ in found} == set(SITUATIONS)
    assert ("by PTEs", "PMD") not in found


@pytest.mark.parametrize("keywords, names", [({"situations": ["alone"]}, "alone.*private"),
                                             ({"targets": [1]}, "1.*PMD")])
def test_what_is_not_known_is_named(keywords, names):
    with pytest.raises(ValueError, match=names):
        measure(**keywords)


def test_the_command_prints_a_table_and_writes_json_and_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["split", "--situation", "private", "--situation", "pinned", "--to", "0", "--folios", "1", "--rounds",
                 "1", "--json", tmp_path / "out.json", "--picture", tmp_path / "out.png"]
    result = CliRunner().invoke(bench, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "folio, to order 0" in result.output and "EAGAIN" in result.output
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["result"] for row in rows] == ["ok", "EAGAIN"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page_size, order", [("4K", 9), ("16K", 11), ("64K", 13)])
def test_a_huge_folio_has_as_many_pages_as_a_table_has_entries(page_size, order):
    pmd, _ = costs(situations=["private"], targets=["PMD", 2], arch="arm64", page_size=page_size).values()
    assert 1 << order <= pmd.counts["PTEs"] < (1 << order) + 16


@pytest.mark.parametrize("arguments, said", [(["--policy", "pin_short"], "POINT=ALTERNATIVE"), (["--to", "1"], "PMD"),
                                             (["--policy", "pin_short=no"], "valid"), (["--arch", "vax"], "x86_64"),
                                             (["--page-size", "64K"], "4K")])
def test_the_command_names_what_is_wrong(arguments, said):
    result = CliRunner().invoke(bench, ["split", *arguments])
    assert result.exit_code != 0
    assert said in result.output
