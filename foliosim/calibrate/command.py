"""The command ``foliosim calibrate``."""
import json
import statistics
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from foliosim.calibrate import kernel
from foliosim.calibrate.cases import CASES, ORDERS, PMD, counts
from foliosim.calibrate.fit import fit
from foliosim.live.errors import LiveError
from foliosim.live.settings import LOCK, Turn
from foliosim.progress import progress
from foliosim.sizes import parse_size

CANNOT = 2  # exit status: this machine cannot be timed


def _length(context, parameter, text):
    try:
        length = parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if length < PMD or length % PMD:
        raise click.BadParameter(f"{text!r}: must be a multiple of 2M")
    return length


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here.")
@click.option("--name", help="Of the table (default: the kernel's release).")
@click.option("--order", "orders", multiple=True, type=click.Choice([str(order) for order in ORDERS]),
              help="Folios of this order only (repeatable).")
@click.option("--size", "length", default="128M", show_default=True, callback=_length, help="Of the area.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(min=1), help="Of each case.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--lock", type=click.Path(dir_okay=False, path_type=Path), default=LOCK, show_default=True,
              help="Lock that is held while settings are changed.")
def calibrate(out, name, orders, length, rounds, as_json, lock):
    """Fit a table of costs to this machine: time its kernel, count the same in the emulator, solve.

    Some cases are held out of the fit and predicted.  Needs Linux, root and a C compiler; THP settings are changed
    meanwhile and restored.  The exit status is 2 if the machine cannot be timed.
    """
    orders = sorted({int(order) for order in orders}) or list(ORDERS)
    reason = kernel.why_not(orders)
    try:
        if reason is not None:
            raise LiveError(reason)
        result = fit(measure(orders, length, rounds, lock))
    except (LiveError, ValueError) as error:
        click.echo(f"cannot calibrate: {error}", err=True)
        raise SystemExit(CANNOT) from None
    facts = kernel.describe(length, rounds)
    source = (f"foliosim calibrate on Linux {facts['kernel']}, {facts['processor']}: thread CPU time, median of "
              f"{rounds} rounds, {length >> 20} MiB in folios of orders {', '.join(map(str, orders))}")
    made = result.table(name or facts["kernel"], source, facts)
    if out is not None:
        made.write(out)
    if as_json:
        click.echo(json.dumps(as_data(result, made), indent=1))
    else:
        show(result, made, out)


def measure(orders, length, rounds, lock=LOCK):
    """Time all cases of some orders, and count what they do.

    Parameters
    ----------
    orders : list of int
    length, rounds : int
    lock : path

    Returns
    -------
    list of (Case, dict, float)
        As `fit` takes them.

    Raises
    ------
    LiveError
    """
    measured = []
    with Turn(lock) as turn, progress() as bar:
        task = bar.add_task("cases", total=sum(case.order in orders for case in CASES))
        for order in orders:
            with kernel.folios_of(turn, order):
                for case in (case for case in CASES if case.order == order):
                    measured.append((case, counts(case, length), kernel.time_case(case, length, rounds)))
                    bar.advance(task)
    return measured


def as_data(result, made):
    """The result as plain data."""
    return {
        "table": asdict(made), "alike": result.alike,
        "cases": [{"op": row.case.op, "order": row.case.order, "held_out": row.case.held_out,
                   "measured_ns": row.measured, "predicted_ns": row.predicted, "error": row.error}
                  for row in result.rows],
    }


def show(result, made, out):
    """The result for a terminal: coefficients, then predicted beside measured of what was held out."""
    console = Console()
    console.print(f"[bold]{made.name}[/bold]: {made.source}", highlight=False)
    costs = Table("operation", "ns")
    for op, ns in made.coefficients.items():
        costs.add_row(op, f"{ns:,.1f}")
    console.print(costs)
    cases = Table("held out of the fit", "folio", "measured us", "predicted us", "error")
    for row in result.rows:
        if row.case.held_out:
            cases.add_row(row.case.op, row.case.size, f"{row.measured / 1e3:,.1f}", f"{row.predicted / 1e3:,.1f}",
                          f"{row.error:+.0%}")
    console.print(cases)
    for held_out, words in ((False, "in the fit"), (True, "held out")):
        errors = result.errors(held_out)
        if errors:
            console.print(f"{words}: {len(errors)} cases, error {statistics.median(errors):.1%} (median), "
                          f"{max(errors):.0%} (worst)", highlight=False)
    if result.alike:
        console.print("some operations come together in all cases: their cost stands with one of them")
    if out is not None:
        console.print(f"written: {out}", highlight=False, soft_wrap=True)
