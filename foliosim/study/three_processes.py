"""The study three-processes: A forks B and C, two of the three exit, the last writes; does it keep or copy the folio?

A has filled the range, in folios of one size.  It forks B, then C; nobody writes until two have exited.  A folio below
2 MiB is mapped by PTEs, where Linux looks at the folio's owner slots; one of 2 MiB by a PMD, where it looks at the
references.
"""
import itertools

from foliosim.policy import POINTS
from foliosim.study import plot
from foliosim.study.base import Key, Study, choice_value, size_text
from foliosim.study.scene import Scene, check_folio, folio_key
from foliosim.study.words import agree, labels, listed

ORDERS = tuple("".join(names) for names in itertools.permutations("ABC"))


def _order(text):
    return choice_value("all", *ORDERS)(text if text == "all" else text.replace(",", "").replace("-", "").upper())


KEYS = {
    "exit_order": Key("all", _order, f"all, or one of {', '.join(ORDERS)}: the first two exit,"
                      " the last writes every page"),
    "size": folio_key("64K", also="4K, "),
}

COLUMNS = {
    "cow_bytes": "bytes\ncopied",
    "cow_bytes.needless": "of it\nneedless",
    "faults.cow": "copying\nfaults",
    "faults.reuse": "reusing\nfaults",
    "used_bytes": "memory\nused",
    "stranded_bytes": "stranded",
}


def cases(values):
    """The parameters of each block of runs; ``all`` becomes six."""
    if values["size"] != values["page_size"]:
        check_folio(values, "size", also=f", and {size_text(values['page_size'])}")
    orders = ORDERS if values["exit_order"] == "all" else (values["exit_order"],)
    return [{**values, "exit_order": order} for order in orders]


def run(parameters, policy, seed):
    """One policy in one case."""
    size, (first, second, last) = parameters["size"], parameters["exit_order"]
    scene = Scene(parameters, policy, folio=size)
    parent = scene.spawn()
    addr = scene.filled(parent, size)
    processes = {"A": parent, "B": parent.fork(), "C": parent.fork()}
    scene.begin()
    for name in (first, second):
        processes[name].exit()
    scene.fill(processes[last], addr, size, value=2)
    return scene.outcome()


def _copies(run):
    return run.metrics["cow_bytes"] > 0


def conclude(runs):
    """Two or three sentences from the numbers."""
    size = size_text(runs[0].parameters["size"])
    out = []
    first = [run for run in runs if run.label == runs[0].label]
    copy = [run.parameters["exit_order"] for run in first if _copies(run)]
    keep = [run.parameters["exit_order"] for run in first if not _copies(run)]
    parts = [f"{what} in the {agree(names, 'order', 'orders')} {listed(names)}"
             for what, names in (("keeps it", keep), ("copies", copy)) if names]
    out.append(f"The last process to have a folio of {size} is its only owner: under {runs[0].label} it "
               f"{' and '.join(parts)}.")
    names = dict.fromkeys(run.label for run in runs)
    never = [name for name in names if not any(_copies(run) for run in runs if run.label == name)]
    always = [name for name in names if all(_copies(run) for run in runs if run.label == name)]
    rest = [name for name in names if name not in never and name not in always]
    parts = [f"{listed(group)} {agree(group, one, many)}" for group, one, many in (
        (never, "never copies", "never copy"), (rest, "copies in some orders", "copy in some orders"),
        (always, "always copies", "always copy")) if group]
    out.append(f"{'; '.join(parts)}.")
    worst = max(run.metrics["cow_bytes.needless"] for run in runs)
    if worst:
        out.append(f"All that is copied is needless: up to {size_text(worst)}, by "
                   f"{labels(run for run in runs if run.metrics['cow_bytes.needless'] == worst)}.")
    return " ".join(out)


def picture(runs, path):
    """A field for each policy and order: kept or copied.  See `plot.picture`."""
    groups = [(name, group) for name, group in plot.groups_of(runs, "exit_order")]
    rows = list(dict.fromkeys(run.label for run in runs))
    columns = list(dict.fromkeys(run.parameters["exit_order"] for run in runs))
    width = max(9, 2.6 + len(groups) * (0.6 + 1.15 * max(len(columns), 3)))
    figure = plot.figure_of(width, 1.7 + 0.45 * len(rows),
                            "Two of three processes exit, the last one writes: does it keep the folio or copy?")
    for ax, (name, group) in zip(figure.subplots(1, len(groups), squeeze=False, sharey=True)[0], groups):
        for run in group:
            _field(ax, rows.index(run.label), columns.index(run.parameters["exit_order"]), run)
        ax.set_xticks(range(len(columns)), [f"{one[0]}, {one[1]} exit\n{one[2]} writes" for one in columns], fontsize=8)
        ax.xaxis.tick_top()
        ax.set_xlim(-0.5, len(columns) - 0.5)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if name:
            ax.set_xlabel(name, fontsize=9)
        ax.set_yticks(range(len(rows)), rows, fontfamily="monospace", fontsize=8)
    plot.save(figure, path)


def _field(ax, row, column, run):
    from matplotlib.patches import Rectangle

    copied = run.metrics["cow_bytes"]
    ax.add_patch(Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, color=plot.BAD if copied else plot.PALE))
    text = f"copies {size_text(copied)}" if copied else "keeps it"
    ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if copied else "black")


STUDY = Study(
    name="three-processes",
    question="Of three processes that share a folio since fork two exit: does the last one keep it, or copy it when it"
             " writes?",
    keys=KEYS,
    points={"cow_reuse": POINTS["cow_reuse"].names, "mapcount_model": POINTS["mapcount_model"].names},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=picture,
)
