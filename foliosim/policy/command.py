"""The command ``foliosim policies``."""
import json

import click
from rich.console import Console
from rich.table import Table

from foliosim.policy import POINTS, PRESETS, RELEASES, installed


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def policies(as_json):
    """List the policy points: the question, its alternatives with their sources, and what each preset does."""
    if as_json:
        click.echo(json.dumps(table(), indent=1))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 180))
    console.print(points())
    console.print()
    console.print(presets())
    console.print()
    console.print(releases())
    for name, entry in installed().items():
        console.print(f"installed: [bold]{name}[/bold] ({entry.value})", highlight=False)


def table():
    """Points, alternatives and presets as plain data.

    Returns
    -------
    dict
        ``{"points": [...], "presets": {preset: {point: alternative}}, "releases": {preset: {point: [alternative,
        kernel functions]}}}``.
    """
    return {
        "points": [{"id": point.id, "name": point.name, "question": point.question,
                    "arguments": list(point.arguments),
                    "alternatives": [{"name": one.written, "what": one.what, "source": one.source}
                                     for one in point.alternatives]} for point in POINTS.values()],
        "presets": PRESETS, "releases": RELEASES,
    }


def points():
    """The table of points, for a terminal."""
    out = Table("point", "alternative", "what it does", "source", title="policy points (first: Linux 6.18)",
                title_justify="left")
    for point in POINTS.values():
        out.add_row(f"[bold]{point.id} {point.name}[/bold]", "", f"[italic]{point.question}[/italic]", "")
        for one in point.alternatives:
            out.add_row("", one.written, one.what, one.source)
        out.add_section()
    return out


def presets():
    """The table of presets; a point that is as in Linux 6.18 is a dot."""
    out = Table("point", *PRESETS, title="presets (\u00b7: as linux-6.18)", title_justify="left")
    for name, point in POINTS.items():
        linux = PRESETS["linux-6.18"][name]
        cells = [choices[name] if choices[name] != linux or preset == "linux-6.18" else "\u00b7"
                 for preset, choices in PRESETS.items()]
        out.add_row(name, *cells)
    return out


def releases():
    """The table of what older releases do otherwise, and where that was read."""
    out = Table("release", "point", "alternative", "read in its functions", title="releases (where they differ)",
                title_justify="left")
    for preset, changes in RELEASES.items():
        for name, (alternative, functions) in changes.items():
            out.add_row(preset, name, alternative, functions)
        out.add_section()
    return out
