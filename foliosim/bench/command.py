"""The command ``foliosim bench``."""
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from foliosim.bench.split import COUNTS, SITUATIONS, measure
from foliosim.progress import progress
from foliosim.whole import picture_format, write_json


@click.group()
def bench():
    """Time operations of the emulator, and count what they consist of."""


@bench.command()
@click.option("--situation", "situations", multiple=True, type=click.Choice(list(SITUATIONS)),
              help="Only this one (repeatable).")
@click.option("--to", "targets", multiple=True, metavar="PMD|ORDER",
              help="Only this: the PMD mapping, or folios of this order (repeatable).")
@click.option("--processes", default=4, show_default=True, type=click.IntRange(2, 1000),
              help="That map a shared folio.")
@click.option("--folios", default=64, show_default=True, type=click.IntRange(1), help="Split in one go.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1), help="Of each case.")
@click.option("--policy", "choices", multiple=True, metavar="POINT=ALTERNATIVE",
              help="Decide this point so (repeatable).")
@click.option("--arch", default="x86_64", show_default=True, help="Architecture of the machine.")
@click.option("--page-size", default="4K", show_default=True, help="Its page size; with arm64 also 16K and 64K.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows here.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture here (.png, .svg).")
def split(situations, targets, processes, folios, rounds, choices, arch, page_size, json_file, picture):
    """Split huge folios (2 MiB, with pages of 4K): the PMD mapping, and the folio to each order.

    Times are CPU times of the emulator per split, as called from Python; a PMD is split by mprotect of one page, which
    splits the area too.  The operation counts are those of the kernel's rules.
    """
    targets = [int(target) if target.isdecimal() else target for target in targets] or None
    situations = situations or tuple(SITUATIONS)
    if picture:
        picture_format(picture)
    try:
        policy = dict(choice.split("=", 1) for choice in choices)
    except ValueError:
        raise click.BadParameter(f"{' '.join(choices)!r}: must be POINT=ALTERNATIVE", param_hint="--policy") from None
    try:
        with progress() as bar:
            task = bar.add_task("splits", total=None)
            costs = measure(situations=situations, targets=targets, processes=processes, folios=folios, rounds=rounds,
                            arch=arch, page_size=page_size, policy=policy,
                            note=lambda cost: bar.update(task, description=f"{cost.situation}, {cost.target}"))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table(costs, folios, rounds))
    if json_file:
        write_json(json_file, [cost.as_dict() for cost in costs])
    if picture:
        _draw(costs, picture)


def table(costs, folios, rounds):
    """The rows for people."""
    out = Table(title=f"per split of a huge folio; median of {rounds} rounds of {folios}")
    for name in ("split", "CPU time, ns", *COUNTS, "result"):
        out.add_column(name, justify="left" if name in ("split", "result") else "right")
    last = None
    for cost in costs:
        if cost.situation != last:
            last = cost.situation
            out.add_section()
            by = f" by {cost.processes}" if cost.processes > 1 else ""
            out.add_row(f"[bold]{last}{by}[/bold]")
        name = "PMD mapping" if cost.target == "PMD" else f"folio, to order {cost.target}"
        out.add_row(name, f"{cost.ns:,.0f}", *(f"{number:,.4g}" if number < 1000 else f"{number:,.0f}"
                                               for number in cost.counts.values()), cost.result)
    return out


def _draw(costs, path):
    try:
        from foliosim.bench.plot import picture
        picture(costs, path)
    except ModuleNotFoundError:
        raise click.ClickException("no picture: matplotlib is not installed; it comes with the extra `plot`: "
                                   "pip install 'foliosim[plot]'") from None
