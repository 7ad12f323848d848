"""The regression gate: ``python -m bench.gate`` counts instructions and compares them with instructions.json.

Times on a machine with other work differ by tens of per cent; the instructions that a function of the core executes,
with all that it calls, are the same in every run (callgrind).  The counts are those of one compiler: after a change of
it, or one that is meant, write them anew with --update.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from foliosim.whole import write_json

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("instructions.json")
LIMIT = 1.02
# Functions of the core, by module, that operations on ranges end in; with what they call.
HOT = {
    "change_prot": ("change_protection",), "fork": ("copy_page_range",), "gup_fast": ("gup_fast", "put_user_pages"),
    "gup": ("mm_populate",), "memory": ("do_anonymous_run", "handle_mm_fault"),
    "mlock_range": ("mlock_vma_pages_range",), "split_folio": ("split_folio_to_order",),
    "huge_memory": ("split_huge_pmd",), "fault": ("user_access",),
    "zap": ("unmap_vma_range", "madvise_dontneed", "free_pgtables"),
}
# And what Python calls, by class of the module machine: arguments are checked on the way.
BORDER = {"CoreProcess": ("sys_mprotect", "sys_madvise", "translate")}


def count(folder=ROOT):
    """Instructions of each hot function, with what it calls.

    Parameters
    ----------
    folder : path
        Of the package whose core is counted.

    Returns
    -------
    dict
        "module.function" to instructions.

    Raises
    ------
    click.ClickException
        No valgrind, or it failed, or a function was never called.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "callgrind.out")
        _run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-m", "bench.workload"],
             folder)
        listing = _run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", str(out)], folder)
    counts = _parse(listing)
    missing = [name for name in _names() if name not in counts]
    if missing:
        raise click.ClickException(f"not called by the workload, or renamed: {', '.join(missing)}")
    return {name: counts[name] for name in _names()}


def _names():
    return [f"{place}.{function}" for table in (HOT, BORDER) for place, names in table.items() for function in names]


def _run(command, folder):
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise click.ClickException(f"{command[0]} is not installed") from None
    if done.returncode:
        raise click.ClickException(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _parse(listing):
    counts = {}
    for number, name in re.findall(r"^\s*([\d,]+) .*:__pyx_(?:f|pw)_8foliosim_5_core_(\w+)", listing, re.MULTILINE):
        counts.setdefault(name, int(number.replace(",", "")))
    patterns = {f"{place}.{function}": f"{len(place)}{place}_{function}" for place, functions in HOT.items()
                for function in functions}
    patterns |= {f"{place}.{function}": rf"7machine_{len(place)}{place}_\d+{function}"
                 for place, functions in BORDER.items() for function in functions}
    found = {name: [counts[one] for one in counts if re.fullmatch(pattern, one)] for name, pattern in patterns.items()}
    return {name: max(numbers) for name, numbers in found.items() if numbers}


def compare(kept, counts):
    """Rows of what changed.

    Returns
    -------
    list of (str, int, int, float)
        Function, instructions kept, instructions now, their ratio.
    """
    return [(name, kept.get(name, 0), now, now / kept[name] if kept.get(name) else float("inf"))
            for name, now in counts.items()]


def show(rows, title, before, now):
    """Rows of `compare` for a terminal; before, now: what the two counts are of."""
    table = Table(title=title)
    for name in ("function", before, now, "ratio", ""):
        table.add_column(name, justify="left" if name in ("function", "") else "right")
    for name, old, new, ratio in rows:
        table.add_row(name, f"{old:,}", f"{new:,}", f"{ratio:.3f}", "GREW" if ratio > LIMIT else "")
    Console(width=None if os.isatty(1) else 120).print(table)


@click.command()
@click.option("--update", is_flag=True, help="Keep the counts of this run.")
def main(update):
    """Compare instruction counts with those that are kept: exit status 1 if one grew by more than 2 %."""
    counts = count()
    if update:
        compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout
        write_json(KEPT, {"compiler": compiler.partition("\n")[0], "instructions": counts})
        return
    rows = compare(json.loads(KEPT.read_text())["instructions"], counts)
    show(rows, "instructions, with what is called", "kept", "now")
    raise SystemExit(any(ratio > LIMIT for *_, ratio in rows))


if __name__ == "__main__":
    main()
