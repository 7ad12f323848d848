"""The command ``foliosim study``."""
import multiprocessing
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from foliosim.policy import PRESETS
from foliosim.progress import progress
from foliosim.study import base, choose, report, sweep

_NO_MATPLOTLIB = "no picture: matplotlib is not installed; it comes with the extra `plot`: pip install 'foliosim[plot]'"


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a parameter (may be repeated).")
@click.option("--sweep", "sweeps", multiple=True, metavar="KEY=A,B,...",
              help="Run once for each value; several sweeps are combined.")
@click.option("--policy", "choices", multiple=True, metavar="POINT=ALTERNATIVE",
              help="Run this alternative; a point may be given several times, all combinations are run.")
@click.option("--preset", "presets", multiple=True, default=[choose.USUAL], show_default=True,
              help=f"What the other points do: {', '.join(PRESETS)}. Several are compared, as they are without "
              "--policy.")
@click.option("--arch", help="Short for --set arch=...")
@click.option("--page-size", help="Short for --set page_size=...")
@click.option("--seed", default=0, show_default=True, help="Decides everything random.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes to run in.")
@click.option("--executor", metavar="dask://HOST:PORT", help="Run on this Dask cluster instead.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result here.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=".", show_default=True,
              help="Folder for the picture and the CSV file.")
def study(name, settings, sweeps, choices, presets, arch, page_size, seed, jobs, executor, json_file, out):
    """Put a question to several policies: a table, a picture, a CSV file and a conclusion.

    Without NAME the studies are listed with the question that each decides.  A sweep that is interrupted goes on where
    it was when the same command is given again.
    """
    console = _console()
    if name is None:
        _list_studies(console)
        return
    machine = {"arch": arch, "page_size": page_size}
    settings += tuple(f"{key}={value}" for key, value in machine.items() if value is not None)
    try:
        chosen, todo = sweep.plan(name, settings, sweeps, choices, presets, seed)
        journal = sweep.Journal(out / f"{chosen.name}.unfinished.jsonl")
        with sweep.open_executor(executor, min(jobs, len(todo))) as workers:
            runs = run_shown(chosen, todo, workers, journal)
    except (base.StudyError, sweep.SweepError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    _show(console, chosen, runs)
    _write(chosen, runs, seed, json_file, out)
    journal.remove()


def _console():
    # Where the output is no terminal there is no reason to fold it.
    console = Console()
    return console if console.is_terminal else Console(width=1000)


def _list_studies(console):
    for name in base.names():
        one = base.load(name)
        console.print(f"[bold]{name}[/bold]: {one.question}", soft_wrap=True, highlight=False)
        for key, what in one.keys.items():
            console.print(f"    {key}={what.default}: {what.valid}", soft_wrap=True, highlight=False, markup=False)
    console.print("each also takes:", highlight=False)
    for key, what in base.MACHINE_KEYS.items():
        console.print(f"    {key}={what.default}: {what.valid}", soft_wrap=True, highlight=False, markup=False)


def run_shown(chosen, todo, workers, journal):
    """`sweep.run_all` with a bar of progress; what is done is kept if it is interrupted.

    Raises
    ------
    StudyError, SweepError
    """
    columns = (TextColumn(chosen.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as shown:
        bar = shown.add_task("", total=len(todo))
        try:
            return sweep.run_all(todo, executor=workers, journal=journal,
                                 progress=lambda done, total: shown.update(bar, completed=done, total=total))
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.kill()
            raise sweep.SweepError(f"interrupted; {journal.kept(todo)}") from None


def _show(console, chosen, runs):
    console.print(f"[bold]{chosen.question}[/bold]", soft_wrap=True, highlight=False)
    for table in report.tables(chosen, runs):
        console.print()
        console.print(table)
    console.print()
    console.print(chosen.conclude(runs), soft_wrap=not console.is_terminal, highlight=False)


def _write(chosen, runs, seed, json_file, out):
    try:
        out.mkdir(parents=True, exist_ok=True)
        report.write_csv(chosen, runs, out / f"{chosen.name}.csv")
        click.echo(f"wrote {out / chosen.name}.csv")
        if json_file is not None:
            report.write_json(chosen, runs, seed, json_file)
            click.echo(f"wrote {json_file}")
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    try:
        chosen.picture(runs, out / f"{chosen.name}.png")
        click.echo(f"wrote {out / chosen.name}.png")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        click.echo(_NO_MATPLOTLIB, err=True)
