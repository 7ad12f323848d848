"""Every public name has a docstring and a place in docs/; so has every number of a study."""
import importlib
import inspect
import re
from pathlib import Path

import pytest

import foliosim
from foliosim import flags
from foliosim.study import run_study
from foliosim.study.base import STUDIES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text()
# A model of `Process`, and rules of a state machine: named by what they do.
BY_NAME = {"foliosim.testing.oracle", "foliosim.testing.stateful"}
SMALL = {"batch-ops": {"size": "8M"}, "zero-histogram": {"threshold": 409}, "bgsave": {"data": "4M", "writes": 10},
         "edge-fit": {"vmas": 20}, "sparse-touch": {"total": "16M", "limit": "8M"}, "allocator-holes": {"pages": 1024}}


def modules():
    named = re.findall(r"^\.\. (?:currentmodule|automodule):: ([\w.]+)", PAGE, re.MULTILINE)
    return {*named, *(name.rpartition(".")[0] for name in re.findall(r"autoclass:: (foliosim\.[\w.]+)", PAGE))}


def undocumented(name, thing):
    """Names of a thing and its public members that have no docstring."""
    if not inspect.getdoc(thing):
        yield name
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        function = value.fget if isinstance(value, property) else value
        public = not member.startswith(("_", "from_facts")) and inspect.isroutine(function)
        if public and function.__name__ == member and not inspect.getdoc(function):
            yield f"{name}.{member}"


@pytest.mark.parametrize("name", sorted(set(modules()) - BY_NAME))
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    things = {name: vars(module)[name] for name in getattr(module, "__all__", vars(module)) if not name.startswith("_")}
    own = (name,) if not hasattr(module, "__all__") else tuple(name.partition("."))[:1]
    mine = {key: thing for key, thing in things.items() if (inspect.isclass(thing) or inspect.isroutine(thing))
            and (thing.__module__ or "").startswith(own)}
    assert [missing for key, thing in mine.items() for missing in undocumented(key, thing)] == []


def test_every_public_name_is_on_the_page():
    errors = vars(importlib.import_module("foliosim.errors"))
    for name in foliosim.__all__:
        if name in flags.__all__:
            assert f"``{name.split('_')[0]}_*``" in PAGE
        elif name not in errors:  # these are there as a module
            assert f".. autoclass:: {name}\n" in PAGE


@pytest.mark.parametrize("study", STUDIES)
def test_the_numbers_of_studies_are_in_the_docs(study):
    """In the tables of docs/ledger.md."""
    text = (DOCS / "ledger.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith((f"| {study} |", "| all"))]
    told = set(re.findall(r"`([\w.]+)`", " ".join(rows)))
    own = run_study(study, SMALL.get(study, {}), policy=["age_unit=folio_any"]).runs[0].metrics
    missing = set(own) - told - set(foliosim.Machine(memory="64M").ledger())
    if study == "batch-ops":
        missing = {name for name in missing if not re.fullmatch(r"\w+\.(\w+)", name)}
    assert {name for name in missing if not re.fullmatch(r"folios\.order\d", name)} == set()
