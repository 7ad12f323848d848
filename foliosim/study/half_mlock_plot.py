"""The picture of half-mlock: one bar of pages per policy, coloured by what reclaim may do to each page."""
import numpy as np

from foliosim.study import plot
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
    """Write the picture; see `plot.grid`."""
    policies = len({run.label for run in runs})
    sizes = {tuple(size_text(run.parameters[name]) for name in ("locked", "size")) for run in runs}
    what = "{} of {}".format(*sizes.pop()) if len(sizes) == 1 else "Part of a folio"
    plot.grid(runs, path, _panel, columns=2, panel=(6.4, 0.52 * policies + 0.6), margin=(3.2, 1.7), named=True,
              title=f"{what} mlocked: which pages does reclaim leave alone?", handles=_explained(runs))


def _explained(runs):
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor=plot.LINE, linewidth=0.5, label=text) for colour, text in _STATES
               if text != "swapped out" or any(run.parameters["limit"] != "none" for run in runs)]
    return [*handles, Patch(facecolor="white", edgecolor="black", label="a large folio"),
            Patch(facecolor="white", edgecolor=plot.LINE, hatch="|||||", linewidth=0, label="folios of one page")]


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
            ax.text((start + end) / 2, -0.42, text, ha="center", va="bottom", fontsize=9)
    ax.set_xlim(0, nr_pages * _WIDTH)
    ax.set_ylim(len(runs) - 0.4, -0.85)  # above the first bar: what is mlocked
    ax.set_yticks([])
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
            ax.barh(top + _STRIP / 2, end - start, left=start, height=_STRIP, facecolor="white", edgecolor=plot.LINE,
                    hatch="|||||", linewidth=0)
