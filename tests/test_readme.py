"""What README and docs show is what happens."""
import ast
import doctest
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import foliosim
from foliosim.cli import main
from foliosim.policy import POINTS, PRESETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
POLICIES = (ROOT / "docs/policies.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("[a-z]*.md"))]


RUN, PARSED, OTHER = ("pycon", "sh", "python", "json", "toml"), ("console",), ("text",)
# What runs elsewhere: in fresh environments, by users.
NOT_OURS = ("pip install ", "pytest", "sphinx-build ", "perf ", "cat ")
JSON_FILES = {"schedule.md": ["program.json"], "formats.md": ["mine.jsonl", "small.jsonl"]}


def fenced(page):
    """Language and text of each block of a page."""
    return re.findall(r"^```(.*?)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for name, text in fenced(page) if name == language]


def commands(page, language):
    """Lines of shell blocks, without prompts and comments; of console blocks those after a prompt."""
    lines = "".join(blocks(page, language)).replace("\\\n", " ").splitlines()
    if language == "console":
        lines = [line[2:] for line in lines if line.startswith(("# ", "$ "))]
    return [part.strip() for line in lines for part in line.partition("  #")[0].split("&&")]


def json_blocks(page):
    """JSON blocks as files have them: what begins with a blank goes on the line before."""
    return [re.sub(r"\n +", " ", text) for text in blocks(page, "json")]


def write_files(page, folder):
    """The page's JSON blocks, under the names that its commands have for them."""
    for name, text in zip(JSON_FILES.get(page.name, ()), json_blocks(page)):
        (folder / name).write_text(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_tested(page):
    assert {name for name, _ in fenced(page) if not name.startswith("{")} <= {*RUN, *PARSED, *OTHER}
    rest = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^    +(?:[$#>].*|foliosim .*|python .*)$", rest, re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_give_the_output_they_show(page, monkeypatch):
    monkeypatch.chdir(ROOT)
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
    """Each ``foliosim ...`` line of the page's shell blocks; README's verify ends in the line that it shows."""
    (tmp_path / "tests").mkdir()
    for folder in ("recordings", "replay"):
        (tmp_path / "tests" / folder).symlink_to(ROOT / "tests" / folder)
    write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for line in commands(page, "sh"):
        name, *arguments = shlex.split(line)
        if name != "foliosim":
            assert line.startswith(NOT_OURS)
            continue
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        if page.name == "README.md" and arguments[0] == "verify":
            assert result.output.splitlines()[-1] in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_need_more_than_this_are_well_formed(page, tmp_path, monkeypatch):
    """A live kernel, root, minutes: what the command line says is understood.  The tests marked `live` run them."""
    monkeypatch.chdir(tmp_path)
    for line in commands(page, "console"):
        name, *arguments = shlex.split(line)
        for argument in arguments:
            if re.fullmatch(r"[\w.-]+\.(jsonl?(\.gz|\.xz)?|txt)", argument):
                (tmp_path / argument).touch()
        if name == "python":
            assert arguments.pop(0) == "-m"
            command = importlib.import_module(arguments.pop(0))
            command = getattr(command, "main", None) or importlib.import_module(f"{command.__name__}.__main__").main
        elif name == "foliosim":
            command = main
        else:
            assert line.startswith(NOT_OURS)
            continue
        while isinstance(command, click.Group):
            command = command.get_command(None, arguments.pop(0))
        command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_text_is_of_its_language(page):
    for text in json_blocks(page):
        assert all(json.loads(line) for line in text.splitlines())
    for text in blocks(page, "toml"):
        assert tomllib.loads(text)
    for text in blocks(page, "python"):
        imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(ast.Module(imports, []), str(page), "exec"), {})


def test_the_extras_that_are_named_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [name for page in PAGES for group in re.findall(r"pip install[^\n`]*\[([\w,-]+)\]", page.read_text())
             for name in group.split(",")]
    assert {"plot", "docs", "test"} <= set(named) <= set(extras)


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
