"""The picture of thread-stacks: what is in use and what else is resident, a panel for each case, all on one scale."""
from foliosim.study import plot
from foliosim.study.base import size_text


def picture(runs, path):
    """Write the picture; see `plot.grid`."""
    policies = len({run.label for run in runs})
    most = max(run.metrics["rss_bytes"] for run in runs) or 1

    def draw(ax, group):
        _panel(ax, group, most)

    plot.grid(runs, path, draw, columns=3, panel=(3.3, 0.7 + 0.34 * policies), margin=(3.0, 1.2), named=True,
              title="Thread stacks: what is resident, and how much of it is in use?")


def _panel(ax, group, most):
    for row, run in enumerate(group):
        used, resident = min(run.metrics["in_use_bytes"], run.metrics["rss_bytes"]), run.metrics["rss_bytes"]
        ax.barh(row, used, height=0.62, color=plot.GOOD, label="_" * row + "in use")
        ax.barh(row, resident - used, left=used, height=0.62, color=plot.BAD, label="_" * row + "not in use")
        ax.text(resident + 0.02 * most, row, _note(run), va="center", fontsize=8)
    plot.bare(ax, 1.75 * most, len(group))


def _note(run):
    folios = run.metrics["folios.huge"]
    return size_text(run.metrics["rss_bytes"]) + (f", {folios:,} huge" if folios else "")
