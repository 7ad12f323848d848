"""The stubs say what the modules have, and a program that uses the package can be checked against them."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed; it comes with the extra `test`")

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")


def modules(pattern):
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob(f"foliosim/**/{pattern}"))
    return {name.removesuffix(".__init__") for name in names}


STUBS = modules("*.pyi")
# A class that is tied to a core has its attributes when an object is made.
TIED = r"foliosim\.(file\.File|gup\.PageReference|process\.Process|io_uring\.RegisteredBuffers)\.(machine|process)"
FLAGS = r"foliosim\.__all__"  # of which some come by a star
OF_CYTHON = r".*\.__(reduce_cython|setstate_cython|test|pyx_\w+)__"


def checked(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MYPYPATH": ""}
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)


def write_config(folder):
    """Errors in modules without a stub are not looked for."""
    (folder / "mypy.ini").write_text(f"[mypy]\nignore_errors = True\nignore_missing_imports = True\n"
                                     f"[mypy-{','.join(sorted(STUBS))}]\nignore_errors = False\nstrict = True\n")


def test_stubs_hold_against_the_modules(tmp_path):
    write_config(tmp_path)
    others = sorted(re.escape(name) + r"(\..*)?" for name in (modules("*.py") | modules("*.pyx")) - STUBS)
    (tmp_path / "allowed").write_text("\n".join([TIED, FLAGS, OF_CYTHON, *others]))
    done = checked(tmp_path, "mypy.stubtest", "foliosim", "--mypy-config-file", "mypy.ini", "--allowlist", "allowed",
                   "--ignore-unused-allowlist", "--ignore-disjoint-bases", "--concise")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Runs mypy --strict over some text, in one folder, so that the package is read once."""
    folder = tmp_path_factory.mktemp("strict")

    def run(text):
        (folder / "program.py").write_text(text)
        return checked(folder, "mypy", "--strict", "program.py").stdout

    return run


def test_a_program_can_be_checked(strict):
    assert strict(PROGRAM.read_text()).startswith("Success: no issues found")


@pytest.mark.parametrize("wrong, named", [
    ("fs.Machine().spawn().mmap('4K')", '"mmap" of "Process" has incompatible type "str"; expected "int"'),
    ("fs.Machine(colour='red')", 'Unexpected keyword argument "colour"'),
    ("fs.Machine().vmstatistics()", '"Machine" has no attribute "vmstatistics"'),
    ("fs.MAP_PRIVATELY", 'no attribute "MAP_PRIVATELY"'),
    ("fs.Machine().folio(1).order", 'Item "None" of "Folio | None" has no attribute "order"'),
])
def test_what_is_wrong_is_found(strict, wrong, named):
    assert named in strict(f"import foliosim as fs\n{wrong}\n")


def test_what_the_api_page_shows_has_a_stub():
    page = (ROOT / "docs/api.md").read_text()
    named = re.findall(r"^\.\. (?:currentmodule|automodule):: (foliosim[\w.]*)", page, re.MULTILINE)
    named += [name.rpartition(".")[0] for name in re.findall(r"autoclass:: (foliosim\.[\w.]+)", page)]
    untyped = {"foliosim.testing.oracle", "foliosim.testing.stateful"}  # to be subclassed, not called
    assert len(named) > 5 and set(named) - untyped <= STUBS
