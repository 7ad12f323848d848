"""The picture of split costs: a panel of times and a panel of operations, a group of bars per target."""
from foliosim.bench.split import COUNTS
from foliosim.whole import write_picture

_COLOURS = ("#2166ac", "#67a9cf", "#1b7837", "#d6604d", "#762a83", "#f4a582")
_SHOWN = ("PTEs", "records", "rmap")


def picture(costs, path):
    """Write the picture; the format is that of the file's suffix.

    Parameters
    ----------
    costs : list of Cost
    path : pathlib.Path

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    targets = list(dict.fromkeys(cost.target for cost in costs))
    situations = list(dict.fromkeys((cost.situation, cost.processes) for cost in costs))
    figure = Figure(figsize=(3 + 1.0 * len(targets), 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    _times(above, costs, targets, situations)
    _operations(below, costs, targets)
    below.set_xticks(range(len(targets)), [_name(target) for target in targets])
    figure.suptitle("Splitting a huge folio", fontsize=13)
    write_picture(path, figure)


def _name(target):
    return "PMD only" if target == "PMD" else f"order {target}"


def _times(ax, costs, targets, situations):
    width = 0.85 / len(situations)
    for i, (situation, processes) in enumerate(situations):
        rows = [cost for cost in costs if cost.situation == situation]
        at = [targets.index(cost.target) - 0.425 + width * (i + 0.5) for cost in rows]
        label = f"{situation} by {processes}" if processes > 1 else situation
        bars = ax.bar(at, [cost.ns / 1000 for cost in rows], width, label=label, color=_COLOURS[i % len(_COLOURS)])
        for bar, cost in zip(bars, rows, strict=True):
            if cost.result != "ok":
                ax.annotate(cost.result, (bar.get_x() + width / 2, bar.get_height()), rotation=90, fontsize=7,
                            ha="center", va="bottom", textcoords="offset points", xytext=(0, 2))
    ax.set_ylabel("CPU time here, µs")
    ax.margins(y=0.15)
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="upper left")


def _operations(ax, costs, targets):
    first = costs[0].situation
    rows = [cost for cost in costs if cost.situation == first]
    width = 0.85 / len(_SHOWN)
    for i, heading in enumerate(_SHOWN):
        at = [targets.index(cost.target) - 0.425 + width * (i + 0.5) for cost in rows]
        ax.bar(at, [cost.counts[heading] for cost in rows], width, label=heading, color=_COLOURS[i])
    ax.set_ylabel(f"operations ({first})")
    ax.margins(y=0.2)
    ax.legend(fontsize=8, frameon=False, ncols=len(COUNTS), loc="upper left")
