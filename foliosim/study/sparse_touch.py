"""The study sparse-touch: one byte in every ``stride`` is written of memory that is larger than a limit if it is huge.

There is no swap.  What can be had under the limit are pages of zeros in huge folios: the deferred-split shrinker splits
those that it finds underused (P23), and the zero page takes the place of their pages of zeros (P24).  A program that
cannot go on would be killed: it stops there, and ``oom`` is 1.
"""
from functools import partial

import foliosim as fs
from foliosim.study import plot
from foliosim.study.base import Key, Outcome, Study, size_text, size_value
from foliosim.study.scene import Scene, block_of
from foliosim.study.thresholds import THP, limit_key, limits, ptes_of
from foliosim.study.words import listed

_MAX = 16 << 30
_LEAST = 64 << 10  # of a memory limit


def _limit(text):
    return text if text == "none" else size_value(_LEAST, _MAX)(text)


KEYS = {
    "total": Key("256M", size_value(1, _MAX), "1 to 16G bytes: the range"),
    "stride": Key("16K", size_value(1, _MAX), "1 to 16G bytes, from one byte that is written to the next"),
    "limit": Key("128M", _limit, "none, or 64K to 16G: memory for folios and page tables (memory.max)"),
    "max_ptes_none": limit_key("khugepaged/max_ptes_none, above which zero-filled pages make a huge folio underused"),
    "thp": THP,
}

COLUMNS = {
    "oom": "out of\nmemory",
    "written_bytes": "in pages\nwritten to",
    "rss_bytes": "resident",
    "bloat_bytes": "of these\nzeros",
    "underused_splits": "underused\nsplit",
    "faults.minor": "faults",
    "tlb_entries.plain": "TLB\nentries",
    "zero_bytes": "cleared",
}


def touched_pages(start, end, stride, page):
    """How many pages of a range hold a multiple of the stride.

    Parameters
    ----------
    start, end : int
        Offsets of the range, page by page, bytes.
    stride, page : int
        Bytes.

    Returns
    -------
    int
    """
    if stride <= page:
        return (end - start) // page
    return -(-end // stride) - -(-start // stride)


def cases(values):
    """The parameters of each block of runs."""
    ptes, page = ptes_of(values), values["page_size"]
    block = ptes * page
    zeros = {ptes - touched_pages(at, at + block, values["stride"], page)
             for at in range(0, values["total"] - block + 1, block)}
    edges = {min(zeros), max(zeros)} if zeros else ()
    return [{**values, "max_ptes_none": limit} for limit in limits(values, "max_ptes_none", edges)]


def run(parameters, policy, seed):
    """One policy in one case."""
    total, thp = parameters["total"], parameters["thp"]
    limit = None if parameters["limit"] == "none" else parameters["limit"]
    memory = 2 * total + 32 * block_of(parameters["page_size"])
    scene = Scene(parameters, policy, thp=thp, limit=limit, memory=memory,
                  khugepaged={"max_ptes_none": parameters["max_ptes_none"]})
    process = scene.spawn()
    addr = scene.map(process, total, huge=thp == "madvise")
    step, oom = max(parameters["stride"], scene.page), 0
    try:
        process.write(addr, total, value=1, stride=step)
    except fs.OutOfMemory:
        oom = 1
    metrics = scene.metrics(underused_splits=scene.machine.vmstat()["thp_underused_split_page"])
    return Outcome({**metrics, "oom": oom, "written_bytes": _written(scene, process, addr, total, step)})


def _written(scene, process, addr, total, step):
    # How far it came; looking needs memory for tables.
    scene.machine.limit = None
    return sum(byte != 0 for byte in process.read(addr, total, stride=step)) * scene.page


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    values = first.parameters
    what = f"One byte in every {size_text(values['stride'])} of {size_text(values['total'])} is written"
    if values["limit"] == "none":
        most = max(run.metrics["rss_bytes"] for run in runs)
        return f"{what}, without a limit: up to {size_text(most)} are resident."
    how = {}
    for name in dict.fromkeys(run.label for run in runs):
        how.setdefault(_holds([run for run in runs if run.label == name]), []).append(name)
    where = next(where for where, names in how.items() if first.label in names)
    out = [f"{what}. With {listed(how.pop(where))} the limit of {size_text(values['limit'])} holds {where}."]
    others = "; ".join(f"{where} with {listed(names)}" for where, names in how.items())
    if others:
        out.append(f"It holds {others}.")
    return " ".join(out)


def _holds(group):
    # For which max_ptes_none one policy keeps the limit.
    kept = [run.parameters["max_ptes_none"] for run in group if not run.metrics["oom"]]
    missed = [run.parameters["max_ptes_none"] for run in group if run.metrics["oom"]]
    if not missed:
        return "at any max_ptes_none" if len(kept) > 1 else f"at max_ptes_none={kept[0]}"
    if not kept:
        most = max(run.metrics["written_bytes"] for run in group)
        return f"at no max_ptes_none (out of memory with {size_text(most)} in pages that were written to)"
    if max(kept) < min(missed):
        return f"up to max_ptes_none={max(kept)}, not from {min(missed)} on"
    return f"at max_ptes_none={listed(map(str, kept))}, not at {listed(map(str, missed))}"


STUDY = Study(
    name="sparse-touch",
    question="Memory is touched sparsely under a limit, with huge pages: up to which max_ptes_none does the limit"
             " hold?",
    keys=KEYS,
    points={"underused": ("off", "zero_filled_incl_511", "accessed_half"),
            "deferred_members": ("exclude_fully_unmapped",), "drop_zero_pages": ("no",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, over="max_ptes_none",
                    title="Memory is touched sparsely under a limit: does the program come to its end?",
                    panels=[plot.Panel("in pages written to", "written_bytes"), plot.Panel("resident", "rss_bytes"),
                            plot.Panel("underused folios split", "underused_splits")]),
)
