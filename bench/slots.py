"""What empty policy slots cost: ``python -m bench.slots``.

The core is built a second time, in a folder of its own, without the slots: Linux 6.18's rules alone
(``FOLIOSIM_POLICY_SLOTS=0``, see foliosim/_core/policy.pxd).  Both builds do the workload of bench.gate, and their
instructions are compared.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench.gate import LIMIT, compare, count, show

ROOT = Path(__file__).parents[1]
BUILT = shutil.ignore_patterns("*.so", "build", ".*", "__pycache__", "tests", "docs", "_core_arm64*")


def build(folder, slots):
    """The package, with its core for x86-64, built in a folder.

    Parameters
    ----------
    folder : path
        Does not exist yet.
    slots : bool
        Are there policy slots?

    Raises
    ------
    click.ClickException
        It cannot be built.
    """
    shutil.copytree(ROOT, folder, ignore=BUILT)
    environment = {**os.environ, "FOLIOSIM_CORES": "_core", "FOLIOSIM_POLICY_SLOTS": str(int(slots))}
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, text=True,
                          env=environment, capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(f"cannot build: {done.stderr[-2000:]}")


@click.command()
def main():
    """Compare instruction counts with those of a build without slots: exit status 1 if one is more than 2 % higher."""
    with tempfile.TemporaryDirectory() as scratch:
        counts = []
        for slots in (False, True):
            folder = Path(scratch, f"slots{slots:d}")
            build(folder, slots)
            counts.append(count(folder))
    rows = compare(*counts)
    show(rows, "instructions, with what is called", "without slots", "with slots")
    raise SystemExit(any(ratio > LIMIT for *_, ratio in rows))


if __name__ == "__main__":
    main()
