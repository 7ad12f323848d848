"""Prints the summary of a run and the first mismatch of a scenario."""
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from foliosim.plain import plain
from foliosim.verify import words

SHOWN_ROWS = 60
SHOWN_SCENARIOS = 20


def summary_table(summary):
    """Scenarios, steps and values by theme, and their sums."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("theme", no_wrap=True)
    names = ("scenarios", "match", "mismatch", "unsup-\nported", "steps", "values", "masked", "mismatched\nvalues")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for theme, totals in sorted(summary.by_theme.items()):
        table.add_row(Text(plain(theme)), *_cells(totals))
    table.add_section()
    table.add_row("all", *_cells(summary.total), style="bold")
    return table


def _cells(totals):
    numbers = (
        totals.scenarios, totals.matched, len(totals.mismatched_scenarios), len(totals.unsupported), totals.steps,
        totals.values, totals.masked, totals.mismatched_values,
    )
    return [f"{n:,}" for n in numbers]


def verdict(summary):
    """The closing line."""
    total = summary.total
    style = "bold green" if summary.ok else "bold red"
    return Text(
        f"{total.scenarios:,} scenarios, {total.steps:,} steps, {total.values:,} values compared: "
        f"{len(total.mismatched_scenarios):,} scenarios and {total.mismatched_values:,} values mismatch, "
        f"{len(total.unsupported):,} scenarios unsupported", style=style)


def failures(summary):
    """The first scenarios that did not match, one line each."""
    lines = []
    for outcome in summary.failed[:SHOWN_SCENARIOS]:
        lines.append(Text(f"{plain(outcome.id)}: {_reason(outcome)}"))
    if len(summary.failed) > SHOWN_SCENARIOS:
        lines.append(Text(f"and {len(summary.failed) - SHOWN_SCENARIOS:,} more"))
    return Group(*lines)


def _reason(outcome):
    reasons = []
    if outcome.mismatched_values:
        reasons.append(f"{outcome.mismatched_values:,} values mismatch")
    if outcome.error is not None:
        reasons.append(outcome.error)
    if outcome.unsupported is not None:
        reasons.append(f"unsupported: {outcome.unsupported}")
    return f"from step {outcome.first_step} on: " + "; ".join(reasons)


def first_mismatch(scenario, outcome):
    """The steps of a scenario up to its first mismatch, and expected beside got."""
    last = outcome.first_step
    name = f"{plain(scenario.id)} ({plain(scenario.theme)})"
    parts = [Text(f"{name}: step {last} of {len(scenario.steps)}", style="bold")]
    parts += [_machine_text(scenario.machine)]
    for number, (step, entry) in enumerate(zip(scenario.steps[:last + 1], scenario.expect)):
        line = f"{number:4} {words.step_text(step)} -> {words.result_text(entry)}"
        parts.append(Text(line, style="bold" if number == last else ""))
    if outcome.first:
        parts.append(_differences_table(outcome.first, scenario.expect[last]["state"], scenario.page_size))
    if outcome.unsupported is not None:
        parts.append(Text(f"unsupported: {outcome.unsupported}", style="bold red"))
    if outcome.error is not None:
        parts.append(Text(f"{outcome.error}\n{outcome.details}".rstrip(), style="red"))
    return Group(*parts)


def _machine_text(machine):
    sizes = [f"{size}={value}" for size, value in machine["mthp"].items() if value != "never"]
    return Text(f"{machine['arch']}, thp {machine['thp_enabled']}, mthp {' '.join(sizes) or 'never'}")


def _differences_table(differences, state, page_size):
    table = Table()
    for name in ("where", "field", "expected", "got"):
        table.add_column(name, overflow="fold")
    groups = words.grouped(differences, page_size)
    for difference, n in groups[:SHOWN_ROWS]:
        place = words.place_text(difference, state, page_size) + (f", and the {n - 1} after it" if n > 1 else "")
        values = [words.value_text(difference, value) for value in (difference.expected, difference.got)]
        table.add_row(*map(Text, (place, difference.field, *values)))
    if len(groups) > SHOWN_ROWS:
        table.add_row(f"and {len(groups) - SHOWN_ROWS} more rows", "", "", "")
    return table
