"""Pictures of runs: each number over the trace's time, a line for each run."""
from foliosim.ledger import is_bytes
from foliosim.replay.series import column
from foliosim.study.plot import COLOURS, figure_of, save, size_axis

PANELS = {
    "rss_bytes": "resident memory of all processes (Rss)", "used_bytes": "memory in use, page cache and tables too",
    "bloat_bytes": "bloat: zeros in huge pages that nobody wrote", "pt_bytes": "page tables",
    "faults": "page faults so far", "cow_bytes": "bytes copied on write so far",
    "tlb_entries": "TLB entries for what is mapped", "splits": "splits so far: of folios, and of PMDs (dashed)",
}
_MARKED = {"checkpoint", "exit"}


def picture(runs, path, title):
    """Write a PNG.

    Parameters
    ----------
    runs : dict of str to list of list
        What each run is called, and its rows of `series.COLUMNS`.
    path : pathlib.Path
    title : str

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    figure = figure_of(17, 7.4 + 0.18 * len(runs), title)
    axes = figure.subplots(2, 4).ravel()
    for ax, (name, what) in zip(axes, PANELS.items()):
        for number, (label, rows) in enumerate(runs.items()):
            _line(ax, rows, name, COLOURS[number % len(COLOURS)], label,
                  1.3 + 3.2 * (len(runs) - 1 - number) / len(runs))
        ax.set_title(what, fontsize=9.5, loc="left")
        ax.set_ylim(bottom=0)
        size_axis(ax.yaxis, is_bytes(name))
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("seconds of the trace", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if len(runs) < 5 else 2, fontsize=9,
                  frameon=False)
    save(figure, path)


def _line(ax, rows, name, colour, label, width):
    seconds, values = [ns / 1e9 for ns in column(rows, "time_ns")], column(rows, name)
    style = {"color": colour, "drawstyle": "steps-post", "alpha": 0.85}
    ax.plot(seconds, values, label=label, linewidth=width, **style)
    if name == "splits":
        ax.plot(seconds, column(rows, "pmd_splits"), linestyle="--", linewidth=width, **style)
    if name == "rss_bytes":
        marked = [at for at, why in enumerate(column(rows, "why")) if why in _MARKED]
        ax.plot([seconds[at] for at in marked], [values[at] for at in marked], "o", markersize=3.5, color=colour)
