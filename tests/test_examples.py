"""The examples of the documentation, as it shows them: a package with policies, and tests of a policy."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
EXAMPLE = EXAMPLES / "policies"
RUN = """
import json
import foliosim as fs

def copied(policy):
    machine = fs.Machine(memory="64M", thp="always", policy=policy)
    parent = machine.spawn()
    addr = (parent.mmap(4 << 20) + (2 << 20) - 1) & -(2 << 20)
    parent.write(addr, 2 << 20, value=7)
    parent.fork().write(addr, 4096, value=9)
    machine.validate()
    return machine.ledger()["cow_bytes"]

print(json.dumps([copied(policy) for policy in ("linux-6.18", "gentle", {"cow_order": "window"})]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs a command where the package was built and can be imported."""
    folder = tmp_path_factory.mktemp("policies")
    for path in EXAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    root = str(EXAMPLE.parents[2])
    environment = {**os.environ, "CFLAGS": "-O1", "PYTHONPATH": os.pathsep.join((str(folder), root))}

    def run(*args):
        done = subprocess.run([sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("setup.py", "-q", "egg_info", "build_ext", "--inplace")
    return run


def test_both_are_found_and_decide(installed):
    assert json.loads(installed("-c", RUN)) == [4096, 16 * 4096, 16 * 4096]


def test_they_are_listed(installed):
    listed = installed("-m", "foliosim", "policies")
    assert "installed: gentle (gentle:Gentle)" in listed and "cow_order.window (window:cow_order)" in listed


def test_the_suite_that_tests_a_policy():
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parents[1])}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull,
                           "--rootdir", EXAMPLES / "testing", EXAMPLES / "testing"],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout.splitlines()[-1]
