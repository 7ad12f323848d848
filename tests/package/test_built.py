"""The package as it is handed out: an sdist with all sources; sdist and wheel in empty virtual environments.

The latter compiles all cores and asks a package index, so it runs only if asked for: ``FOLIOSIM_PACKAGE=1 pytest
tests/package``.
"""
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = [Path(__file__).with_name("use.py"), ROOT / "tests/recordings/gup.jsonl.gz",
       ROOT / "tests/replay/data/pipe-always.trace.jsonl.xz"]
NOT_SOURCES = shutil.ignore_patterns(".git", ".venv", "venv", "build", "dist", "*.egg-info", "*.so", "__pycache__",
                                     "_generated", "_build", ".*_cache", ".hypothesis", "_core_*")
asked_for = pytest.mark.skipif(os.environ.get("FOLIOSIM_PACKAGE", "") in ("", "0"),
                               reason="takes minutes, and a package index; FOLIOSIM_PACKAGE=1 runs it")


def run(*command, cwd, **environment):
    ours = ("PYTHON", "VIRTUAL_ENV", "FOLIOSIM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env={**clean, **environment}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the sources: building leaves files in it."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("sources") / "foliosim", ignore=NOT_SOURCES))


def of_the_package(names):
    """Those below foliosim/, without what tools make."""
    return {name for name in names if name.startswith("foliosim/") and not name.endswith("/")}


def is_source(path):
    made = path.suffix == ".c" and path.parent.name in ("_core", "replay")
    return path.is_file() and not made


def test_the_sdist_has_all_sources(sources, tmp_path):
    make = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", make, cwd=sources, PYTHONPATH=os.pathsep.join(sys.path))
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as tar:
        members = {one.name.partition("/")[2] for one in tar if one.isfile()}
    expected = {path.relative_to(sources).as_posix() for path in (sources / "foliosim").rglob("*") if is_source(path)}
    assert len(expected) > 300 and of_the_package(members) == expected
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "setup.py", "docs/index.md", "bench/README.md",
            "tests/package/use.py", "tests/recordings/gup.jsonl.gz"} <= members


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory):
    """The sdist, and the wheel that is made of it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, sources, cwd=out)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.fixture
def empty(tmp_path):
    """An empty virtual environment, and a folder; runs its Python there."""
    venv.create(tmp_path / "venv", with_pip=True)

    def python(*command, **environment):
        return run(tmp_path / "venv/bin/python", "-I", *command, cwd=tmp_path, **environment)

    return python


@asked_for
def test_the_wheel(built, empty, sources):
    with zipfile.ZipFile(built[1]) as wheel:
        names = of_the_package(wheel.namelist())
    expected = {path.relative_to(sources).as_posix() for path in (sources / "foliosim").rglob("*")
                if is_source(path) and path.suffix != ".pyx"}
    assert {name for name in names if not name.endswith(".so") and "/_core_" not in name} == expected
    empty("-m", "pip", "install", "-q", built[1])
    assert empty(*USE) == "4 cores\n"


@asked_for
def test_a_compiled_policy_against_the_wheel(built, empty, tmp_path):
    example = shutil.copytree(ROOT / "docs/examples/policies", tmp_path / "policies")
    empty("-m", "pip", "install", "-q", built[1], "cython", "setuptools>=77")
    empty("-m", "pip", "install", "-q", "--no-build-isolation", example)
    empty("-m", "foliosim", "study", "bgsave", "--set", "data=4M", "--set", "writes=100", "--policy",
          "cow_order=window", "--json", "window.json")
    assert '"cow_order": "window"' in (tmp_path / "window.json").read_text()


@asked_for
def test_the_sdist(built, empty):
    """One core of the four, as it takes long."""
    empty("-m", "pip", "install", "-q", built[0], FOLIOSIM_CORES="_core")
    assert empty(*USE) == "1 cores\n"
