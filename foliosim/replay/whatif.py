"""The study of a trace: a real program instead of a made-up load, for ``--sweep`` and for `foliosim.study`.

``foliosim study foliosim.replay.whatif:STUDY --set trace=FILE`` is what ``foliosim replay FILE --sweep ...`` runs.
"""
from pathlib import Path

from foliosim.cores import ARCHES
from foliosim.replay import chart
from foliosim.replay.reader import read_trace
from foliosim.replay.run import replay_trace
from foliosim.replay.series import SAMPLES, summary
from foliosim.replay.setting import machine_of, setting_of
from foliosim.replay.side_by_side import COLUMNS
from foliosim.sizes import parse_size
from foliosim.study.base import Key, Outcome, Study, StudyError, choice_value
from foliosim.study.report import value_text

WHERE = "foliosim.replay.whatif:STUDY"
_RECORDED, _NONE = "recorded", "none"


def _trace(text):
    if not text or not Path(text).is_file():
        raise ValueError(text)
    return text


def _size_or_none(text):
    if text != _NONE:
        parse_size(text)
    return text


def _size_or_recorded(text):
    if text != _RECORDED:
        parse_size(text)
    return text


def _sizes(text):
    if text not in (_RECORDED, _NONE):
        for size in text.split("+"):
            parse_size(size)
    return text


KEYS = {
    "trace": Key("", _trace, "a file of a trace"),
    "thp": Key(_RECORDED, choice_value(_RECORDED, "never", "madvise", "always"), "recorded, never, madvise, always"),
    "mthp": Key(_RECORDED, _sizes, "recorded, none, or folio sizes that are made everywhere, as 16K+64K"),
    "limit": Key(_NONE, _size_or_none, "none, or a size as 64M: what all processes together may use"),
    "swap": Key(_NONE, _size_or_none, "none, or a size"),
    "arch": Key(_RECORDED, choice_value(_RECORDED, *ARCHES), f"recorded, {', '.join(ARCHES)}"),
    "page_size": Key(_RECORDED, _size_or_recorded, "recorded, or a larger one that the architecture has"),
}


def _given(value):
    return None if value in (_RECORDED, _NONE) else value


def run(parameters, policy, seed):
    """One policy in one case."""
    sizes = {size: "always" for size in (_given(parameters["mthp"]) or "").split("+") if size}
    if parameters["mthp"] != _RECORDED and parameters["thp"] == _RECORDED:
        raise StudyError(f"mthp={parameters['mthp']}: thp must be given with it")
    setting = setting_of(policy=policy, thp=_given(parameters["thp"]), mthp=sizes, **{
        name: _given(parameters[name]) for name in ("limit", "swap", "arch", "page_size")})
    trace = read_trace(parameters["trace"])
    try:
        machine = machine_of(trace.header, setting)
    except ValueError as error:
        raise StudyError(str(error)) from None
    result = replay_trace(trace, machine=machine, other_mode=setting["thp"] is not None, samples=SAMPLES)
    metrics = {**summary(result.series.rows), "out_of_memory": int(bool(result.stopped))}
    return Outcome(metrics, {"rows": result.series.rows, "stopped": result.stopped})


def case_label(runs, run):
    """What sets a run apart from others."""
    varying = [name for name in KEYS if len({str(one.parameters[name]) for one in runs}) > 1]
    labels = [run.label] if not varying or len({one.label for one in runs}) > 1 else []
    return " ".join([*(f"{name}={run.parameters[name]}" for name in varying), *labels])


_CONCLUDED = {"peak_used_bytes": "peak memory", "peak_bloat_bytes": "bloat", "cow_bytes": "copied on write",
              "faults": "page faults", "peak_tlb_entries": "TLB entries"}


def conclude(runs):
    """What differs, from the least to the most; and what did not fit."""
    done = [run for run in runs if not run.metrics["out_of_memory"]]
    failed = [case_label(runs, run) for run in runs if run.metrics["out_of_memory"]]
    out = []
    for name, what in _CONCLUDED.items():
        least, most = (pick(done, key=lambda run: run.metrics[name], default=None) for pick in (min, max))
        if least and least.metrics[name] != most.metrics[name]:
            low, high = (f"{value_text(name.removeprefix('peak_'), run.metrics[name])} ({case_label(runs, run)})"
                         for run in (least, most))
            out.append(f"{what}: {low} to {high}")
    text = "; ".join(out) or "no number differs"
    return f"{text[0].upper()}{text[1:]}." + (f" Out of memory before the end: {', '.join(failed)}." if failed else "")


def picture(runs, path):
    """Each number over time, a line for each run."""
    chart.picture({case_label(runs, run): run.detail["rows"] for run in runs}, path,
                  f"What if: {Path(runs[0].parameters['trace']).name}")


STUDY = Study(
    name="replay",
    question="A real program's trace: what would other settings and policies have done with its memory?",
    keys=KEYS, points={}, columns=COLUMNS, run=run, conclude=conclude, picture=picture,
)
