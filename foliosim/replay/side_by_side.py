"""The command ``foliosim compare``: runs side by side."""
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foliosim.replay import chart, runfile
from foliosim.replay.reader import TraceError
from foliosim.replay.series import summary
from foliosim.study.report import value_text
from foliosim.whole import check_output, picture_format

COLUMNS = {
    "peak_rss_bytes": "peak\nRss", "peak_used_bytes": "peak\nmemory", "faults": "page\nfaults",
    "cow_bytes": "copied\non write", "peak_bloat_bytes": "peak\nbloat", "peak_tlb_entries": "TLB\nentries",
    "peak_pt_bytes": "page\ntables", "splits": "folio\nsplits", "pmd_splits": "PMD\nsplits",
}
NO_MATPLOTLIB = ("no picture: matplotlib is not installed; it comes with the extra `plot`: "
                 "pip install 'foliosim[plot]'")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="compare.png", show_default=True,
              help="The picture.")
def compare(runs, out):
    """Put runs of ``foliosim replay`` side by side: a table, and a picture of each number over time.

    RUN is a file that ``foliosim replay --json`` wrote, or a folder of ``--out``.
    """
    picture_format(out)
    try:
        loaded = [one for path in runs for one in _runs_of(path)]
    except TraceError as error:
        raise click.ClickException(str(error)) from None
    check_output(out, *runs)
    named = {label: one for label, one in zip(_labels(loaded), loaded)}
    console = Console(soft_wrap=True, highlight=False, width=140)
    console.print(table({label: (summary(one.samples), one.stopped) for label, one in named.items()}))
    draw({label: one.samples for label, one in named.items()}, out, "The same program, otherwise")


def _runs_of(path):
    # a folder of a sweep holds several
    if not path.is_dir() or (path / runfile.NAME).exists():
        return [runfile.read(path)]
    found = sorted(path.glob("run-*.json"))
    if not found:
        raise TraceError(path, 0, f"no run in this folder: neither {runfile.NAME} nor run-*.json")
    return [runfile.read(one) for one in found]


def _labels(runs):
    # equal labels are told apart by a number
    seen = {}
    for run in runs:
        seen[run.label] = seen.get(run.label, 0) + 1
        yield run.label if seen[run.label] == 1 else f"{run.label} ({seen[run.label]})"


def table(runs):
    """A table of the numbers that runs come to.

    Parameters
    ----------
    runs : dict of str to (dict, str)
        What each is called, its `series.summary`, and why it stopped before its end.

    Returns
    -------
    rich.table.Table
    """
    out = Table(caption_justify="left")
    out.add_column("run", overflow="fold")
    for heading in COLUMNS.values():
        out.add_column(heading, justify="right", no_wrap=True)
    for label, (numbers, _) in runs.items():
        out.add_row(escape(label), *(value_text(name.removeprefix("peak_"), numbers[name]) for name in COLUMNS))
    out.caption = "\n".join(escape(f"{label} stopped {why}") for label, (_, why) in runs.items() if why)
    return out


def draw(runs, path, title):
    """Write the picture and say so; without matplotlib say what is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        chart.picture(runs, path, title)
        click.echo(f"wrote {path}")
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        click.echo(NO_MATPLOTLIB, err=True)
