"""The command ``foliosim study``."""
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from foliosim.policy import PRESETS
from foliosim.study import base

_NO_MATPLOTLIB = "no picture: matplotlib is not installed; it comes with the extra `plot`: pip install 'foliosim[plot]'"


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a parameter (may be repeated).")
@click.option("--policy", "choices", multiple=True, metavar="POINT=ALTERNATIVE",
              help="Run this alternative; a point may be given several times, all combinations are run.")
@click.option("--preset", "preset_name", default="linux-6.18", show_default=True,
              help=f"What the other points do: {', '.join(PRESETS)}.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result here.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=".", show_default=True,
              help="Folder for the picture and the CSV file.")
def study(name, settings, choices, preset_name, json_file, out):
    """Put a question to several policies: a table, a picture, a CSV file and a conclusion.

    Without NAME the studies are listed with the question that each decides.
    """
    console = _console()
    if name is None:
        _list_studies(console)
        return
    try:
        chosen = base.load(name)
        values = base.parameters(chosen, settings)
        runs = _run(chosen, values, base.policies(chosen, choices, preset_name), preset_name)
    except base.StudyError as error:
        raise click.ClickException(str(error)) from None
    console.print(f"[bold]{chosen.question}[/bold]", soft_wrap=True, highlight=False)
    for table in base.tables(chosen, runs):
        console.print()
        console.print(table)
    console.print()
    console.print(chosen.conclude(runs), soft_wrap=not console.is_terminal, highlight=False)
    _write(chosen, runs, json_file, out)


def _console():
    # Where the output is no terminal there is no reason to fold it at 80 columns.
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 160))


def _list_studies(console):
    for name in base.STUDIES:
        one = base.load(name)
        console.print(f"[bold]{name}[/bold]: {one.question}", soft_wrap=True, highlight=False)
        for key, what in one.keys.items():
            console.print(f"    {key}={what.default}: {what.valid}", soft_wrap=True, highlight=False, markup=False)


def _run(chosen, values, policies, preset_name):
    columns = (TextColumn(chosen.name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def note(done, total, label):
            progress.update(task, completed=done, total=total, description=label)

        return base.run_all(chosen, values, policies, preset_name, note)


def _write(chosen, runs, json_file, out):
    try:
        out.mkdir(parents=True, exist_ok=True)
        base.write_csv(chosen, runs, out / f"{chosen.name}.csv")
        click.echo(f"wrote {out / chosen.name}.csv")
        if json_file is not None:
            base.write_json(chosen, runs, json_file)
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
