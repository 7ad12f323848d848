"""The picture of creep: the largest folio after each look, a line per rule, a panel per max_ptes_none."""
from foliosim.study import plot
from foliosim.study.base import size_text

_COLUMNS = 4  # of panels


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
    first = runs[0].parameters
    pages = "page is" if first["touched"] == 1 else "pages are"
    figure = plot.figure_of(1.5 + 2.9 * columns, 1.5 + 2.3 * rows,
                            f"{first['touched']} {pages} in use: how large is the folio after each look of khugepaged?")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (name, group) in zip(axes.flat, groups):
        _panel(ax, name, group)
    for ax in axes.flat[len(groups):]:
        ax.set_visible(False)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), fontsize=8, frameon=False)
    plot.save(figure, path)


def _panel(ax, name, group):
    page = group[0].parameters["page_size"]
    most = max(order for run in group for order in run.detail)
    for i, run in enumerate(group):
        # Lines that lie on each other stay visible: the later ones are thinner.
        ax.step(range(len(run.detail)), run.detail, where="post", marker="o", markersize=3, label=run.label,
                color=plot.COLOURS[i % len(plot.COLOURS)], linewidth=1.2 + 0.9 * (len(group) - 1 - i), alpha=0.85)
    ax.set_title(name, fontsize=9, loc="left")
    ticks = range(0, max(most, 9) + 1, 3)
    ax.set_yticks(ticks, [size_text(page << order) for order in ticks], fontsize=8)
    ax.set_ylim(-0.4, max(most, 9) + 0.6)
    ax.set_xlabel("looks", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
