"""The study batch-ops: what fork, exit, mprotect, munmap, a zap and copy-on-write cost by the size of folios.

A range is filled with folios of one order, and one thing after the other is done to all of it.  Each operation's counts
are metrics: ``fork.pte_set`` is what the ledger calls ``ops.pte_set``, during fork alone.  ``entries`` are the PTEs or
PMD leaves that map the range, ``folios`` its folios.
"""
import numpy as np

import foliosim as fs
from foliosim import costs
from foliosim.study import plot
from foliosim.study.base import Key, RefusedValue, Study, size_text, size_value
from foliosim.study.scene import Scene, block_of

OPERATIONS = {"fork": "fork", "exit": "exit of the child", "mprotect_ro": "mprotect, read only",
              "mprotect_rw": "mprotect, writable", "zap": "MADV_DONTNEED", "munmap": "munmap",
              "cow": "fork and a write to every page"}
KINDS = ("pte_set", "mapcount", "rmap_call", "ref", "tlb_flush", "fault", "copy_page", "folio_alloc", "folio_free",
         "table_alloc", "table_free")
_DRAWN = ("pte_set", "mapcount", "rmap_call", "ref", "fault", "copy_page")


def _orders(text):
    if text == "all":
        return text
    orders = [int(one) for one in text.replace("+", ",").split(",")]
    if not all(0 <= order <= 20 for order in orders):
        raise ValueError(text)
    return orders


KEYS = {
    "size": Key("256M", size_value(1, 1 << 34), "a multiple of the largest folio, up to 16G"),
    "orders": Key("all", _orders, "all that fit in size, or orders joined by + (as 0+4+9): folios of 2^order pages, 0"
                  " and 2 to 9"),
}

COLUMNS = {
    "entries": "entries",
    "folios": "folios",
    "fork.pte_set": "fork:\nPTEs set",
    "fork.rmap_call": "rmap\ncalls",
    "fork.mapcount": "mapcount\nupdates",
    "fork.time_ns": "ns by\nthe model",
    "munmap.pte_set": "munmap:\nPTEs set",
    "munmap.rmap_call": "rmap\ncalls",
    "munmap.mapcount": "mapcount\nupdates",
    "munmap.time_ns": "ns by\nthe model",
    "mprotect_ro.pte_set": "mprotect:\nPTEs set",
    "cow.fault": "COW:\nfaults",
    "cow.time_ns": "ns by\nthe model",
}


def cases(values):
    """The parameters of each block of runs: one order each."""
    page, size = values["page_size"], values["size"]
    most = (block_of(page) // page).bit_length() - 1
    valid = [0, *range(2, most + 1)]
    fitting = [order for order in valid if size % (page << order) == 0]
    orders = fitting or [most] if values["orders"] == "all" else values["orders"]
    for order in orders:
        if order not in valid:
            raise RefusedValue("orders", f"0 and 2 to {most}")
        if size % (page << order) or not size:
            raise RefusedValue("size", f"multiples of the largest folio, {size_text(page << max(orders))}")
    return [{**values, "orders": order} for order in orders]


def run(parameters, policy, seed):
    """One policy in one case."""
    size, folio = parameters["size"], parameters["page_size"] << parameters["orders"]
    scene = Scene(parameters, policy, folio=folio)
    process = scene.spawn()
    addr = scene.filled(process, size)
    entries = scene.tlb_entries(process, addr, size)
    counts = {}

    def count(name, call, *arguments):
        before = scene.machine.ledger()
        result = call(*arguments)
        counts.update(_counts(name, scene.machine.ledger() - before))
        return result

    scene.begin()
    child = count("fork", process.fork)
    count("exit", child.exit)
    count("mprotect_ro", process.mprotect, addr, size, fs.PROT_READ)
    count("mprotect_rw", process.mprotect, addr, size, fs.PROT_READ | fs.PROT_WRITE)
    count("zap", process.madvise, addr, size, fs.MADV_DONTNEED)
    scene.fill(process, addr, size)
    count("munmap", process.munmap, addr, size)
    addr = scene.filled(process, size)
    process.fork()
    count("cow", scene.fill, process, addr, size)
    return scene.outcome(entries=entries, folios=size // folio, **counts)


def _counts(name, growth):
    return {**{f"{name}.{kind}": growth[f"ops.{kind}"] for kind in KINDS}, f"{name}.time_ns": growth.time()}


def work(run, operation):
    """Updates of entries and counts, faults and copies in one operation, per page."""
    nr_pages = run.parameters["size"] // run.parameters["page_size"]
    return sum(run.metrics[f"{operation}.{kind}"] for kind in _DRAWN) / nr_pages


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = [run for run in runs if run.label == runs[0].label and run.parameters["size"] == runs[0].parameters["size"]]
    least, most = (pick(first, key=lambda run: run.parameters["orders"]) for pick in (min, max))
    low, high = least.parameters["orders"], most.parameters["orders"]
    out = []
    for operation in ("fork", "munmap", "cow"):
        small, large = work(least, operation), work(most, operation)
        out.append(f"{OPERATIONS[operation]} takes {small:.3g} updates a page with folios of order {low}"
                   + (f", {large:.3g} with order {high}" if high != low else ""))
    sentences = [f"Under {first[0].label} {'; '.join(out)}."]
    return " ".join(sentences + _prices(first) + _others([run for run in runs if run.parameters["size"]
                                                          == runs[0].parameters["size"]]))


def price(runs, operation):
    """Model time as a * entries + b * folios, by least squares over the runs of one policy in which PTEs map the range.

    Returns
    -------
    tuple of float
        a and b, ns.
    """
    most = max(run.metrics["entries"] for run in runs)
    runs = [run for run in runs if run.metrics["entries"] == most]
    counts = np.array([[run.metrics["entries"], run.metrics["folios"]] for run in runs], dtype=float)
    times = np.array([run.metrics[f"{operation}.time_ns"] for run in runs])
    return tuple(np.linalg.lstsq(counts, times, rcond=None)[0].tolist())


def _prices(runs):
    if len({run.metrics["folios"] for run in runs if run.metrics["entries"] == runs[0].metrics["entries"]}) < 2:
        return []
    told = []
    for name in ("fork", "munmap"):
        entry, folio = price(runs, name)
        told.append(f"{entry:.3g} ns an entry and {folio:.3g} ns a folio for {name}")
    return [f"By the cost table {costs.DEFAULT} that is {' and '.join(told)}."]


def _others(runs):
    # What each other policy saves most of, by share.
    base = {run.parameters["orders"]: run for run in runs if run.label == runs[0].label}
    out = []
    for label in dict.fromkeys(run.label for run in runs if run.label != runs[0].label):
        shares = [(work(run, name) / work(base[order], name), order, name, work(run, name))
                  for run in runs if run.label == label for order in [run.parameters["orders"]]
                  for name in OPERATIONS if work(base[order], name)]
        share, order, name, now = min(shares, key=lambda one: one[0])
        out.append(f"{label} needs {now:.3g} instead of {now / share:.3g} for {OPERATIONS[name]} with order {order}"
                   if share < 0.995 else f"{label} saves nothing")
    return [f"{'; '.join(out)}."] if out else []


def picture(runs, path):
    """A panel for each operation: updates per page by order, stacked by kind; marks where other policies differ."""
    shown = [run for run in runs if run.parameters["size"] == runs[0].parameters["size"]]
    orders = sorted({run.parameters["orders"] for run in shown})
    names = list(dict.fromkeys(run.label for run in shown))
    base = {run.parameters["orders"]: run for run in shown if run.label == names[0]}
    size = size_text(runs[0].parameters["size"])
    figure = plot.figure_of(13, 6.4, f"Updates per page, by the size of folios ({size})")
    axes = figure.subplots(2, 4).ravel()
    for ax, (name, title) in zip(axes, OPERATIONS.items()):
        _operation(ax, name, title, [run for run in shown if run.label == names[0]], orders)
        for i, label in enumerate(names[1:], 1):
            places = [(orders.index(run.parameters["orders"]), work(run, name)) for run in shown if run.label == label
                      and work(run, name) != work(base[run.parameters["orders"]], name)]
            ax.plot(*zip(*places or [(0, float("nan"))]), linestyle="none", marker="_x+"[i % 3], color="black",
                    label=f"all, {label}")
    handles, texts = axes[0].get_legend_handles_labels()
    axes[-1].set_axis_off()
    axes[-1].legend(handles, texts, loc="center left", fontsize=8, frameon=False,
                    title=f"bars: {names[0]}\nnumbers: ns per page\nby the table {costs.DEFAULT}", title_fontsize=9)
    plot.save(figure, path)


def _operation(ax, name, title, group, orders):
    group = sorted(group, key=lambda run: run.parameters["orders"])
    bottom = [0.0] * len(group)
    for kind, colour in zip(_DRAWN, plot.STACK):
        values = [run.metrics[f"{name}.{kind}"] * run.parameters["page_size"] / run.parameters["size"] for run in group]
        ax.bar(range(len(group)), values, bottom=bottom, color=colour, label=kind, width=0.75)
        bottom = [low + value for low, value in zip(bottom, values)]
    for i, (run, height) in enumerate(zip(group, bottom)):
        ns = run.metrics[f"{name}.time_ns"] * run.parameters["page_size"] / run.parameters["size"]
        ax.text(i, height + 0.02 * max(bottom), f"{ns:,.0f}" if ns >= 100 else f"{ns:.3g}", ha="center", fontsize=7)
    ax.set_ylim(0, 1.1 * max(bottom))
    ax.set_title(title, fontsize=10, loc="left")
    ax.set_xticks(range(len(orders)), orders, fontsize=8)
    ax.set_xlabel("order of the folios", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


STUDY = Study(
    name="batch-ops",
    question="What do fork, exit, mprotect, munmap, a zap and copy-on-write cost by the size of folios?",
    keys=KEYS,
    points={"cow_order": ("order0", "inherit"), "mapcount_model": ("large_only",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=picture,
)
