"""Builds that watch themselves: ``python tests/trust/builds.py sanitized --recordings FOLDER``, and the same with
``debug``.

The extensions are built once more in a tree of their own, ``build/sanitized`` or ``build/debug``, and do there all that
they do here: the test suite, recorded scenarios, and the observations whose digest must be that of the present build.
sanitized: gcc watches every access (-fsanitize=address,undefined; libasan is preloaded).  debug: bounds checks, and the
core's own assertions.  What the sanitizers report is printed, once for each place.  Exit status 1: there is something.
"""
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
BUILT_WITH = {"sanitized": {"FOLIOSIM_SANITIZE": "address,undefined"}, "debug": {"FOLIOSIM_DEBUG": "1"}}
CORES = ("_core", "_core_arm64_p12", "_core_arm64_p14", "_core_arm64_p16")
PRELOADED = ("libasan.so", "libstdc++.so")       # the latter so that exceptions of C++ find their handlers
NOISE = 2000                                     # characters of a report that are shown


class Tree:
    """A copy of the sources, and a build of them.

    Parameters
    ----------
    kind : str
        "sanitized" or "debug".
    """

    def __init__(self, kind):
        self.kind, self.path = kind, ROOT / "build" / kind
        self.reports = self.path / "reports"
        self.env = {**os.environ, **BUILT_WITH[kind], "PYTHONPATH": str(self.path), "MPLBACKEND": "Agg"}

    def copy(self):
        """Bring the sources up to date; what they have no more goes."""
        listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True,
                                check=True).stdout.decode().split("\0")
        names = {name for name in listed if name and (ROOT / name).is_file()}
        for name in names:
            to = self.path / name
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists() or to.stat().st_mtime != (ROOT / name).stat().st_mtime:
                shutil.copy2(ROOT / name, to)
        for folder in ("foliosim", "tests"):
            for path in (self.path / folder).rglob("*.p*"):
                if path.suffix in (".py", ".pyx", ".pxd") and str(path.relative_to(self.path)) not in names:
                    path.unlink()

    def build(self, cores):
        """Some cores so, the others as usual."""
        usual = {name: value for name, value in self.env.items() if name not in BUILT_WITH[self.kind]}
        for env, names in ((self.env, cores), (usual, [one for one in CORES if one not in cores])):
            if names:
                subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=self.path, check=True,
                               env={**env, "FOLIOSIM_CORES": " ".join(names)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        if self.kind == "sanitized":
            self._watch()

    def _watch(self):
        """From here on what runs is watched.  Leaks are looked for by counting: an interpreter frees not all it has."""
        compiler = self.env.get("CC", "gcc").split()
        libraries = [subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True,
                                    check=True).stdout.strip() for name in PRELOADED]
        shutil.rmtree(self.reports, ignore_errors=True)
        self.reports.mkdir()
        self.env["LD_PRELOAD"] = " ".join(libraries)
        self.env["ASAN_OPTIONS"] = f"log_path={self.reports}/address:detect_leaks=0:allocator_may_return_null=1"
        self.env["UBSAN_OPTIONS"] = f"log_path={self.reports}/undefined:print_stacktrace=1"

    def run(self, *command):
        """Run a Python module there; its exit status and what it said, which is also in a file."""
        began, log = time.monotonic(), self.path / f"{command[0]}.log"
        with open(log, "w") as file:
            done = subprocess.run([sys.executable, "-m", *command], cwd=self.path, env=self.env, text=True,
                                  stdout=file, stderr=subprocess.STDOUT)
        said = log.read_text(errors="replace")
        lines = [line for line in said.splitlines() if line.strip()] or ["(nothing)"]
        click.echo(f"{' '.join(command[:3])}: {lines[-1]} [{time.monotonic() - began:.0f} s]")
        return done.returncode, said

    def found(self):
        """Reports of the sanitizers, one of each place."""
        found = {}
        for path in sorted(self.reports.glob("*")) if self.reports.exists() else []:
            for text in re.split(r"\n(?=\S+:\d+:\d+: runtime error)", path.read_text(errors="replace")):
                place = re.search(r"(\S+:\d+:\d+: runtime error[^\n]*|ERROR: AddressSanitizer: \S+)", text)
                found.setdefault(place[0] if place else text[:80], text[:NOISE])
        return found


@click.command()
@click.argument("kind", type=click.Choice(list(BUILT_WITH)))
@click.option("--recordings", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="Recorded scenarios, of any architecture; those of the tests if left out.")
@click.option("--core", "cores", multiple=True, type=click.Choice(CORES), default=CORES,
              help="Build this core so (may be repeated), and the others as usual; all if left out.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes of pytest and verify.")
@click.option("--worlds", default=8, show_default=True, type=click.IntRange(0), help="Of observations to compare.")
@click.argument("pytest_arguments", nargs=-1)
def main(kind, recordings, cores, jobs, worlds, pytest_arguments):
    """Build KIND, run the tests, the recordings, and some observations.  PYTEST_ARGUMENTS after --."""
    tree, bad = Tree(kind), 0
    tree.copy()
    tree.build(cores)
    status, said = tree.run("pytest", "-q", "-m", "not live", "-p", "no:cacheprovider", "-n", str(jobs),
                            *pytest_arguments)          # in workers: where one is stopped, the others go on
    for line in said.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            click.echo(line)
    bad += status != 0
    paths = [str(path.resolve()) for path in recordings] or ["tests/recordings", "tests/recordings_entries"]
    status, _ = tree.run("foliosim", "verify", "--jobs", str(jobs), *paths)
    bad += status != 0
    if worlds:
        command = ["foliosim.testing.same", "--digest", "--worlds", str(worlds)]
        here = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True).stdout
        status, there = tree.run(*command)
        click.echo(f"the same observations as the present build: {'yes' if here == there and not status else 'NO'}")
        bad += here != there or status != 0
    found = tree.found()
    for text in found.values():
        click.echo(text)
    click.echo(f"{kind}: {len(found)} places reported, {bad} of the runs failed")
    sys.exit(bool(found or bad))


if __name__ == "__main__":
    main()
