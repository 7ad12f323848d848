"""Results for people and programs: tables, CSV, JSON."""
import itertools

from rich.table import Table

from foliosim import whole
from foliosim.ledger import is_bytes
from foliosim.policy import POINTS, preset
from foliosim.study.base import size_text

_COUNTS = ("pages", "keep_every", "buffers", "stacks", "touched_pages", "touched", "scans")  # parameters, not bytes
_MAX_TABLES = 3


def value_text(name, value):
    """A metric for people."""
    if is_bytes(name):
        return size_text(value)
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def shown(parameters):
    """Parameters for people: ``size=2 MiB, shape=pmd``.  The usual machine is not mentioned."""
    usual = {"arch": "x86_64", "page_size": 4096}
    return ", ".join(f"{name}={_value(name, value)}" for name, value in parameters.items() if usual.get(name) != value)


def _value(name, value):
    return size_text(value) if _is_size(name, value) else str(value)


def _is_size(name, value):
    return isinstance(value, int) and value >= 4096 and value % 1024 == 0 and name not in _COUNTS


def tables(study, runs):
    """One table for each case; of more than three, one for all of them.

    Parameters
    ----------
    study : Study
    runs : list of Run

    Returns
    -------
    list of rich.table.Table
    """
    groups = [list(group) for _, group in itertools.groupby(runs, key=lambda run: run.parameters)]
    if len(groups) <= _MAX_TABLES:
        return [_table(study, [group], ()) for group in groups]
    varying = [name for name in runs[0].parameters if len({str(run.parameters[name]) for run in runs}) > 1]
    return [_table(study, groups, varying)]


def _table(study, groups, varying):
    # Cases below each other, with a column for each parameter that varies.
    first = groups[0][0]
    title = shown({name: value for name, value in first.parameters.items() if name not in varying})
    table = Table(title=title, title_justify="left", caption=_caption(study, groups[0]), caption_justify="left")
    for name in varying:
        table.add_column(name.replace("_", "_\n", 1), justify="right")
    table.add_column("policy", overflow="fold")
    for heading in study.columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        for run in group:
            table.add_row(*(_value(name, run.parameters[name]) for name in varying), run.label,
                          *(value_text(name, run.metrics[name]) for name in study.columns))
        table.add_section()
    return table


def _caption(study, runs):
    # What the presets choose at the study's points.
    presets = {run.preset: preset(run.preset) for run in runs}
    return "\n".join(f"{name}: " + ", ".join(f"{point}={values[point]}" for point in study.points)
                     for name, values in presets.items())


def as_dict(study, runs, seed):
    """The result in the shape of ``--json``.

    Parameters
    ----------
    study : Study
    runs : list of Run
    seed : int

    Returns
    -------
    dict
        ``study``, ``question``, ``seed``, ``runs`` (``parameters``, ``preset``, ``policy``, ``metrics`` each),
        ``conclusion``.
    """
    return {
        "study": study.name,
        "question": study.question,
        "seed": seed,
        "runs": [{"parameters": run.parameters, "preset": run.preset, "policy": run.policy, "metrics": run.metrics}
                 for run in runs],
        "conclusion": study.conclude(runs),
    }


def write_json(study, runs, seed, path):
    """Write the result as JSON."""
    whole.write_json(path, as_dict(study, runs, seed))


def rows(study, runs):
    """One flat dict per run: parameters, the preset, every point that the study varies or a run overrides, metrics."""
    points = [point for point in POINTS if point in study.points or any(point in run.policy for run in runs)]
    for run in runs:
        policy = {**preset(run.preset), **run.policy}
        yield {**run.parameters, "preset": run.preset, **{point: policy[point] for point in points}, **run.metrics}


def write_csv(study, runs, path):
    """Write one line per run, as `rows` gives them."""
    lines = list(rows(study, runs))
    whole.write_csv(path, list(lines[0]), lines)
