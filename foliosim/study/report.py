"""Results for people and programs: tables, CSV, JSON."""
import csv
import itertools
import json

from rich.table import Table

from foliosim.ledger import is_bytes
from foliosim.policy import POINTS, preset
from foliosim.study.base import size_text


def value_text(name, value):
    """A metric for people."""
    if is_bytes(name):
        return size_text(value)
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def shown(parameters):
    """Parameters for people: ``size=2 MiB, shape=pmd``.  The usual machine is not mentioned."""
    usual = {"arch": "x86_64", "page_size": 4096}
    return ", ".join(f"{name}={size_text(value) if _is_size(value) else value}" for name, value in parameters.items()
                     if usual.get(name) != value)


def _is_size(value):
    return isinstance(value, int) and value >= 4096 and value % 1024 == 0


def tables(study, runs):
    """One table for each case.

    Parameters
    ----------
    study : Study
    runs : list of Run

    Returns
    -------
    list of rich.table.Table
    """
    out = []
    for title, group in itertools.groupby(runs, key=lambda run: shown(run.parameters)):
        group = list(group)
        table = Table(title=title, title_justify="left", caption=_caption(study, group[0]), caption_justify="left")
        table.add_column("policy", no_wrap=True)
        for heading in study.columns.values():
            table.add_column(heading, justify="right")
        for run in group:
            table.add_row(run.label, *(value_text(name, run.metrics[name]) for name in study.columns))
        out.append(table)
    return out


def _caption(study, run):
    values = preset(run.preset)
    return f"{run.preset}: " + ", ".join(f"{point}={values[point]}" for point in study.points)


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
    path.write_text(json.dumps(as_dict(study, runs, seed), indent=1) + "\n")


def rows(study, runs):
    """One flat dict per run: parameters, the preset, every point that the study varies or a run overrides, metrics."""
    points = [point for point in POINTS if point in study.points or any(point in run.policy for run in runs)]
    for run in runs:
        policy = {**preset(run.preset), **run.policy}
        yield {**run.parameters, "preset": run.preset, **{point: policy[point] for point in points}, **run.metrics}


def write_csv(study, runs, path):
    """Write one line per run, as `rows` gives them."""
    lines = list(rows(study, runs))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
