"""The command ``foliosim replay``."""
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from foliosim.cores import ARCHES
from foliosim.policy import PRESETS
from foliosim.progress import progress
from foliosim.replay import runfile, whatif
from foliosim.replay.compare import CACHE, FIELDS, TOLERANCE
from foliosim.replay.reader import TraceError, read_trace
from foliosim.replay.run import replay_trace
from foliosim.replay.series import SAMPLES, write_csv
from foliosim.replay.setting import machine_of, setting_of
from foliosim.replay.side_by_side import draw, table
from foliosim.replay.truth import read_truth
from foliosim.study import report
from foliosim.study.command import run_shown
from foliosim.study.sweep import Journal, SweepError, open_executor, plan
from foliosim.whole import check_output


@click.command()
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="TRUTH",
              help="Compare with what the kernel said at every snapshot; the exit status says whether it follows.")
@click.option("--preset", default="linux-6.18", show_default=True, help=f"Policy: {', '.join(PRESETS)}.")
@click.option("--policy", "choices", multiple=True, metavar="POINT=ALTERNATIVE", help="Decide this point otherwise.")
@click.option("--thp", type=click.Choice(("never", "madvise", "always")),
              help="THP mode instead of the recorded one; PR_SET_THP_DISABLE of the recording does not count then.")
@click.option("--mthp", "sizes", multiple=True, metavar="SIZE=MODE", help="Mode of one folio size, as 64K=always.")
@click.option("--limit", metavar="SIZE", help="What all processes together may use, like memory.max of a cgroup.")
@click.option("--swap", metavar="SIZE", help="Size of a swap device; without one a limit can only take back files.")
@click.option("--arch", type=click.Choice(ARCHES), help="Architecture instead of the recorded one.")
@click.option("--page-size", metavar="SIZE", help="Size of a page, at least the recorded one: 4K, 16K or 64K on arm64.")
@click.option("--sweep", "sweeps", multiple=True, metavar="KEY=A,B,...",
              help="Run once for each value of thp, mthp, limit, swap, arch, page_size; several sweeps are combined.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes to run a sweep in.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the run here, for `foliosim compare`.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the run (run.json), its numbers over time (run.csv) and a picture (run.png).")
def replay(trace, against, preset, choices, thp, sizes, limit, swap, arch, page_size, sweeps, jobs,
           json_file, out):
    """Replay a program's trace on an emulated machine.

    TRACE is a foliosim-trace: JSON lines, plain or compressed with xz or gzip.  A policy point that is given several
    times, or --sweep, runs all combinations and puts them side by side; one with --out that was interrupted goes on
    where it was when the same command is given again.
    """
    console = Console(soft_wrap=True, highlight=False, width=140)
    for path in filter(None, (json_file, out and out / runfile.NAME)):
        check_output(path, trace, *filter(None, [against]))
    try:
        pairs, points = _pairs("--mthp", sizes), [text.partition("=")[0] for text in choices]
        if sweeps or len(set(points)) < len(points):
            if against is not None:
                raise ValueError("--against: a truth is of one run; leave out --sweep and give each point once")
            asked = {"thp": thp, "limit": limit, "swap": swap, "mthp": _always(pairs), "arch": arch,
                     "page_size": page_size}
            _sweep(console, trace, asked, sweeps, choices, preset, jobs, json_file, out)
            return
        setting = setting_of(preset, _pairs("--policy", choices), thp, pairs, limit, swap, arch, page_size)
        loaded, truth = read_trace(trace), read_truth(against) if against else None
        machine = machine_of(loaded.header, setting)
        if truth is not None and machine.page_size != loaded.header["page_size"]:
            raise ValueError("--against: the truth is of a machine with smaller pages; leave out --page-size")
        samples = SAMPLES if json_file or out or limit else None
        result = _run(loaded, truth, machine, thp is not None, samples)
    except (TraceError, ValueError, SweepError) as error:
        raise click.ClickException(str(error)) from None
    except MemoryError as error:
        raise click.ClickException(f"{error}") from None
    _show(console, loaded, result)
    _write(loaded, setting, result, json_file, out)
    if result.stopped:
        raise click.ClickException(f"out of memory {result.stopped}")
    if result.comparison is not None and not result.comparison.follows:
        raise SystemExit(1)


def _write(trace, setting, result, json_file, out):
    if not json_file and not out:
        return
    data = runfile.as_dict(trace, setting, result) | _comparison(result)
    try:
        for path in [json_file] if json_file else []:
            runfile.write(data, path)
            click.echo(f"wrote {path}")
        if out is None:
            return
        out.mkdir(parents=True, exist_ok=True)
        runfile.write(data, out / runfile.NAME)
        write_csv(result.series.rows, out / "run.csv")
        click.echo(f"wrote {out / runfile.NAME} and {out / 'run.csv'}")
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None
    draw({data["label"]: result.series.rows}, out / "run.png", data["label"])


def _always(pairs):
    if set(pairs.values()) - {"always"}:
        raise ValueError("--mthp: in a sweep only SIZE=always is possible")
    return "+".join(pairs) or None


def _sweep(console, trace, asked, sweeps, choices, preset, jobs, json_file, out):
    settings = [f"trace={trace}", *(f"{name}={value}" for name, value in asked.items() if value is not None)]
    study, todo = plan(whatif.WHERE, settings, sweeps, choices, [preset], 0)
    journal = Journal(out / f"{study.name}.unfinished.jsonl" if out else None)
    with open_executor(None, min(jobs, len(todo))) as workers:
        runs = run_shown(study, todo, workers, journal)
    console.print(table({whatif.case_label(runs, run): (run.metrics, run.detail["stopped"]) for run in runs}))
    console.print(study.conclude(runs))
    if json_file:
        report.write_json(study, runs, 0, json_file)
        click.echo(f"wrote {json_file}")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        report.write_csv(study, runs, out / "replay.csv")
        click.echo(f"wrote {out / 'replay.csv'}")
        _write_runs(trace, runs, out)
        draw({whatif.case_label(runs, run): run.detail["rows"] for run in runs}, out / "replay.png", study.question)
    journal.remove()


def _write_runs(trace, runs, out):
    of = runfile.about(read_trace(trace))
    for number, run in enumerate(runs):
        data = {"label": whatif.case_label(runs, run), "setting": {**run.parameters, "policy": run.policy},
                "metrics": run.metrics, "stopped": run.detail["stopped"]}
        runfile.write(runfile.envelope(of, run.detail["rows"]) | data, out / f"run-{number:02}.json")


def _pairs(option, texts):
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{option} {text!r}: must be written name=value")
        pairs[name] = value
    return pairs


def _run(trace, truth, machine, other_mode, samples):
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with progress(*columns) as shown:
        bar = shown.add_task(escape(runfile.name_of(trace)), total=len(trace))
        return replay_trace(trace, truth=truth, machine=machine, other_mode=other_mode, samples=samples,
                            progress=lambda done: shown.update(bar, completed=done))


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


def _comparison(result):
    one = result.comparison
    if one is None:
        return {}
    fields = {name: {"compared": tally.values, "equal": tally.equal, "off": tally.off, "total": tally.total}
              for name, tally in one.fields.items()}
    return {"comparison": {"follows": one.follows, "snapshots": one.snapshots, "processes": one.processes,
                           "left_out": dict(one.left_out), "differences": one.differences, "fields": fields}}
