"""The study edge-fit: mappings whose ends fit no folio; which folios fill them, and what would larger pages waste?

Each mapping starts at a 2 MiB boundary and is written from its start to its end.  ``vmas`` names the mappings' lengths,
or how many there are: then the lengths are drawn from the seed, from 4 KiB to 4 MiB, small ones more often (the
logarithm of the length is uniform).  A kernel with larger base pages rounds each mapping up to them.
"""
from collections import Counter
from dataclasses import replace

import numpy as np

from foliosim.sizes import parse_size
from foliosim.study import plot
from foliosim.study.base import Key, RefusedValue, Study, size_text
from foliosim.study.resident import resident_pages
from foliosim.study.scene import Scene, block_of
from foliosim.study.sizes import sizes_of, sizes_value
from foliosim.study.words import counted, extremes, labels, percent

_UNIT = 4096  # of the lengths that are drawn, whatever the page
_MOST_VMAS, _LONGEST = 4095, 4 << 20
BASE_PAGES = (16 << 10, 64 << 10)  # of other kernels


def _list(text):
    return [parse_size(int(part) if part.isdecimal() else part) for part in text.replace("+", ",").split(",")]


def _vmas(text):
    if text.isdecimal() and 1 <= int(text) <= _MOST_VMAS:
        return int(text)
    lengths = _list(text)
    if not all(1 <= length <= 1 << 30 for length in lengths):
        raise ValueError(text)
    return lengths


def _sizes(text):
    return text if text in ("all", "none") else sizes_of(sizes_value(text))


KEYS = {
    "vmas": Key("200", _vmas, f"a number of mappings up to {_MOST_VMAS}, their lengths drawn from the seed; or lengths"
                " up to 1G joined by + (as 100K+1028K)"),
    "sizes": Key("all", _sizes, "all, none, sizes of folios joined by + (as 64K+2M), or a range (16K..2M): those that"
                 " faults may use, powers of two from 16K to 2M"),
}

COLUMNS = {
    "vmas": "mappings",
    "asked_bytes": "asked\nfor",
    "used_bytes": "memory\nused",
    "wasted_bytes": "wasted",
    "folios": "folios",
    "largest_order": "largest\norder",
    "small_bytes": "in single\npages",
    "faults.minor": "faults",
    "tlb_entries.plain": "TLB\nentries",
    "tlb_entries.contpte": "contiguous\nblocks in one",
    "wasted_16K_bytes": "wasted by\n16K pages",
    "wasted_64K_bytes": "by\n64K pages",
}


def _valid_sizes(page):
    return [page << order for order in range(2, (block_of(page) // page).bit_length())]


def cases(values):
    """The parameters of each block of runs: sizes as a list."""
    valid = _valid_sizes(values["page_size"])
    sizes = {"all": valid, "none": []}.get(values["sizes"], values["sizes"]) if isinstance(values["sizes"], str) \
        else values["sizes"]
    for size in sizes:
        if size not in valid:
            raise RefusedValue("sizes", f"all, none, {', '.join(map(_short, valid))}")
    return [{**values, "sizes": "+".join(map(_short, sizes)) or "none",
             "vmas": values["vmas"] if isinstance(values["vmas"], int) else "+".join(map(_short, values["vmas"]))}]


def _short(size):
    for shift, unit in ((20, "M"), (10, "K")):
        if size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def lengths_of(vmas, seed):
    """Lengths of the mappings, in bytes.

    Parameters
    ----------
    vmas : int or str
        The parameter, of a run.
    seed : int

    Returns
    -------
    list of int
    """
    if isinstance(vmas, str):
        return _list(vmas)
    random = np.random.Generator(np.random.PCG64(seed))
    return [_UNIT * int(pages) for pages in np.exp2(random.random(vmas) * np.log2(_LONGEST // _UNIT))]


def run(parameters, policy, seed):
    """One policy in one case."""
    page = parameters["page_size"]
    lengths = lengths_of(parameters["vmas"], seed)
    enabled = [] if parameters["sizes"] == "none" else _list(parameters["sizes"])
    modes = {f"{size >> 10}kB": "madvise" if size in enabled else "never" for size in _valid_sizes(page)}
    scene = Scene(parameters, policy, thp="madvise", mthp=modes)
    process = scene.spawn()
    scene.begin()
    for length in lengths:
        scene.filled(process, length)
    orders = _orders(scene, process)
    asked, used = sum(lengths), scene.look()
    by_order = {f"folios.order{order}": orders[order] for order in range((block_of(page) // page).bit_length())}
    wasted = {f"wasted_{_short(base)}_bytes": sum(-length % base for length in lengths) for base in BASE_PAGES}
    return scene.outcome(vmas=len(lengths), asked_bytes=asked, wasted_bytes=used - asked, small_bytes=orders[0] * page,
                         folios=sum(orders.values()), largest_order=max(orders), **by_order, **wasted)


def _orders(scene, process):
    # How many folios of each order a process maps.
    _, nr_pages = np.unique(resident_pages(scene.machine, [process]).head, return_counts=True)
    return Counter(count.bit_length() - 1 for count in nr_pages.tolist())


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    group = [run for run in runs if run.parameters == first.parameters]
    numbers = first.metrics
    mappings, folios = counted(numbers["vmas"], "mapping"), counted(numbers["folios"], "folio")
    out = [f"{mappings} of {size_text(numbers['asked_bytes'])} in all: filled by {folios} under {first.label},"
           f" {size_text(numbers['small_bytes'])} of it in single pages, {size_text(numbers['wasted_bytes'])} wasted."]
    few, entries = extremes(group, "tlb_entries.contpte")
    if len(group) > 1:
        out.append(f"The fewest TLB entries, if a contiguous block takes one ({entries:,}), come with {labels(few)},"
                   f" for {size_text(few[0].metrics['wasted_bytes'])} wasted.")
    out.append("A kernel with base pages of 16 KiB would waste "
               f"{_share(numbers, '16K')}, one with 64 KiB {_share(numbers, '64K')}.")
    return " ".join(out)


def _share(numbers, base):
    wasted = numbers[f"wasted_{base}_bytes"]
    return f"{size_text(wasted)} ({percent(round(wasted / numbers['asked_bytes'], 3))} of what was asked for)"


def picture(runs, path):
    """Bytes by the order of their folio, faults, TLB entries and waste; larger base pages as rows of their own."""
    orders = [name for name in runs[0].metrics if name.startswith("folios.order")]
    drawn = [name for name in orders if any(run.metrics[name] for run in runs)]
    stack = {f"{name}_bytes": f"in folios of order {name.removeprefix('folios.order')}" for name in drawn}
    rows = [replace(run, metrics={**run.metrics, **_bytes_by_order(run, drawn), "base_bytes": 0}) for run in runs]
    for _, group in plot.groups_of(runs):
        rows += [_larger_pages(group[0], base, stack) for base in BASE_PAGES]
    title = "Mappings whose ends fit no folio: what are they made of, and what is wasted?"
    plot.picture(rows, path, title=title, panels=[
        plot.Panel("bytes by folio", {**stack, "base_bytes": "in larger base pages"},
                   (*plot.shades(len(stack)), "#999999")),
        plot.Panel("faults", "faults.minor"),
        plot.Panel("TLB entries, contiguous blocks in one", "tlb_entries.contpte"),
        plot.Panel("wasted", "wasted_bytes", (plot.BAD,))])


def _bytes_by_order(run, names):
    page = run.parameters["page_size"]
    return {f"{name}_bytes": run.metrics[name] * page << int(name.removeprefix("folios.order")) for name in names}


def _larger_pages(run, base, stack):
    # What a kernel with base pages of this size would have: nothing but them.
    wasted = run.metrics[f"wasted_{_short(base)}_bytes"]
    used = run.metrics["asked_bytes"] + wasted
    pages = used // base
    return replace(run, label=f"base pages of {_short(base)}", metrics={
        **dict.fromkeys(stack, 0), "base_bytes": used, "faults.minor": pages, "tlb_entries.contpte": pages,
        "wasted_bytes": wasted})


STUDY = Study(
    name="edge-fit",
    question="Mappings end where no folio ends: how many folios of which size fill them, and what would larger base"
             " pages waste?",
    keys=KEYS,
    points={"fault_order": ("mthp", "pmd_enabled", "never", "vma_scaled", "up_to(4)")},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=picture,
)
