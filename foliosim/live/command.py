"""The commands ``foliosim record`` and ``foliosim fuzz``."""
import contextlib
import gzip
import io
import json
import signal
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from foliosim.live import facts
from foliosim.live.emulator import Emulator
from foliosim.live.errors import LiveError
from foliosim.live.fuzz import Fuzzer
from foliosim.live.generate import Generator
from foliosim.live.recorder import Recorder, UnstableError, check_steps
from foliosim.live.settings import LOCK, Turn, default, of_scenario
from foliosim.live.themes import THEMES
from foliosim.verify import numbers, recording, report
from foliosim.verify.recording import RecordingError
from foliosim.whole import write_text

LEFT_OUT = 1  # exit status: a scenario is left out, or a disagreement was found
CANNOT = 2  # the live kernel cannot be used, or the arguments are wrong


def _say(text):
    click.echo(text, err=True)


@contextlib.contextmanager
def _ended_by_signals():
    # SIGTERM and SIGHUP end the command as an exception does, so that settings are restored.
    def end(number, _):
        raise SystemExit(128 + number)

    numbers_ = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers_]
    try:
        yield
    finally:
        for number, handler in zip(numbers_, before):
            signal.signal(number, handler)


def _notes(recorder):
    for note in facts.notes(recorder.counters.missing()):
        _say(f"note: {note}")


def _waiting(path):
    _say(f"waiting: another program holds {path}")


_cpu = click.option("--cpu", type=click.IntRange(min=0), help="Processor to bind to (default: the last one).")
_lock = click.option("--lock", type=click.Path(dir_okay=False, path_type=Path), default=LOCK, show_default=True,
                     help="Lock that is held while settings are changed.")


# ---- record ----

def _read_scenarios(paths):
    for path in paths:
        for number, line, _ in recording.read_lines(path):
            try:
                scenario = json.loads(line)
                yield {"id": f"{path.stem}-{number}", "tags": [], **scenario}
            except (json.JSONDecodeError, TypeError) as error:
                raise RecordingError(path, number, f"not a scenario: {error}") from None


def _recorded(recorder, turn, scenario, runs):
    settings = of_scenario(scenario)
    if "steps" not in scenario:
        raise LiveError("no steps")
    check_steps(scenario["steps"])
    action = recorder.run if runs == 1 else recorder.record
    entries = action(scenario["steps"], settings, turn)
    return {"id": scenario["id"], "tags": scenario["tags"], "machine": facts.describe(settings),
            "steps": scenario["steps"], "expect": entries}


@contextlib.contextmanager
def _writer(path):
    if path is None:
        yield sys.stdout
    elif path.name.endswith(".gz"):
        with gzip.open(path, "wt") as out:
            yield out
    else:
        with open(path, "w") as out:
            yield out


@click.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
                metavar="SCENARIO...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write here (.jsonl or .jsonl.gz).")
@click.option("--once", is_flag=True, help="Run each scenario once; otherwise three runs must agree.")
@_cpu
@_lock
def record(scenarios, out, once, cpu, lock):
    """Run scenarios on this machine's kernel and write down what it shows after every step.

    SCENARIO is a .jsonl or .jsonl.gz file; each line has "steps" and, if wanted, "id", "tags" and "settings" (changes
    to the THP settings of the run) or the "machine" of a recording.  Needs Linux, root and a C compiler.  The exit
    status is 0 if all were written, 1 if one was left out, 2 if nothing can be recorded.
    """
    left_out = 0
    try:
        with _ended_by_signals(), Recorder(cpu) as recorder, Turn(lock, _waiting) as turn, _writer(out) as target:
            _notes(recorder)
            for scenario in _read_scenarios(scenarios):
                try:
                    entry = _recorded(recorder, turn, scenario, 1 if once else 3)
                except UnstableError as error:
                    _say(f"{scenario['id']}: left out: {error}: {json.dumps(scenario['steps'][error.step])}")
                    left_out += 1
                except LiveError as error:
                    _say(f"{scenario['id']}: left out: {error}")
                    left_out += 1
                else:
                    target.write(json.dumps(entry, separators=(",", ":")) + "\n")
    except (LiveError, RecordingError) as error:
        _say(f"cannot record: {error}")
        raise SystemExit(CANNOT) from None
    raise SystemExit(LEFT_OUT if left_out else 0)


# ---- fuzz ----

def _names(text):
    return frozenset(filter(None, (text or "").replace(",", " ").split()))


def _choice(kind, wanted, known, have):
    # The names to use: those asked for, else all that the emulator has.
    unknown = wanted - known
    if unknown:
        raise click.UsageError(f"no {kind} {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    missing = sorted((known - have) - (wanted or frozenset()))
    if missing and not wanted:
        _say(f"left out, the emulator has no {kind}: {', '.join(missing)}")
    return wanted or have


def _allowed(emulator, ops, advices):
    known = frozenset(recording.STEPS) | {"shared memory"}
    have_ops, have_advices = emulator.supported(facts.describe(default()))
    chosen = _choice("op", _names(ops), known, have_ops)
    if ops and "shared memory" in have_ops:
        chosen |= {"shared memory"}
    return chosen, _choice("advice", _names(advices), frozenset(numbers.MADV), have_advices)


class _Report:
    """Prints findings as they come, and keeps them in a folder."""

    def __init__(self, console, folder):
        self._console, self._folder = console, folder
        self._last = time.monotonic()

    def found(self, finding):
        scenario = finding.scenario
        settings = {key: scenario.machine[key] for key in default()}
        line = {"id": scenario.id, "tags": list(scenario.tags)}
        if settings != default():
            line["settings"] = settings
        click.echo(json.dumps({**line, "steps": scenario.steps}))
        self._console.print(report.first_mismatch(scenario, finding.outcome), soft_wrap=True)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            whole = {**line, "machine": scenario.machine, "steps": scenario.steps, "expect": scenario.expect}
            whole.pop("settings", None)
            write_text(self._folder / f"{scenario.id}.jsonl", json.dumps(whole, separators=(",", ":")) + "\n")
            out = io.StringIO()
            Console(file=out, width=160).print(report.first_mismatch(scenario, finding.outcome))
            write_text(self._folder / f"{scenario.id}.txt", out.getvalue())

    def progress(self, tally):
        if time.monotonic() - self._last > 30:
            self._last = time.monotonic()
            _say(_sums(tally))


def _sums(tally):
    rate = tally.scenarios / tally.seconds if tally.seconds else 0.0
    return (f"{tally.scenarios:,} scenarios, {tally.steps:,} steps, {tally.seconds:.0f} s ({rate:.1f} scenarios/s): "
            f"{tally.agreed:,} agree, {tally.disagreed:,} disagree ({len(tally.findings):,} distinct), "
            f"{sum(tally.unsupported.values()):,} end at what the emulator does not have, "
            f"{tally.unstable:,} not reproducible on the kernel, {tally.disturbed:,} only in a repetition undisturbed")


def _close(tally, seed, first):
    for reason, n in tally.unsupported.most_common(8):
        click.echo(f"not emulated, {n:,} times: {reason}")
    if tally.outside:
        click.echo(f"cut short where a mapping left the arena: {tally.outside:,}")
    if tally.lost:
        click.echo(f"left out because a process died: {tally.lost:,}")
    click.echo(f"seed {seed}, scenarios {first} to {first + tally.scenarios - 1}")
    click.echo(_sums(tally))


@click.command()
@click.option("--live", is_flag=True, help="Compare with this machine's kernel (Linux, root, a C compiler).")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the random scenarios.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time (default: 5).")
@click.option("--scenarios", type=click.IntRange(min=1), help="Stop after so many scenarios.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first scenario.")
@click.option("--steps", nargs=2, type=click.IntRange(min=1), default=(8, 24), show_default=True,
              help="Least and greatest number of steps of a scenario.")
@click.option("--odd", type=click.FloatRange(0, 1), default=0.06, show_default=True,
              help="Share of steps with an argument that is refused or at a border.")
@click.option("--theme", "themes", multiple=True, type=click.Choice(sorted(THEMES)), help="Only this (repeatable).")
@click.option("--ops", help="Only these ops (names, comma between them); default: all that the emulator has.")
@click.option("--advices", help="Only these advices of madvise; default: all that the emulator has.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Keep disagreements in this folder.")
@click.option("--no-validate", is_flag=True, help="Do not check the emulator's invariants after every step.")
@_cpu
@_lock
def fuzz(live, seed, minutes, scenarios, first, steps, odd, themes, ops, advices, out, no_validate, cpu, lock):
    """Run random scenarios on this machine's kernel and in the emulator, and compare them after every step.

    A disagreement that three more runs on the kernel confirm is shrunk to the fewest steps and printed: one line of
    JSON to keep, and what differs.  The exit status is 0 if there is none, 1 if there is one, 2 if the kernel cannot
    be observed.
    """
    if not live:
        raise click.UsageError("say --live: scenarios are compared with the kernel of this machine, whose THP settings "
                               "are changed meanwhile and restored at the end")
    minutes = 5.0 if minutes is None and scenarios is None else minutes
    console = Console()
    shown = _Report(console if console.is_terminal else Console(width=160), out)
    fuzzer = None
    try:
        with _ended_by_signals(), Recorder(cpu) as recorder:
            _notes(recorder)
            with Emulator(recorder.other_cpus, not no_validate) as emulator, Turn(lock, _waiting) as turn:
                generator = Generator(seed, *_allowed(emulator, ops, advices), themes, steps, odd)
                fuzzer = Fuzzer(generator, recorder, emulator, turn, shown.found)
                with contextlib.suppress(KeyboardInterrupt):
                    fuzzer.run(seconds=minutes and 60 * minutes, scenarios=scenarios, first=first,
                               progress=shown.progress)
    except LiveError as error:
        _say(f"cannot fuzz: {error}")
        raise SystemExit(CANNOT) from None
    _close(fuzzer.tally, seed, first)
    raise SystemExit(LEFT_OUT if fuzzer.tally.disagreed else 0)
