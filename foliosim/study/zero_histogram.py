"""The study zero-histogram: what splitting underused THPs gives back, for a population with a known histogram.

Each THP of a bucket has as many pages in use as the middle of the bucket says, from its start; the others hold zeros.
Then the deferred-split shrinker looks at all of them once.
"""
from functools import partial

from foliosim.study import histogram, plot
from foliosim.study.base import Key, Study, size_text
from foliosim.study.histogram import TABLES, used_pages
from foliosim.study.scene import Scene
from foliosim.study.thresholds import limit_key, limits, ptes_of
from foliosim.study.words import counted, labels, percent

KEYS = {
    "histogram": Key(next(iter(TABLES)), str, f"{', '.join(TABLES)}, or a file of ten numbers: THPs in each tenth of"
                     " utilisation"),
    "threshold": limit_key("max_ptes_none, above which zero-filled pages make a THP underused"),
}

COLUMNS = {
    "thps": "THPs",
    "underused_splits": "split",
    "returned_bytes": "returned",
    "returned_share": "share",
    "rss_bytes": "resident",
    "bloat_bytes": "of these\nzeros in\nlarge folios",
    "tlb_entries.plain": "TLB\nentries",
}


def cases(values):
    """The parameters of each block of runs; the histogram's numbers are among them."""
    counts = histogram.load(values["histogram"])
    ptes = ptes_of(values)
    edges = [ptes - used_pages(bucket, ptes) for bucket, count in enumerate(counts) if count]
    return [{**values, "threshold": limit, "buckets": " ".join(map(str, counts))}
            for limit in limits(values, "threshold", edges, quarters=False)]


def run(parameters, policy, seed):
    """One policy in one case."""
    counts = [int(count) for count in parameters["buckets"].split()]
    thps, ptes = sum(counts), ptes_of(parameters)
    memory = (thps + 32) * ptes * parameters["page_size"]
    scene = Scene(parameters, policy, thp="always", memory=memory,
                  khugepaged={"max_ptes_none": parameters["threshold"]})
    process = scene.spawn()
    addr = scene.map(process, thps * scene.block, huge=False)
    for bucket, count in enumerate(counts):
        for _ in range(count):
            scene.fill(process, addr, used_pages(bucket, ptes) * scene.page)
            addr += scene.block
    scene.begin()
    before = process.counts()["rss_anon"]
    scene.machine.shrink_deferred()
    after = process.counts()["rss_anon"]
    return scene.outcome(thps=thps, underused_splits=scene.machine.vmstat()["thp_underused_split_page"],
                         returned_bytes=(before - after) * scene.page, returned_share=(before - after) / before)


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    base = [run for run in runs if run.label == first.label]
    best = max(base, key=lambda run: (run.metrics["returned_bytes"], run.parameters["threshold"]))
    total = first.metrics["thps"]
    out = [f"{first.label} returns at most {size_text(best.metrics['returned_bytes'])}, "
           f"{percent(best.metrics['returned_share'])} of {counted(total, 'THP')}, "
           f"at a threshold of {best.parameters['threshold']}, by "
           f"{counted(best.metrics['underused_splits'], 'split')}."]
    half = [run for run in base if 2 * run.metrics["returned_bytes"] >= best.metrics["returned_bytes"]]
    if best.metrics["returned_bytes"] and len(base) > 1:
        last = max(half, key=lambda run: run.parameters["threshold"])
        out.append(f"Up to {last.parameters['threshold']} it is still {percent(last.metrics['returned_share'])}, by "
                   f"{counted(last.metrics['underused_splits'], 'split')}.")
    here = [run for run in runs if run.parameters == best.parameters and not run.metrics["returned_bytes"]]
    if here:
        out.append(f"At {best.parameters['threshold']} {labels(here)} "
                   f"{'return' if len(here) > 1 else 'returns'} nothing.")
    return " ".join(out)


STUDY = Study(
    name="zero-histogram",
    question="THPs are used as a histogram says: how much memory comes back if those are split that are underused?",
    keys=KEYS,
    points={"underused": ("accessed_half",), "split_target": ("nonuniform",),
            "drop_zero_pages": ("no",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, over="threshold",
                    title="Underused THPs are split: how much memory comes back?",
                    panels=[plot.Panel("returned", "returned_bytes"), plot.Panel("THPs split", "underused_splits"),
                            plot.Panel("resident", "rss_bytes")]),
)
