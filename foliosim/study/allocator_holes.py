"""The study allocator-holes: an allocator frees most pages of its heap, and khugepaged fills the holes again.

The heap grows page by page: each mapping of one page is written before the next is made, and all merge to one area, so
that no fault may make a huge folio.  Then every page is freed with MADV_DONTNEED whose index is not a multiple of
``keep_every``, and khugepaged looks at all of it ``scans`` times.
"""
from functools import partial

import foliosim as fs
from foliosim.study import plot
from foliosim.study.base import Key, Study, int_value, size_text
from foliosim.study.scene import Scene
from foliosim.study.thresholds import THP, limit_key, limits, ptes_of
from foliosim.study.words import counted, labels

_FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED_NOREPLACE

KEYS = {
    "pages": Key("4096", int_value(1, 1 << 18), "1 to 262144: pages of the heap"),
    "keep_every": Key("8", int_value(1, 1 << 18), "1 to 262144: pages whose index is a multiple of it are kept"),
    "max_ptes_none": limit_key("khugepaged/max_ptes_none"),
    "scans": Key("3", int_value(0, 1000), "0 to 1000: full passes of khugepaged"),
    "thp": THP,
}

COLUMNS = {
    "kept_bytes": "kept by the\nallocator",
    "rss_bytes": "resident",
    "refilled_blocks": "blocks\nrefilled",
    "refilled_bytes": "taken\nagain",
    "folios.huge": "huge\nfolios",
    "tlb_entries.plain": "TLB\nentries",
    "pt_bytes": "page\ntables",
}


def kept_pages(pages, keep_every, ptes):
    """Pages that stay, in each whole block.

    Parameters
    ----------
    pages, keep_every : int
    ptes : int
        Pages of a block.

    Returns
    -------
    list of int
    """
    kept_below = [-(-first // keep_every) for first in range(0, pages + 1, ptes)]
    return [after - before for before, after in zip(kept_below, kept_below[1:])]


def cases(values):
    """The parameters of each block of runs."""
    ptes = ptes_of(values)
    edges = {ptes - kept for kept in kept_pages(values["pages"], values["keep_every"], ptes)}
    return [{**values, "max_ptes_none": limit} for limit in limits(values, "max_ptes_none", edges)]


def run(parameters, policy, seed):
    """One policy in one case."""
    scene = Scene(parameters, policy, thp=parameters["thp"],
                  khugepaged={"max_ptes_none": parameters["max_ptes_none"]})
    process, page = scene.spawn(), scene.page
    pages, step = parameters["pages"], parameters["keep_every"]
    heap = scene.place(pages * page)
    for at in range(heap, heap + pages * page, page):
        process.mmap(page, addr=at, flags=_FIXED)
        scene.fill(process, at, page)
    if parameters["thp"] == "madvise":
        process.madvise(heap, pages * page, fs.MADV_HUGEPAGE)
    for kept in range(0, pages, step):
        hole = min(kept + step, pages) - kept - 1
        if hole:
            process.madvise(heap + (kept + 1) * page, hole * page, fs.MADV_DONTNEED)
    kept_bytes = -(-pages // step) * page
    scene.begin()
    refilled = sum(scene.machine.khugepaged_scan(process) for _ in range(parameters["scans"]))
    rss = process.counts()["rss_anon"] * page
    return scene.outcome(refilled_blocks=refilled, kept_bytes=kept_bytes, refilled_bytes=rss - kept_bytes,
                         **{"folios.huge": _huge(scene)})


def _huge(scene):
    return scene.machine.ledger()["acct.AnonHugePages"] // scene.block


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    kept, heap = first.metrics["kept_bytes"], first.parameters["pages"] * first.parameters["page_size"]
    out = [f"The allocator keeps {size_text(kept)} of {size_text(heap)}."]
    base = [run for run in runs if run.label == first.label]
    full = [run for run in base if run.metrics["refilled_blocks"]]
    if not full:
        out.append(f"Under {first.label} khugepaged refills nothing.")
        return " ".join(out)
    least = min(full, key=lambda run: run.parameters["max_ptes_none"])
    most = max(full, key=lambda run: run.metrics["rss_bytes"])
    out.append(f"Under {first.label} khugepaged refills blocks from max_ptes_none="
               f"{least.parameters['max_ptes_none']} on, and up to {size_text(most.metrics['rss_bytes'])} are resident "
               f"({most.metrics['rss_bytes'] / kept:.3g} times what is kept).")
    spared = [run for run in runs if run.parameters == most.parameters and not run.metrics["refilled_bytes"]]
    if spared:
        out.append(f"There {labels(spared)} {'keep' if len(spared) > 1 else 'keeps'} the holes, at "
                   f"{counted(spared[0].metrics['tlb_entries.plain'], 'TLB entry', 'TLB entries')} instead of "
                   f"{most.metrics['tlb_entries.plain']:,}.")
    return " ".join(out)


STUDY = Study(
    name="allocator-holes",
    question="An allocator frees most pages of its heap: from which max_ptes_none on does khugepaged fill the holes"
             " again?",
    keys=KEYS,
    points={"collapse_vs_free": ("off", "backoff(2)", "respect_recent_dontneed"),
            "collapse_rule": ("quadruple_active",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, over="max_ptes_none",
                    title="Most pages of a heap are freed; then khugepaged looks at it: what is resident?",
                    panels=[plot.Panel("resident", "rss_bytes"), plot.Panel("blocks refilled", "refilled_blocks"),
                            plot.Panel("TLB entries", "tlb_entries.plain")]),
)
