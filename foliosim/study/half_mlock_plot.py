"""The picture of half-mlock: one bar of pages per policy, coloured by what reclaim may do to each page."""
import itertools

import numpy as np

from foliosim.study.base import size_text

# In the order of the states in half_mlock.
_STATES = (
    ("#2166ac", "locked, unevictable (right)"),
    ("#f4a582", "locked, but evictable (undershoot)"),
    ("#b2182b", "not locked, but unevictable (overshoot)"),
    ("#d1e5f0", "not locked, evictable (right)"),
    ("#f7f7f7", "swapped out"),
)
_BAR, _STRIP = 0.50, 0.20  # heights; the strip below the bar shows the folios
_WIDTH = 1.34  # of a panel, in bars; the rest holds notes
_MAX_FOLIOS = 64  # more are not drawn one by one


def picture(runs, path):
    """Write the picture.

    Parameters
    ----------
    runs : list of Run
    path : pathlib.Path

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = [list(group) for _, group in itertools.groupby(runs, key=lambda run: run.parameters["split_fails"])]
    rows = len(groups[0])
    figure = Figure(figsize=(3.2 + 6.4 * len(groups), 2.1 + 0.52 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for ax, group in zip(axes, groups):
        _panel(ax, group)
    axes[0].set_yticks(range(rows), [run.label for run in groups[0]], fontfamily="monospace", fontsize=9)
    _head(figure, groups[0][0].parameters)
    figure.savefig(path, metadata={"Software": None})


def _head(figure, values):
    from matplotlib.patches import Patch

    figure.suptitle(f"{size_text(values['locked'])} of {size_text(values['size'])} mlocked: which pages does "
                    "reclaim leave alone?", fontsize=13)
    handles = [Patch(facecolor=colour, edgecolor="#777777", linewidth=0.5, label=text) for colour, text in _STATES
               if text != "swapped out" or values["limit"] != "none"]
    handles.append(Patch(facecolor="white", edgecolor="black", label="a large folio"))
    handles.append(Patch(facecolor="white", edgecolor="#777777", hatch="|||||", linewidth=0, label="4 KiB folios"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)


def _note(values):
    queued = ", queued" if values["deferred.partial"] else ""
    if values["swap_bytes"] or values["oom"]:
        return f"swapped {size_text(values['swap_bytes'])}{', out of memory' if values['oom'] else ''}{queued}"
    return f"PAGEOUT takes {size_text(values['pageout_bytes'])}{queued}"


def _panel(ax, runs):
    page = runs[0].parameters["page_size"]
    nr_pages = runs[0].parameters["size"] // page
    for row, run in enumerate(runs):
        spans = np.array(run.detail)
        states, heads = np.repeat(spans[:, 0], spans[:, 2]), np.repeat(spans[:, 1], spans[:, 2])
        _bar(ax, row, states)
        _folios(ax, row, heads, page)
        ax.text(nr_pages * 1.015, row - _STRIP / 2, _note(run.metrics), va="center", fontsize=8)
    locked = runs[0].parameters["locked"] // page
    if 0 < locked < nr_pages:
        ax.axvline(locked, color="black", linewidth=1, linestyle=(0, (4, 3)))
    for start, end, text in ((0, locked, "mlocked"), (locked, nr_pages, "not mlocked")):
        if end - start > nr_pages // 8:
            ax.text((start + end) / 2, -0.52, text, ha="center", va="bottom", fontsize=9)
    fails = runs[0].parameters["split_fails"] == "yes"
    ax.set_title("splits fail: an extra reference is held" if fails else "splits can succeed", fontsize=11, pad=16,
                 x=0.5 / _WIDTH)
    ax.set_xlim(0, nr_pages * _WIDTH)
    ax.set_ylim(len(runs) - 0.4, -0.55)
    ax.set_xticks([nr_pages * i // 4 for i in range(5)])
    ax.set_xlabel("page of the mapping", fontsize=9, loc="left")
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)


def _spans(values):
    # (start, end) of runs of equal values.
    edges = np.flatnonzero(np.diff(values)) + 1
    return zip([0, *edges.tolist()], [*edges.tolist(), len(values)])


def _bar(ax, row, states):
    for start, end in _spans(states):
        ax.barh(row - _STRIP / 2, end - start, left=start, height=_BAR, color=_STATES[states[start]][0], linewidth=0)


def _folios(ax, row, heads, page):
    top = row + _BAR / 2 - _STRIP / 2 + 0.03
    spans = list(_spans(heads))
    large = [(start, end) for start, end in spans if end - start > 1 and heads[start]]
    small = heads != 0  # 0: swapped out
    for start, end in large:
        small[start:end] = False
    for start, end in large[:_MAX_FOLIOS]:
        ax.barh(top + _STRIP / 2, end - start, left=start, height=_STRIP, facecolor="white", edgecolor="black",
                linewidth=0.8)
        if (end - start) * 8 >= len(heads):
            ax.text((start + end) / 2, top + _STRIP / 2, size_text((end - start) * page), fontsize=6.5, ha="center",
                    va="center", bbox={"facecolor": "white", "linewidth": 0, "pad": 0.4})
    for start, end in _spans(small):
        if small[start]:
            ax.barh(top + _STRIP / 2, end - start, left=start, height=_STRIP, facecolor="white", edgecolor="#777777",
                    hatch="|||||", linewidth=0)
