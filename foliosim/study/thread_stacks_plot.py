"""The picture of thread-stacks: what is in use and what else is resident, a panel for each case, all on one scale."""
from foliosim.study import plot
from foliosim.study.base import size_text

_COLUMNS = 3  # of panels


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
    groups = plot.groups_of(runs)
    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    policies = max(len(group) for _, group in groups)
    figure = plot.figure_of(3.0 + 3.3 * columns, 1.2 + (0.7 + 0.34 * policies) * rows,
                            "Thread stacks: what is resident, and how much of it is in use?")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    most = max(run.metrics["rss_bytes"] for run in runs) or 1
    for i, (ax, (name, group)) in enumerate(zip(axes.flat, groups)):
        _panel(ax, name, group, most)
        if i % columns == 0:
            ax.set_yticks(range(len(group)), [run.label for run in group], fontfamily="monospace", fontsize=8)
            ax.tick_params(axis="y", length=0)
    for ax in axes.flat[len(groups):]:
        ax.set_visible(False)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    plot.save(figure, path)


def _panel(ax, name, group, most):
    for row, run in enumerate(group):
        used, resident = min(run.metrics["in_use_bytes"], run.metrics["rss_bytes"]), run.metrics["rss_bytes"]
        ax.barh(row, used, height=0.62, color=plot.GOOD, label="" if row else "in use")
        ax.barh(row, resident - used, left=used, height=0.62, color=plot.BAD, label="" if row else "not in use")
        ax.text(resident + 0.02 * most, row, _note(run), va="center", fontsize=8)
    ax.set_title(name, fontsize=10, loc="left")
    ax.set_xlim(0, 1.75 * most)
    ax.set_ylim(len(group) - 0.4, -0.6)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.axvline(0, color=plot.LINE, linewidth=0.8)


def _note(run):
    folios = run.metrics["folios.huge"]
    return size_text(run.metrics["rss_bytes"]) + (f", {folios:,} huge" if folios else "")
