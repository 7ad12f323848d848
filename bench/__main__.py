"""``python -m bench``: the table of speeds, each beside its floor and the machine's own kernel."""
import os
import platform
import subprocess
from importlib.metadata import version

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from bench import calls, floors, judges, kernel, ranges, splits
from bench.measure import Row, run
from foliosim.whole import write_json

# Name for --only, and how the case is made; the rounds are a share of --rounds.
CASES = {
    "4K 1G": (lambda: ranges.Pages("1G"), 1), "4K 64G": (lambda: ranges.Pages("64G", everything=False), 0.3),
    "2M 16G": (lambda: ranges.Huge("16G"), 1), "64K by PTE": (lambda: ranges.ByPte("1G", 4), 1),
    "2M by PTE": (lambda: ranges.ByPte("1G", 9), 1), "PMD split": (lambda: splits.PmdSplit("1G"), 1),
    **{f"folio split {order}": (lambda order=order: splits.FolioSplit("1G", order), 1)
       for order in (0, 2, 3, 4, 5, 6, 7, 8)},
    "walk 1G": (lambda: calls.Walks("1G"), 4), "walk 64G": (lambda: calls.Walks("64G"), 4),
    "walk beside judges": (calls.BesideJudges, 1),
    "walk 1T": (lambda: calls.Walks("1T"), 4), "calls": (calls.Calls, 1),
    "areas 1000": (lambda: calls.Areas(1000), 1), "areas 65000": (lambda: calls.Areas(65000), 1),
    "hooks": (calls.Hooks, 1), "import": (calls.Import, 0.3),
}


def measure(names, rounds, with_kernel, progress):
    """Rows of the named cases."""
    rows = []
    for name in names:
        make, share = CASES[name]
        n = max(3, round(rounds * share))
        task = progress.add_task(name, total=n)
        case = make()
        try:
            found = run(case, n, lambda done, task=task: progress.update(task, completed=done))
        finally:
            case.close()
        if with_kernel:
            for row, part in zip(found, case.parts.values(), strict=True):
                _ask_kernel(row, part)
        rows += found
        progress.remove_task(task)
    return rows + list(_derived(rows))


def _ask_kernel(row, part):
    if part.probe is None and part.judge is None:
        return
    try:
        took = judges.seconds(part.judge) if part.judge else kernel.seconds(*part.probe)
        row.kernel = took * 1e9 * part.scale
        row.speedup = row.kernel / row.ours
    except kernel.Skip as reason:
        row.skipped = str(reason)


def _derived(rows):
    """Rows that compare two others."""
    by = {(row.case, row.name): row for row in rows}

    def compare(name, unit, slow, fast, scale, goal=None, at_most=None):
        if slow in by and fast in by:
            ratio = by[slow].ours / by[fast].ours * scale
            yield Row("compared", name, unit, by[fast].ours, by[slow].ours, ratio if at_most else None,
                      floor_goal=at_most, kernel=by[slow].ours if goal else None, speedup=ratio if goal else None,
                      kernel_goal=goal)

    yield from compare("fork by PMD, cheaper than 4K", "GiB", ("4K pages, 1G", "fork"),
                       ("2 MiB folios by PMD, 16G", "fork"), 512, goal=100)
    for what in ("find one of {} (madvise, no change)", "split + merge among {} (mprotect there and back)"):
        few, many = what.format("1,000"), what.format("65,000")
        yield from compare(f"growth: {many}", "call", ("65,000 areas", many), ("1,000 areas", few), 1, at_most=3)


def table(rows):
    """The table for people."""
    out = Table(title="ns per unit of CPU time; medians of interleaved rounds")
    for name in ("operation", "unit", "ours", "floor", "kernel", "ours/floor", "kernel/ours", "goal", "met"):
        out.add_column(name, justify="left" if name in ("operation", "unit", "goal") else "right")
    case = None
    for row in rows:
        if row.case != case:
            case = row.case
            out.add_section()
            out.add_row(f"[bold]{case}[/bold]")
        goals = list(row.goals)
        met = [{True: "yes", False: "[bold red]NO[/bold red]", None: "skipped"}[one] for _, one in goals]
        out.add_row(row.name, row.unit, _number(row.ours), _number(row.floor), _number(row.kernel),
                    _number(row.ratio), _number(row.speedup), "\n".join(text for text, _ in goals), "\n".join(met))
    return out


def _number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def bytes_table():
    """What each floor touches."""
    out = Table(title="bytes that the floors touch")
    for name in ("floor", "bytes", "per", "what"):
        out.add_column(name, justify="right" if name == "bytes" else "left")
    for name, (unit, parts) in floors.BYTES.items():
        what = ", ".join(f"{key} {value:g}" for key, value in parts.items())
        out.add_row(name, f"{sum(parts.values()):,.4g}" if sum(parts.values()) < 1000 else f"{sum(parts.values()):,}",
                    unit, what)
    return out


def environment():
    """What the numbers depend on."""
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    return {"machine": platform.platform(), "python": platform.python_version(), "cython": version("cython"),
            "numpy": version("numpy"), "compiler": compiler, "floor_flags": floors.FLAGS, "load": os.getloadavg(),
            "record_bytes": floors.library().record_bytes()}


@click.command()
@click.option("--only", multiple=True, metavar="TEXT", help="Cases whose name contains this (may be repeated).")
@click.option("--rounds", default=11, show_default=True, help="Interleaved rounds of engine and floor.")
@click.option("--kernel/--no-kernel", "with_kernel", default=True, show_default=True, help="Measure the kernel too.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the rows here.")
@click.option("--strict", is_flag=True, help="Exit status 1 if a goal is not met.")
def main(only, rounds, with_kernel, json_file, strict):
    """Measure the engine against compiled floors and the kernel, and print the table."""
    names = [name for name in CASES if not only or any(text in name for text in only)]
    if not names:
        raise click.UsageError(f"--only {only[0]!r}: no such case; there are {', '.join(CASES)}")
    console = Console(width=None if os.isatty(1) else 190)
    console.print(bytes_table())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        rows = measure(names, rounds, with_kernel, progress)
    console.print(table(rows))
    for reason in sorted({f"{row.skipped}" for row in rows if row.skipped}):
        console.print(f"kernel skipped: {reason}", markup=False)
    if json_file:
        write_json(json_file, {"environment": environment(), "rows": [row.as_dict() for row in rows]})
    missed = sum(met is False for row in rows for _, met in row.goals)
    console.print(f"{missed} goals missed")
    raise SystemExit(1 if strict and missed else 0)


if __name__ == "__main__":
    main()
