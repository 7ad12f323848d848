"""Every study as a user runs it: ``python -m bench.studies``.

For each: time and memory with its defaults; does it run on arm64 with 64K pages; has the JSON file the documented
shape; are all files the same, to the byte, in two processes, and after an interrupt (Ctrl-C once some runs are done).
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from foliosim.study.base import STUDIES

SECONDS, MEMORY = 30, 2 << 30
SHAPE = {"study": str, "question": str, "seed": int, "runs": list, "conclusion": str}
OF_RUN = {"parameters": dict, "preset": str, "policy": dict, "metrics": dict}


def start(name, out, *options):
    """The command, with its files in a folder."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "foliosim", "study", name, "--out", out, "--json", out / "result.json", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(child):
    """What a command used (struct_rusage); RuntimeError: it failed."""
    message = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(message)
    return used


def has_shape(result):
    """Is it as documented, with numbers for metrics?"""
    def fits(one, shape):
        return list(one) == list(shape) and all(isinstance(one[key], kind) for key, kind in shape.items())

    return fits(result, SHAPE) and all(
        fits(run, OF_RUN) and all(isinstance(value, (int, float)) for value in run["metrics"].values())
        for run in result["runs"])


def files(folder):
    """Name to content."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupted(name, out):
    """The command twice: ended by Ctrl-C once a run is kept, and to its end.  How many were kept (0: it was faster)."""
    child, journal = start(name, out), out / f"{name}.unfinished.jsonl"
    while child.poll() is None and not kept_in(journal):
        time.sleep(0.0002)
    child.send_signal(signal.SIGINT)
    child.communicate()
    kept = kept_in(journal)
    ended(start(name, out))
    return kept


def kept_in(journal):
    """Lines of a journal, as soon as it is there."""
    with contextlib.suppress(FileNotFoundError):
        return journal.read_bytes().count(b"\n")
    return 0


def tried(name, folder):
    """Cells of the study's row, and is all well?"""
    begin = time.monotonic()
    used = ended(start(name, folder / "one"))
    seconds = time.monotonic() - begin
    peak, one = used.ru_maxrss * 1024, files(folder / "one")
    result = json.loads(one["result.json"])
    ended(start(name, folder / "two", "--jobs", "2"))
    ended(start(name, folder / "arm64", "--set", "arch=arm64", "--set", "page_size=64K"))
    kept = interrupted(name, folder / "resumed")
    checks = {
        "shape": has_shape(result), "jobs": files(folder / "two") == one,
        "arm64": has_shape(json.loads((folder / "arm64/result.json").read_text())),
        "resumed": files(folder / "resumed") == one,
    }
    cells = [name, str(len(result["runs"])), f"{seconds:.1f}", f"{used.ru_utime + used.ru_stime:.1f}",
             f"{peak >> 20}", *("yes" if checks[key] else "NO" for key in ("arm64", "shape", "jobs")),
             f"{'yes' if checks['resumed'] else 'NO'} (from {kept})"]
    return cells, all(checks.values()) and seconds < SECONDS and peak < MEMORY


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(STUDIES)))
def main(names):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background begin with it ignored
    table = Table("study")
    for heading in ("runs", "s", "CPU s", "peak MiB", "arm64 64K", "JSON", "--jobs 2 alike", "resumed alike"):
        table.add_column(heading, justify="right")
    good = True
    for name in names or STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                cells, well = tried(name, Path(folder))
            except RuntimeError as error:
                cells, well = [name, str(error)], False
        good &= well
        print(" ".join(cells), file=sys.stderr)
        table.add_row(*cells, style=None if well else "red")
    Console(width=120).print(table)
    sys.exit(not good)


if __name__ == "__main__":
    main()
