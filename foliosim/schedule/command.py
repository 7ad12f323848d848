"""The command ``foliosim schedule``."""
import sys
from pathlib import Path

import click

from foliosim.progress import progress
from foliosim.schedule.program import Program, ScheduleError
from foliosim.schedule.run import Broken, Schedule, play
from foliosim.schedule.search import search as find
from foliosim.whole import check_output


@click.group()
def schedule():
    """Search orders of the steps of processes and daemons, or replay one."""


@schedule.command()
@click.argument("program", type=click.Path(exists=True, dir_okay=False))
@click.option("--maximise", "metric", help="A metric of the ledger; without it only broken invariants are looked for.")
@click.option("--tries", default=500, show_default=True, type=click.IntRange(1), help="Orders to play.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same search.")
@click.option("--placements", default=4, show_default=True, type=click.IntRange(0), help="Daemon runs in one order.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the schedule that was found.")
def search(program, metric, tries, seed, placements, out):
    """Look for an order that breaks an invariant, or that maximises a metric.

    PROGRAM is a JSON file: machine, setup, actors, daemons (docs/schedule.md).  Exit status 1: an invariant broke.
    """
    if out:
        check_output(out, program)
    try:
        with progress() as bar:
            task = bar.add_task("orders", total=tries)
            found = find(Program.read(program), metric=metric, tries=tries, seed=seed, placements=placements,
                         progress=lambda done, best: bar.update(task, completed=done))
    except ScheduleError as error:
        raise click.ClickException(str(error)) from None
    if found is None:
        click.echo(f"{tries} orders: every invariant held")
        return
    click.echo(str(found))
    if out:
        found.write(Path(out))
    sys.exit(1 if found.value is None else 0)


@schedule.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def replay(file):
    """Perform a schedule again and print it.  Exit status 1: an invariant broke, or the value is another one."""
    try:
        kept = Schedule.read(file)
        expected = kept.value
        play(kept, metric=kept.why if expected is not None else None)
    except ScheduleError as error:
        raise click.ClickException(str(error)) from None
    except Broken as broken:
        kept.why, kept.step = str(broken), broken.step
    click.echo(str(kept))
    sys.exit(0 if expected is not None and kept.value == expected else 1 if kept.step is not None else 0)
