"""The command ``foliosim import``."""
from pathlib import Path

import click

from foliosim.intake import text, write
from foliosim.replay.events import MODES
from foliosim.replay.reader import TraceError, read_trace
from foliosim.sizes import parse_size
from foliosim.whole import check_output

_SHOWN = 10
_LEAST = 4 << 20     # bytes of memory that a machine needs

out_option = click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
                          help="The trace; compressed if the name ends in .xz.")
facts_option = click.option(
    "--like", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRACE",
    help="Take what the text does not say (memory, THP settings, sizes of files) from this trace, not this machine.")
mode_option = click.option("--mode", type=click.Choice(MODES),
                           help="never: it was recorded under PR_SET_THP_DISABLE, or with huge pages off.")


@click.group(name="import")
def import_():
    """Make a trace of the text of perf script, or of strace."""


def _importer(kind, what):
    @import_.command(name=kind, help=what)
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @out_option
    @facts_option
    @mode_option
    @click.option("--memory", metavar="SIZE", help="Memory of the machine it was recorded on.")
    def command(file, out, like, mode, memory):
        name = file.name.partition(".")[0]
        out = out or file.with_name(f"{name}.trace.jsonl.xz")
        check_output(out, file)
        try:
            found = text.read(kind, file)
            facts = facts_of(like, memory)
        except (TraceError, ValueError) as error:
            raise click.ClickException(str(error)) from None
        save(*found, facts, name, mode, out)


_importer("perf", "Text of `perf script`, recorded as docs/replay.md says.")
_importer("strace", "Text of `strace -f -ttt -y`: calls, but no page faults.")


def facts_of(like=None, memory=None):
    """What a text does not say: from another trace, or from this machine.

    Raises
    ------
    TraceError, ValueError
    """
    facts = dict(read_trace(like).header) if like else write.facts_here()
    if memory is None:
        return facts
    size = parse_size(memory)
    if size < _LEAST:
        raise ValueError(f"--memory {memory!r}: must be at least {_LEAST >> 20}M")
    return facts | {"mem_total_kb": size >> 10}


def save(events, complaints, program, facts, name, mode, path):
    """Write the trace, and say what is in it and what could not be used.  Returns its header."""
    header, ordered = text.trace_of(events, program, facts, name=name, mode=mode)
    try:
        write.write_trace(header, ordered, path)
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in header["counts"].items())
    click.echo(f"{len(ordered):,} events of {header['processes']} processes ({kinds})")
    if events.lost:
        click.echo(f"{events.lost:,} records were lost while recording: what follows may be wrong")
    for kind, count in complaints.counts.items():
        click.echo(f"{count:,} lines not used: {kind}")
    for one in complaints.named[:_SHOWN]:
        click.echo(f"    {one}")
    click.echo(f"wrote {path}")
    return header
