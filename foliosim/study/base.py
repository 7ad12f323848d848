"""What all studies share: keys and their values, the choice of policies, tables and files."""
import csv
import importlib
import itertools
import json
from dataclasses import dataclass, field

from rich.table import Table

from foliosim.policy import POINTS, preset
from foliosim.policy import choices as checked
from foliosim.sizes import parse_size

STUDIES = {"half-mlock": "foliosim.study.half_mlock"}


class StudyError(ValueError):
    """A key, value, point or alternative that the study does not know; the message names it and the valid ones."""


@dataclass(frozen=True)
class Key:
    """A parameter that ``--set`` changes.

    Attributes
    ----------
    default : str
        As it would be written after ``--set``.
    parse : callable
        Text to value; raises ValueError.
    valid : str
        What may be written, for messages.
    """

    default: str
    parse: object
    valid: str


@dataclass(frozen=True)
class Study:
    """A question and how it is put.

    Attributes
    ----------
    name, question : str
    keys : dict of str to Key
    points : tuple of str
        Policy points that are varied, one after the other, if none is asked for.
    columns : dict of str to str
        Metric to the heading of its column, in the order of the table.
    cases : callable
        Parsed parameters to a list of parameter dicts, one for each block of runs; raises `StudyError`.
    run : callable
        ``run(parameters, policy)`` gives a `Run` without its policy's name.
    conclude : callable
        List of runs to two or three sentences.
    picture : callable
        ``picture(runs, path)`` writes a PNG.
    """

    name: str
    question: str
    keys: dict
    points: tuple
    columns: dict
    cases: object
    run: object
    conclude: object
    picture: object


@dataclass(eq=False)
class Run:
    """One policy in one case.

    Attributes
    ----------
    parameters : dict
        The parameters, as JSON can hold them.
    preset : str
    policy : dict
        Every point that is not the preset's value.
    metrics : dict
    label : str
        Name of the policy in tables and pictures.
    pages : object
        What the picture needs; not written to files.
    """

    parameters: dict
    metrics: dict
    preset: str = ""
    policy: dict = field(default_factory=dict)
    label: str = ""
    pages: object = None


def load(name):
    """A study by its name.

    Parameters
    ----------
    name : str

    Returns
    -------
    Study

    Raises
    ------
    StudyError
    """
    if name not in STUDIES:
        raise StudyError(f"study {name!r}: valid are {', '.join(STUDIES)}")
    return importlib.import_module(STUDIES[name]).STUDY


def size_value(text):
    """Bytes from ``40M``, ``64K`` or a number."""
    return parse_size(text)


def choice_value(*names):
    """A parser for one of some names."""

    def parse(text):
        if text not in names:
            raise ValueError(text)
        return text

    return parse


def _pair(option, text):
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise StudyError(f"{option} {text!r}: must be written {option} name=value")
    return name, value


def parameters(study, settings):
    """Values of all keys.

    Parameters
    ----------
    study : Study
    settings : iterable of str
        ``key=value`` each.

    Returns
    -------
    dict
        Parsed values; keys that were not set have their defaults.

    Raises
    ------
    StudyError
        A key or a value that is not valid.
    """
    given = dict(_pair("--set", text) for text in settings)
    for name in given:
        if name not in study.keys:
            raise StudyError(f"key {name!r}: valid are {', '.join(study.keys)}")
    out = {}
    for name, key in study.keys.items():
        text = given.get(name, key.default)
        try:
            out[name] = key.parse(text)
        except (ValueError, TypeError):
            raise StudyError(f"{name}={text!r}: valid are {key.valid}") from None
    return out


def policies(study, choices, preset_name):
    """The policies to compare.

    Parameters
    ----------
    study : Study
    choices : iterable of str
        ``point=alternative`` each; a point may come several times.  All combinations are run.  If there are none,
        the alternatives of each of the study's points are run while the other points stay at the preset's value.
    preset_name : str

    Returns
    -------
    list of (str, dict)
        A label, and the alternative of every point.

    Raises
    ------
    StudyError
        An unknown preset, point or alternative.
    """
    try:
        base = preset(preset_name)
    except ValueError as error:
        raise StudyError(str(error)) from None
    asked = {}
    for text in choices:
        point, name = _pair("--policy", text)
        if point not in POINTS:
            raise StudyError(f"policy point {point!r}: valid are {', '.join(POINTS)}")
        try:
            checked({point: name})
        except ValueError as error:
            raise StudyError(str(error)) from None
        names = asked.setdefault(point, [])
        if name not in names:
            names.append(name)
    if asked:
        combinations = [dict(zip(asked, names)) for names in itertools.product(*asked.values())]
    else:
        combinations = [{point: name} for point in study.points for name in _preset_first(point, base)]
    out = {}
    for combination in combinations:
        policy = {**base, **combination}
        changes = overrides(policy, preset_name)
        out.setdefault(tuple(policy.items()), (_label(changes, preset_name), policy))
    return list(out.values())


def _preset_first(point, base):
    return sorted(POINTS[point].names, key=lambda name: name != base[point])


def _label(changes, preset_name):
    return " + ".join(f"{point}={name}" for point, name in changes.items()) or preset_name


def overrides(policy, preset_name):
    """The points of a policy that are not the preset's value.

    Parameters
    ----------
    policy : dict
    preset_name : str

    Returns
    -------
    dict
    """
    base = preset(preset_name)
    return {point: name for point, name in policy.items() if base[point] != name}


def run_all(study, values, chosen, preset_name, progress):
    """Run every policy in every case.

    Parameters
    ----------
    study : Study
    values : dict
        From `parameters`.
    chosen : list
        From `policies`.
    preset_name : str
    progress : callable
        Called with (runs done, runs in all, label of the next run).

    Returns
    -------
    list of Run
    """
    todo = [(case, label, policy) for case in study.cases(values) for label, policy in chosen]
    runs = []
    for case, label, policy in todo:
        progress(len(runs), len(todo), label)
        run = study.run(case, policy)
        run.preset, run.policy, run.label = preset_name, overrides(policy, preset_name), label
        runs.append(run)
    progress(len(runs), len(todo), "")
    return runs


def size_text(nr_bytes):
    """A size for people: ``1 MiB``, ``64 KiB``, ``0``."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if nr_bytes >= 1 << shift:
            return f"{nr_bytes / (1 << shift):.4g} {unit}"
    return str(nr_bytes)


def is_bytes(metric):
    """Does this metric count bytes?"""
    return metric.endswith("_bytes") or metric.startswith(("mlock_", "acct."))


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
    for title, group in itertools.groupby(runs, key=lambda run: ", ".join(_shown(run.parameters))):
        group = list(group)
        table = Table(title=title, title_justify="left", caption=_caption(study, group[0]), caption_justify="left")
        table.add_column("policy", no_wrap=True)
        for heading in study.columns.values():
            table.add_column(heading, justify="right")
        for run in group:
            values = [size_text(run.metrics[name]) if is_bytes(name) else str(run.metrics[name])
                      for name in study.columns]
            table.add_row(run.label, *values)
        out.append(table)
    return out


def _caption(study, run):
    values = preset(run.preset)
    return f"{run.preset}: " + ", ".join(f"{point}={values[point]}" for point in study.points)


def _shown(values):
    for name, value in values.items():
        yield f"{name}={size_text(value) if isinstance(value, int) else value}"


def as_dict(study, runs):
    """The result in the shape of ``--json``.

    Parameters
    ----------
    study : Study
    runs : list of Run

    Returns
    -------
    dict
        ``study``, ``question``, ``runs`` (``parameters``, ``preset``, ``policy``, ``metrics`` each), ``conclusion``.
    """
    return {
        "study": study.name,
        "question": study.question,
        "runs": [{"parameters": run.parameters, "preset": run.preset, "policy": run.policy, "metrics": run.metrics}
                 for run in runs],
        "conclusion": study.conclude(runs),
    }


def write_json(study, runs, path):
    """Write the result as JSON."""
    path.write_text(json.dumps(as_dict(study, runs), indent=1) + "\n")


def write_csv(study, runs, path):
    """Write one line per run: parameters, the preset, every point that the study varies or a run overrides, metrics."""
    points = [point for point in POINTS if point in study.points or any(point in run.policy for run in runs)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*runs[0].parameters, "preset", *points, *runs[0].metrics])
        for run in runs:
            policy = {**preset(run.preset), **run.policy}
            writer.writerow([*run.parameters.values(), run.preset, *(policy[point] for point in points),
                             *run.metrics.values()])
