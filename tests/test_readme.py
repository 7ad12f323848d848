"""What README and docs show is what happens."""
import doctest
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import foliosim
from foliosim.cli import main
from foliosim.policy import POINTS, PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
POLICIES = (ROOT / "docs/policies.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("[a-z]*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_give_the_output_they_show(page):
    session = doctest.DocTestParser().get_doctest("\n".join(blocks(page, "pycon")), {}, page.name, str(page), 0)
    result = doctest.DocTestRunner(verbose=False).run(session)
    assert result.failed == 0
    if page.name == "README.md":
        assert result.attempted > 5


def test_the_two_commands():
    shell = "".join(blocks(ROOT / "README.md", "sh"))
    assert "pip install '.[plot]' && foliosim study half-mlock\n" in shell
    assert "pip install -e '.[test]' && pytest\n" in shell


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_foliosim_commands_run(page, tmp_path, monkeypatch):
    """Each ``foliosim ...`` line of the page's shell blocks; verify ends in a line that the page shows."""
    (tmp_path / "tests").mkdir()
    for folder in ("recordings", "replay"):
        (tmp_path / "tests" / folder).symlink_to(ROOT / "tests" / folder)
    monkeypatch.chdir(tmp_path)
    for line in "".join(blocks(page, "sh")).splitlines():
        command = shlex.split(line.rpartition("&&")[2])
        if command[0] != "foliosim":
            continue
        result = CliRunner().invoke(main, command[1:])
        if command[1] == "verify":
            assert result.output.splitlines()[-1] in page.read_text()
        else:
            assert result.exit_code == 0, result.output


def test_every_policy_is_in_the_table():
    for point in POINTS.values():
        row = next(line for line in POLICIES.splitlines() if line.startswith(f"| {point.id} | `{point.name}`"))
        assert re.findall(r"`([^`]+)`", row) == [point.name, *(one.written for one in point.alternatives)]
    assert all(f"`{name}`" in POLICIES for name in PRESETS)


def test_readme_is_short():
    assert len(README.splitlines()) < 200
    assert foliosim.__version__ in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("column, preset", [(0, "linux-6.1"), (1, "linux-6.7"), (2, "linux-6.12")])
def test_what_releases_differ_in(column, preset):
    table = POLICIES.partition("## Releases")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", table, re.MULTILINE)
    shown = {point: cells.split("|")[column].strip(" `") for point, cells in rows}
    differ = {point: choice for point, choice in PRESETS[preset].items() if choice != PRESETS["linux-6.18"][point]}
    assert {point: choice for point, choice in shown.items() if choice} == differ
