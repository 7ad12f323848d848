"""The command ``foliosim replay``."""
import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from foliosim.machine import Machine
from foliosim.policy import PRESETS
from foliosim.replay.compare import CACHE, FIELDS, TOLERANCE
from foliosim.replay.engine import recorded_thp
from foliosim.replay.reader import TraceError, read_trace
from foliosim.replay.run import replay_trace
from foliosim.replay.truth import read_truth


@click.command()
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRUTH",
              help="Compare with what the kernel said at every snapshot; the exit status says whether it follows.")
@click.option("--preset", default="linux-6.18", show_default=True, help=f"Policy: {', '.join(PRESETS)}.")
@click.option("--policy", "choices", multiple=True, metavar="POINT=ALTERNATIVE", help="Decide this point otherwise.")
@click.option("--thp", type=click.Choice(("never", "madvise", "always")),
              help="THP mode instead of the recorded one; PR_SET_THP_DISABLE of the recording does not count then.")
@click.option("--mthp", "sizes", multiple=True, metavar="SIZE=MODE", help="Mode of one folio size, as 64K=always.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the numbers here.")
def replay(trace, against, preset, choices, thp, sizes, json_file):
    """Replay a program's trace on an emulated machine.

    TRACE is a foliosim-trace: JSON lines, plain or compressed with xz or gzip.
    """
    console = Console(soft_wrap=True, highlight=False, width=110)
    try:
        loaded, truth = read_trace(trace), read_truth(against) if against else None
        machine = _machine(loaded.header, preset, choices, thp, sizes)
        result = _run(loaded, truth, machine, thp is not None)
    except (TraceError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except MemoryError as error:
        raise click.ClickException(f"{error}") from None
    _show(console, loaded, result)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_dict(result), indent=1) + "\n")
        click.echo(f"wrote {json_file}")
    if result.comparison is not None and not result.comparison.follows:
        raise SystemExit(1)


def _pairs(option, texts):
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{option} {text!r}: must be written name=value")
        pairs[name] = value
    return pairs


def _machine(header, preset, choices, thp, sizes):
    settings = recorded_thp(header)
    if thp is not None:
        settings |= {"thp": thp, "mthp": {}}
    mthp = {_kb(size): mode for size, mode in _pairs("--mthp", sizes).items()}
    machine = Machine(memory=header["mem_total_kb"] << 10, policy=preset,
                      **{**settings, "mthp": {**settings["mthp"], **mthp}})
    machine.set_policy(_pairs("--policy", choices))
    return machine


def _kb(size):
    from foliosim.sizes import parse_size

    return f"{parse_size(size) >> 10}kB"


def _run(trace, truth, machine, other_mode):
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(trace.header.get("name") or trace.path.name, total=len(trace))
        return replay_trace(trace, truth=truth, machine=machine, other_mode=other_mode,
                            progress=lambda done: progress.update(bar, completed=done))


_ODD = {"refused": "accesses refused (SIGSEGV, SIGBUS)", "differs": "calls with another result than recorded",
        "unsupported": "calls that are not emulated", "nobody": "events of processes whose memory is not known"}


def _show(console, trace, result):
    console.print(f"{len(trace):,} events, {result.metrics['pgfault']:,} page faults; "
                  f"{result.metrics['found_mapped']:,} recorded faults found their page mapped")
    for kind, counter in result.replay.odd.items():
        if counter:
            console.print(f"{_ODD[kind]}: {sum(counter.values()):,}", markup=False)
            for detail, count in counter.most_common(5):
                console.print(f"    {count:,}  {detail}", markup=False)
    if result.comparison is not None:
        console.print(_table(result.comparison))
        for text in result.comparison.differences[:10]:
            console.print(text, markup=False)
        console.print(_verdict(result.comparison), markup=False)


def _table(comparison):
    table = Table(title=f"{comparison.snapshots} snapshots, {comparison.processes} processes", title_justify="left")
    for heading in ("field", "of", "compared", "equal", "off by", "must"):
        table.add_column(heading, justify="right" if heading in ("compared", "equal", "off by") else "left")
    for name, of in FIELDS.items():
        tally = comparison.fields[name]
        off = f"{tally.off / tally.total:.2%}" if tally.total else ""
        near = f"within {TOLERANCE[name]:.1%}" if name in TOLERANCE else "yes"
        must = near if name in comparison.must else "no: page cache" if name in CACHE else "no"
        table.add_row(name, of, f"{tally.values:,}", f"{tally.equal:,}", off, must)
    return table


def _verdict(comparison):
    left_out = "".join(f"; left out: {count} x {what}" for what, count in comparison.left_out.items())
    if not comparison.processes:
        return f"nothing was compared{left_out}"
    return ("all that must follow does" if comparison.follows else "NOT all that must follow does") + left_out


def _as_dict(result):
    out = {"metrics": result.metrics, "odd": {kind: dict(counter) for kind, counter in result.replay.odd.items()}}
    if result.comparison is not None:
        one = result.comparison
        out["comparison"] = {
            "follows": one.follows, "snapshots": one.snapshots, "processes": one.processes,
            "left_out": dict(one.left_out), "differences": one.differences,
            "fields": {name: {"compared": tally.values, "equal": tally.equal, "off": tally.off, "total": tally.total}
                       for name, tally in one.fields.items()}}
    return out
