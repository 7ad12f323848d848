"""The study creep: a few pages of a 2 MiB block are in use, and khugepaged may make folios of many sizes.

The first ``touched`` pages of a block are written one by one; then the sizes count, and khugepaged looks at the block
again and again.  A rule that allows many empty entries makes a folio of which most is empty; at the next look that is
full, so that a folio of twice the size fits, and so on.
"""
import foliosim as fs
from foliosim.policy import POINTS
from foliosim.study import creep_plot
from foliosim.study.base import Key, RefusedValue, Study, int_value, size_text
from foliosim.study.scene import Scene
from foliosim.study.sizes import sizes_of, sizes_value
from foliosim.study.thresholds import limit_key, limits, ptes_of
from foliosim.study.words import counted, listed

KEYS = {
    "touched": Key("1", int_value(1, 1 << 16), "1 to 512: pages in use of each 2 MiB"),
    "sizes": Key("all", lambda text: text if text == "all" else sizes_value(text), "all, or sizes from 16K to 2M that"
                 " are powers of two: one, several (16K+64K+2M), or a range (16K..2M)"),
    "max_ptes_none": limit_key("khugepaged/max_ptes_none"),
    "scans": Key("8", int_value(0, 64), "0 to 64: full passes of khugepaged"),
}

COLUMNS = {
    "largest_order": "largest\norder",
    "rss_bytes": "resident",
    "bloat_bytes": "of these\nzeros",
    "collapses": "looks that\ncollapsed",
    "settled_after": "settled\nafter",
    "zero_bytes": "cleared",
    "tlb_entries.plain": "TLB\nentries",
}


def cases(values):
    """The parameters of each block of runs."""
    ptes, page = ptes_of(values), values["page_size"]
    if values["touched"] > ptes:
        raise RefusedValue("touched", f"1 to {ptes}")
    least, most = 4 * page, ptes * page
    sizes = sizes_value(f"{least}..{most}") if values["sizes"] == "all" else values["sizes"]
    for size in sizes_of(sizes):
        if not least <= size <= most:
            raise RefusedValue("sizes", f"all, and powers of two from {size_text(least)} to {size_text(most)}")
    orders = [(size // page).bit_length() - 1 for size in sizes_of(sizes)]
    return [{**values, "sizes": sizes, "max_ptes_none": limit}
            for limit in limits(values, "max_ptes_none", _edges(values, orders, ptes), quarters=False)]


def _edges(values, orders, ptes):
    # Each max_ptes_none from which on more is resident in the end, under any of the rules.
    top = ptes.bit_length() - 1
    yield ptes - 1  # bitmap_best_fit: nothing or everything
    for most_below in (-1, ptes // 2 - 1, ptes - 1):  # below a block: no such sizes, capped, scaled
        def filled(limit):
            return filled_pages(values["touched"], orders, lambda order: limit if order == top else
                                min(limit, most_below) >> (top - order), values["scans"])

        yield from (limit for limit in range(1, ptes) if filled(limit) != filled(limit - 1))


def filled_pages(pages, orders, may_be_empty, scans):
    """Pages that are there after some looks, on paper.

    Parameters
    ----------
    pages : int
        From the start of a block, all of them there.
    orders : iterable of int
        That khugepaged may make.
    may_be_empty : callable
        Order to how many entries of such a part may be empty.
    scans : int
        Looks.

    Returns
    -------
    int
        A look fills up to where ``pages``, rounded up to the largest order that fits, ends.
    """
    for _ in range(scans):
        ends = (-(-pages >> order) << order for order in sorted(orders, reverse=True)
                if (-pages & ((1 << order) - 1)) <= may_be_empty(order))
        filled = next(ends, pages)
        if filled == pages:
            break
        pages = filled
    return pages


def run(parameters, policy, seed):
    """One policy in one case."""
    enabled = {f"{size >> 10}kB": "always" for size in sizes_of(parameters["sizes"])}
    page = parameters["page_size"]
    huge = f"{ptes_of(parameters) * page >> 10}kB"
    scene = Scene(parameters, policy, thp="never", mthp={huge: "never", **enabled},
                  khugepaged={"max_ptes_none": parameters["max_ptes_none"]})
    process = scene.spawn()
    addr = scene.map(process, scene.block, huge=False)
    process.madvise(addr, scene.block, fs.MADV_NOHUGEPAGE)  # faults are as they were before the sizes were enabled
    scene.fill(process, addr, parameters["touched"] * page)
    process.madvise(addr, scene.block, fs.MADV_HUGEPAGE)
    scene.begin()
    orders, collapses = [_largest(scene, process, addr)], 0
    for _ in range(parameters["scans"]):
        collapses += scene.machine.khugepaged_scan(process) > 0
        orders.append(_largest(scene, process, addr))
    settled = next(i for i, order in enumerate(orders) if order == orders[-1])
    return scene.outcome(orders, largest_order=orders[-1], collapses=collapses, settled_after=settled)


def _largest(scene, process, addr):
    folios = (scene.machine.folio(process.translate(at) // scene.page)
              for at in range(addr, addr + process.counts()["rss_anon"] * scene.page, scene.page))
    return max(folio.order for folio in folios)


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0].parameters
    used = first["touched"] * first["page_size"]
    names = list(dict.fromkeys(run.label for run in runs))
    out = [f"{counted(first['touched'], 'page')} of each block {'is' if first['touched'] == 1 else 'are'} in use."]
    creeping = {name: [run for run in runs if run.label == name and run.metrics["collapses"] > 1] for name in names}
    for name, found in creeping.items():
        if found:
            worst = max(found, key=lambda run: (run.metrics["rss_bytes"], run.metrics["collapses"]))
            limits_ = sorted(run.parameters["max_ptes_none"] for run in found)
            out.append(f"{name} creeps at max_ptes_none={listed(map(str, limits_))}: up to "
                       f"{size_text(worst.metrics['rss_bytes'])} for {size_text(used)}, in "
                       f"{counted(worst.metrics['collapses'], 'step')}.")
    still = [name for name in names if not creeping[name]]
    if still:
        out.append(f"{listed(still)} {'do' if len(still) > 1 else 'does'} not creep: one look settles it.")
    return " ".join(out)


STUDY = Study(
    name="creep",
    question="A page of each 2 MiB is in use, and khugepaged may make many sizes: does it creep up to 2 MiB, step by"
             " step?",
    keys=KEYS,
    points={"collapse_rule": tuple(one.name for one in POINTS["collapse_rule"].alternatives if not one.number)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=creep_plot.picture,
)
