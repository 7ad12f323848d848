"""The study bgsave: a server forks a child that saves a snapshot, and goes on writing; what do the copies cost?

The parent has its data in folios of one order, forks, and writes to keys while the child reads all of the data in
order; then the child exits.  There is one key for each page.  The keys are drawn from the seed: key r of n is written
with a probability proportional to 1 / r ** zipf, and the keys lie on the pages in a random order.
With ``trace=FILE`` a recorded program does it all instead.
"""
import importlib
from functools import partial
from pathlib import Path

import numpy as np

from foliosim.study import plot
from foliosim.study.base import Key, Outcome, RefusedValue, Study, StudyError, int_value, size_text, size_value
from foliosim.study.scene import Scene, block_of, check_multiple, folio_settings
from foliosim.study.words import agree, extremes, labels

_MADE_UP = "none"
_STEPS = 64  # parts in which the child reads the data

def _zipf(text):
    exponent = float(text)
    if not 0 <= exponent <= 5:
        raise ValueError(text)
    return exponent


def _trace(text):
    if text != _MADE_UP and not Path(text).is_file():
        raise ValueError(text)
    return text


KEYS = {
    "data": Key("64M", size_value(1, 1 << 32), "a multiple of the folios' size up to 4G"),
    "order": Key("9", int_value(0, 13), "0, or 2 up to 9 (2M folios): the parent's folios have 2^order pages"),
    "zipf": Key("1", _zipf, "a number from 0 (all keys alike) to 5"),
    "writes": Key("20000", int_value(0, 10_000_000), "0 to 10000000: writes of the parent while the child saves"),
    "trace": Key(_MADE_UP, _trace, "none, or the trace of a program that forks and saves, as redis: data, zipf and"
                 " writes are its own then"),
}

COLUMNS = {
    "cow_bytes": "bytes\ncopied",
    "written_bytes": "written\npages",
    "faults.cow": "copying\nfaults",
    "faults_per_1000_writes": "faults per\n1000 writes",
    "largest_copy_bytes": "largest copy\nin a fault",
    "peak_bytes": "peak\nmemory",
    "used_bytes": "memory\nafter it",
    "stranded_bytes": "of it\nstranded",
    "parent_tlb_entries": "TLB entries\nof the parent",
}


def cases(values):
    """The parameters of each block of runs."""
    page, order = values["page_size"], values["order"]
    most = (block_of(page) // page).bit_length() - 1
    if order == 1 or order > most:
        raise RefusedValue("order", f"0 and 2 to {most}")
    check_multiple(values, "data", page << order)
    return [values]


def pages_written(nr_pages, zipf, writes, seed):
    """Which page each write goes to.

    Parameters
    ----------
    nr_pages : int
    zipf : float
    writes : int
    seed : int

    Returns
    -------
    numpy.ndarray of int
        Page numbers, one for each write.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    place = np.argsort(random.random(nr_pages), kind="stable")
    share = np.cumsum(np.arange(1, nr_pages + 1, dtype=float) ** -zipf)
    ranks = np.searchsorted(share, random.random(writes) * share[-1], side="right")
    return place[np.minimum(ranks, nr_pages - 1)]


def run(parameters, policy, seed):
    """One policy in one case."""
    if parameters["trace"] != _MADE_UP:
        return _run_trace(parameters, policy)
    size, writes = parameters["data"], parameters["writes"]
    page = parameters["page_size"]
    scene = Scene(parameters, policy, folio=page << parameters["order"])
    parent = scene.spawn()
    addr = scene.filled(parent, size)
    pages = pages_written(size // page, parameters["zipf"], writes, seed)
    child = parent.fork()
    scene.begin()
    largest = 0
    for step, some in enumerate(np.array_split(pages, _STEPS)):
        largest = max(largest, _write(scene, parent, addr, some))
        start, end = (size // page * at // _STEPS * page for at in (step, step + 1))
        child.touch(addr + start, end - start)
    scene.look()
    entries = scene.tlb_entries(parent, addr, size)
    child.exit()
    counted = scene.metrics()
    return scene.outcome(written_bytes=len(np.unique(pages)) * page, largest_copy_bytes=largest,
                         faults_per_1000_writes=1000 * counted["faults.cow"] / writes if writes else 0.0,
                         parent_tlb_entries=entries)


def _run_trace(parameters, policy):
    # replay stands above the studies: it is there when it is needed
    saving = importlib.import_module("foliosim.replay.saving")
    page = parameters["page_size"]
    settings = folio_settings(page << parameters["order"], page, "always")
    try:
        return Outcome(saving.save_of_trace(parameters["trace"], policy, settings["thp"], settings.get("mthp", {}),
                                            arch=parameters["arch"], page_size=page))
    except ValueError as error:
        raise StudyError(str(error)) from None


def _write(scene, parent, addr, pages):
    # The largest copy that one write caused.
    vmstat, page = scene.machine.vmstat, scene.page
    largest, before = 0, vmstat()["cow_bytes"]
    for at in pages.tolist():
        parent.write(addr + at * page, 1, value=2)
        now = vmstat()["cow_bytes"]
        largest, before = max(largest, now - before), now
    return largest


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    group = [run for run in runs if run.parameters == first.parameters]
    numbers, data = first.metrics, size_text(first.parameters["data"])
    if first.parameters["trace"] != _MADE_UP:
        data = Path(first.parameters["trace"]).name
    writes = numbers.get("writes", first.parameters["writes"])
    out = [f"{writes:,} writes touch {size_text(numbers['written_bytes'])} of {data}:"
           f" {first.label} copies {size_text(numbers['cow_bytes'])} in {numbers['faults.cow']:,} faults, and memory"
           f" peaks at {size_text(numbers['peak_bytes'])}."]
    if len(group) == 1:
        return out[0]
    few, faults = extremes(group, "faults.cow")
    price = (size_text(few[0].metrics[name]) for name in ("peak_bytes", "largest_copy_bytes"))
    out.append(f"{_have(few)} the fewest copying faults ({faults:,}), with a peak of {{}} and up to {{}} copied in one."
               .format(*price))
    small, peak = extremes(group, "peak_bytes")
    out.append(f"{_have(small)} the lowest peak ({size_text(peak)}).")
    return " ".join(out)


def _have(runs):
    return f"{labels(runs)} {agree([run.label for run in runs], 'has', 'have')}"


STUDY = Study(
    name="bgsave",
    question="A child saves a snapshot while the parent writes on: how much should a write to a shared folio copy?",
    keys=KEYS,
    points={"cow_order": ("order0", "fixed(2)", "fixed(4)", "inherit", "whole_huge")},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, title="A child saves a snapshot, the parent writes on: what do the copies cost?",
                    panels=[plot.Panel("copying faults per 1000 writes", "faults_per_1000_writes"),
                            plot.Panel("bytes copied", "cow_bytes"), plot.Panel("peak memory", "peak_bytes"),
                            plot.Panel("largest copy in one fault", "largest_copy_bytes"),
                            plot.Panel("TLB entries of the parent", "parent_tlb_entries")]),
)
