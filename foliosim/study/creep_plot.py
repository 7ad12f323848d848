"""The picture of creep: the largest folio after each look, a line per rule, a panel per max_ptes_none."""
from foliosim.study import plot
from foliosim.study.base import size_text


def picture(runs, path):
    """Write the picture; see `plot.grid`."""
    touched = runs[0].parameters["touched"]
    looks = max(len(run.detail) for run in runs)
    largest = max(9, *(order for run in runs for order in run.detail))

    def draw(ax, group):
        _panel(ax, group, looks, largest)

    plot.grid(runs, path, draw, columns=4, panel=(3.2, 2.6), margin=(1.2, 1.2), drawn=lambda run: run.detail,
              title=f"{touched} {'page is' if touched == 1 else 'pages are'} in use: how large is the folio after each"
                    " look of khugepaged?")


def _panel(ax, group, looks, largest):
    page = group[0].parameters["page_size"]
    for i, run in enumerate(group):
        # Lines that lie on each other stay visible: the later ones are thinner.
        ax.step(range(len(run.detail)), run.detail, where="post", marker="o", markersize=3, label=run.label,
                color=plot.COLOURS[i % len(plot.COLOURS)], linewidth=1.2 + 0.9 * (len(group) - 1 - i), alpha=0.85)
    ticks = range(0, largest + 1, 3)
    ax.set_yticks(ticks, [size_text(page << order) for order in ticks], fontsize=8)
    ax.set_xlim(-0.4, looks - 0.6)
    ax.set_ylim(-0.4, largest + 0.6)
    ax.set_xlabel("looks", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
