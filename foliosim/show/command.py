"""``foliosim show``."""
from pathlib import Path

import click

from foliosim import saved
from foliosim.errors import SavedError
from foliosim.machine import Machine
from foliosim.replay.reader import expanded, parse_trace
from foliosim.show.html import page
from foliosim.show.png import draw
from foliosim.show.scene import scene
from foliosim.whole import check_output, read_whole, write_text


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("."), show_default=True,
              help="Folder for the pictures.")
@click.option("--png/--no-png", default=True, show_default=True, help="A picture of one moment.")
@click.option("--html/--no-html", default=True, show_default=True, help="A page to zoom and step through.")
@click.option("--at", type=int, metavar="N", help="The PNG's snapshot of a trace, from 0; left out: the fullest.")
def show(file, out, png, html, at):
    """Draw the address spaces of a saved machine, or of a trace at its snapshots."""
    content, name = read_whole(file), file.name.split(".")[0]
    written = {kind: out / f"{name}.{kind}" for kind in ("html", "png")}
    for path in written.values():
        check_output(path, file)
    try:
        scenes = ([scene(saved.loaded(Machine, file, content), title=file.name)] if content.startswith(saved.MAGIC)
                  else scenes_of_trace(parse_trace(file, expanded(file, content))))
    except (SavedError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if at is not None and not 0 <= at < len(scenes):
        raise click.ClickException(f"--at {at}: must be 0 to {len(scenes) - 1}")
    out.mkdir(parents=True, exist_ok=True)
    if html:
        write_text(written["html"], page(scenes))
        click.echo(f"{written['html']}: {len(scenes)} moments")
    if png:
        chosen = max(scenes, key=_resident) if at is None else scenes[at]
        try:
            draw(chosen, written["png"])
        except ModuleNotFoundError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{written['png']}: {chosen['title']}")


def scenes_of_trace(trace):
    """The machine at each snapshot of a trace, and at its end if it has none.

    Parameters
    ----------
    trace : foliosim.replay.reader.Trace

    Returns
    -------
    list of dict
    """
    from foliosim.replay.engine import Replay, machine_for
    from foliosim.replay.runfile import name_of

    replay = Replay(trace, machine_for(trace.header), thp_disabled=trace.header["mode"] == "never")
    scenes, what = [], f"{name_of(trace)}/{trace.header['mode']}"

    def snapshot(event):
        scenes.append(_replayed(replay, f"{what}: snapshot {event[4]} ({event[5]})"))

    replay.run(snapshot)
    if not scenes:
        scenes.append(_replayed(replay, f"{what}: the end"))
    replay.close()
    return scenes


def _replayed(replay, title):
    out = scene(replay.machine, replay.files.names, title)
    pids = {space.process.pid: pid for pid, space in replay.spaces.items()}
    for process in out["processes"]:
        process["pid"] = pids.get(process["pid"], process["pid"])
    return out


def _resident(one):
    return sum(area["rss"] for process in one["processes"] for area in process["areas"])
