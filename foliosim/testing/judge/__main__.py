"""``python -m foliosim.testing.judge``."""
from collections import Counter

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from foliosim.cores import ARCHES
from foliosim.testing.judge.run import JUDGES, run
from foliosim.whole import write_json


@click.command()
@click.option("--addresses", default=1_000_000, show_default=True, type=click.IntRange(1),
              help="For each architecture and judge.")
@click.option("--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="(may be repeated; all if left out)")
@click.option("--judge", "judges", multiple=True, type=click.Choice(JUDGES), help="(may be repeated; all if left out)")
@click.option("--seed", default=0, show_default=True, help="Another one, other machines.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the verdicts here.")
def main(addresses, arches, judges, seed, json_file):
    """Let processor emulators and volatility3 walk the tables of random machines, and compare."""
    verdicts, columns = [], (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for arch in arches or ARCHES:
            task = progress.add_task(arch, total=addresses)
            try:
                verdicts += run(arch, addresses, seed, judges or JUDGES,
                                lambda done, task=task: progress.update(task, completed=min(done, addresses)))
            except ValueError as error:
                raise click.ClickException(str(error)) from None
            progress.remove_task(task)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(_verdicts(verdicts))
    console.print(_kinds(verdicts))
    for line in (line for verdict in verdicts for line in verdict.shown):
        console.print(line, markup=False)
    if json_file:
        write_json(json_file, [vars(verdict) for verdict in verdicts])
    raise SystemExit(1 if any(verdict.wrong for verdict in verdicts) else 0)


def _verdicts(verdicts):
    table = Table(title="verdicts")
    for name in ("judge", "tables", "machines", "addresses", "answers", "undecided", "for want of", "disagreements"):
        table.add_column(name, justify="left" if name in ("judge", "tables", "for want of") else "right")
    for verdict in verdicts:
        undecided = [(reason, number) for reason, number in verdict.undecided.items() if number]
        table.add_row(verdict.judge, verdict.tables, *(f"{number:,}" for number in (
            verdict.machines, verdict.addresses, verdict.answers)), "\n".join(f"{number:,}" for _, number in undecided),
            "\n".join(reason for reason, _ in undecided), f"{verdict.wrong:,}", end_section=True)
    return table


def _kinds(verdicts):
    """Addresses by kind of entry, of the tables as they were written."""
    judged = {verdict.judge: verdict.kinds for verdict in verdicts if verdict.tables == "as written"}
    table = Table("addresses that lead to", *judged, title="entries, as Linux writes them")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in sorted(sum(judged.values(), Counter())):
        table.add_row(kind, *(f"{kinds[kind]:,}" for kinds in judged.values()))
    return table


if __name__ == "__main__":
    main()
