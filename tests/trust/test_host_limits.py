"""The host has no memory: the error says what was asked for, and the machine is as it was."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foliosim.testing import leaks
from limited import WHATS

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""),
                                reason="the address sanitizer has its own allocator, and takes terabytes of addresses")

ASKED = {"machine": "2147483648 frames", "swap": "8192 frames|16777216 pages",
         "branch": "branch|4194304 frames", "save": "branch|save",
         "pagemap": r"\d+\.\d+ GiB|\d+ bytes", "mincore": r"mincore\(.*1,073,741,824 bytes",
         "read": r"access\(.*268,435,456 bytes", "write": "access.*no memory", "file": r"create_file\(.*no memory"}


@pytest.mark.parametrize("what", WHATS)
def test_no_address_space_is_left(what):
    done = subprocess.run([sys.executable, "limited.py", what], cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(ASKED[what], done.stdout), done.stdout


@pytest.fixture(scope="session")
def failing(tmp_path_factory):
    """A library to preload: the nth allocation of the core fails."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, HERE / "failing.c", "-ldl"], check=True)
    return library


def test_each_allocation_of_each_operation_fails_once(failing):
    done = subprocess.run([sys.executable, "every_allocation.py"], cwd=HERE, capture_output=True, text=True, timeout=900,
                          env={**os.environ, "LD_PRELOAD": str(failing)})
    assert done.returncode == 0, done.stderr
    counts = dict(re.findall(r"(.+): (\d+)\n", done.stdout))
    assert int(counts["Machine"]) > 5 and int(counts["fork"]) > 20 and int(counts["write"]) > 100
    assert int(re.search(r"(\d+) allocations failed", done.stdout)[1]) > 500


@pytest.mark.parametrize("what", leaks.RUNS)
def test_nothing_grows(what):
    course = leaks.run(what, leaks.RUNS[what].short)
    assert abs(course.growth()) < 64 << 10, course.rows


def test_what_grows_is_seen(monkeypatch):
    kept = []
    monkeypatch.setitem(leaks.RUNS, "kept", leaks.Run(lambda: lambda: kept.append(bytearray(3000)), 0, 200))
    assert leaks.run("kept", 200).growth() > 200 * 0.5 * 3000
