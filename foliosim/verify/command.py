"""The command ``foliosim verify``."""
import math
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from foliosim.progress import progress
from foliosim.verify import recording, report, runner
from foliosim.verify.recording import RecordingError
from foliosim.whole import check_output, write_json

BROKEN = 2  # exit status where a file is broken; 1 where something does not match


def _a_number(context, parameter, value):
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the summary here.")
@click.option("--id", "ids", multiple=True, help="Replay only this scenario (may be repeated).")
@click.option("--theme", "themes", multiple=True, help="Replay only this theme (may be repeated).")
@click.option("--show", is_flag=True, help="Print the first mismatch: the steps up to it, expected beside got.")
@click.option("--validate", is_flag=True, help="Also check the machine's invariants after every step.")
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes (default: one per core).")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), callback=_a_number, default=120.0,
              show_default=True, help="Seconds that one scenario may take in a worker process.")
def verify(paths, json_file, ids, themes, show, validate, jobs, timeout):
    """Replay recorded scenarios and compare every value with the recorded kernel's.

    PATH is a .jsonl or .jsonl.gz file, or a folder of them.  The exit status is 0 only if every scenario matches to
    its last value, 1 if one does not or is not supported, 2 if a file is broken.
    """
    job = runner.Job(ids=frozenset(ids), themes=frozenset(themes), validate=validate, details=show)
    console = _console()
    try:
        files = recording.find_files(paths)
        if json_file is not None:
            check_output(json_file, *files)
        summary = _run(files, job, jobs or runner.default_jobs(), timeout)
        _check_found(summary, ids, themes)
        if show:
            console.print(_shown(summary))
    except RecordingError as error:
        click.echo(str(error) if error.line else f"{error.path}: {error.reason}", err=True)
        raise SystemExit(BROKEN) from None
    console.print(report.summary_table(summary))
    if not show:
        console.print(report.failures(summary))
    console.print(report.verdict(summary), soft_wrap=True)
    if json_file is not None:
        write_json(json_file, summary.as_dict())
    raise SystemExit(0 if summary.ok else 1)


def _console():
    # Where the output is no terminal there is no reason to fold it at 80 columns.
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 160))


def _run(files, job, jobs, timeout):
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn(),
        TextColumn("{task.fields[scenarios]} scenarios, {task.fields[failed]} not alike"),
    )
    with progress(*columns) as bar:
        task = bar.add_task("verify", total=len(files), scenarios=0, failed=0)
        places = {path: place for place, path in enumerate(files)}
        seen = {"scenarios": 0, "failed": 0}

        def note(path, share, outcome):
            if outcome is not None:
                seen["scenarios"] += 1
                seen["failed"] += outcome.mismatched or outcome.unsupported is not None
            bar.update(task, completed=int(places[path] + share), **seen)

        return runner.run(files, job, jobs=jobs, timeout=timeout, progress=note)


def _check_found(summary, ids, themes):
    # Nothing replayed is no success.
    missing = sorted(set(ids) - summary.ids)
    if missing:
        raise click.ClickException(f"no scenario {', '.join(missing)} in these files")
    missing = sorted(set(themes) - set(summary.by_theme))
    if missing:
        raise click.ClickException(f"no scenario of theme {', '.join(missing)} in these files")
    if not summary.total.scenarios:
        raise click.ClickException("no scenario in these files")


def _shown(summary):
    # The first scenario that does not match.
    for outcome in summary.failed[:1]:
        line = next(line for number, line, _ in recording.read_lines(outcome.path) if number == outcome.line)
        return report.first_mismatch(recording.parse(outcome.path, outcome.line, line), outcome)
    return ""
