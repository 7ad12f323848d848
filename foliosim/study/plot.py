"""Pictures in one style: a panel for each number, policies as bars, or as lines over a parameter that varies."""
import itertools
from dataclasses import dataclass

from foliosim.ledger import is_bytes
from foliosim.study.base import size_text
from foliosim.study.report import shown, value_text
from foliosim.whole import write_picture

# Colour-blind safe (Okabe and Ito), the first for what is first in a list.
COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b", "#7f7f00")
GOOD, BAD, PALE, LINE = "#2166ac", "#b2182b", "#d1e5f0", "#777777"
STACK = (GOOD, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b")  # of stacked bars
_MARKS = "osD^vP*X<>"


@dataclass(frozen=True)
class Panel:
    """One number of a picture.

    Attributes
    ----------
    title : str
    metrics : str or dict of str to str
        A metric; or several, that are stacked, and what each is called.
    colours : tuple of str
        One for each metric.
    """

    title: str
    metrics: object
    colours: tuple = STACK

    def value(self, run):
        """The number of a run: of stacked ones the sum."""
        return sum(run.metrics[name] for name in self.stack)

    @property
    def stack(self):
        """Its metrics, each with what it is called."""
        return self.metrics if isinstance(self.metrics, dict) else {self.metrics: ""}

    def text(self, value):
        """A value as it is written beside its bar."""
        return value_text(next(iter(self.stack)), value)


def figure_of(width, height, title):
    """An empty figure, inches.

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    return figure


def save(figure, path):
    """Write it as PNG; the same bytes for the same picture."""
    write_picture(path, figure)


def picture(runs, path, *, title, panels, over=None):
    """A picture of some numbers of all runs.

    Parameters
    ----------
    runs : list of Run
    path : pathlib.Path
    title : str
        What is asked.
    panels : list of Panel
    over : str, optional
        A parameter that is a number: where the runs have several values of it, lines are drawn over it.

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    if over is not None and len({run.parameters[over] for run in runs}) < 2:
        over = None
    groups = groups_of(runs, over)
    rows = max(len({run.label for run in group}) for _, group in groups)
    height = 3.1 if over is not None else 1.0 + 0.34 * rows
    figure = figure_of(3.2 + 3.1 * len(panels), 1.2 + height * len(groups), title)
    axes = figure.subplots(len(groups), len(panels), squeeze=False)
    for row, (name, group) in zip(axes, groups):
        for ax, panel in zip(row, panels):
            (_bars if over is None else _lines)(ax, group, panel, over)
        if over is None:
            _name_rows(row, group)
        if len(groups) > 1:
            row[0].set_title(f"{name}\n{panels[0].title}", fontsize=9, loc="left")
    _legend(figure, axes, panels, over)
    save(figure, path)


def grid(runs, path, draw, *, title, columns, panel, margin, named=False, legend=3, handles=None, drawn=None):
    """A picture of like panels, one for each group of runs that differ in nothing but their policy.

    Parameters
    ----------
    runs : list of Run
    path : pathlib.Path
    draw : callable
        ``draw(ax, group)`` draws the runs of a group.
    title : str
        What is asked.
    columns : int
        Panels beside each other, at most.
    panel, margin : tuple of float
        Width and height of a panel, and of what is around all of them, inches.
    named : bool
        Runs lie below each other: the leftmost panels bear the names of their policies.
    legend : int
        Columns of the legend.
    handles : list, optional
        What the legend explains; what the first panel has labels for, if left out.
    drawn : callable, optional
        What of a run is drawn: groups that follow each other, and are alike in it, have one panel.

    Raises
    ------
    ModuleNotFoundError
        No matplotlib.
    """
    groups = groups_of(runs) if drawn is None else _merged(groups_of(runs), drawn)
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    figure = figure_of(margin[0] + panel[0] * columns, margin[1] + panel[1] * rows, title)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, (name, group) in zip(axes.flat, groups):
        draw(ax, group)
        ax.set_title(name, fontsize=10, loc="left")
    for ax in axes.flat[len(groups):]:
        ax.set_visible(False)
    if named:
        for first, (_, group) in zip(range(0, len(groups), columns), groups[::columns]):
            _name_rows([axes.flat[first]], group)
    handles = handles or axes[0][0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(legend, len(handles)), fontsize=8,
                  frameon=False)
    save(figure, path)


def _merged(groups, drawn):
    # "limit=0", "limit=1", "limit=2", which look the same: "limit=0 to 2".
    out = []
    for name, group in groups:
        what, _, value = name.rpartition("=")
        looks = [drawn(run) for run in group]
        if out and out[-1][2:] == (what, looks):
            out[-1] = (f"{out[-1][0].partition(' to ')[0]} to {value}", *out[-1][1:])
        else:
            out.append((name, group, what, looks))
    return [(name, group) for name, group, _, _ in out]


def groups_of(runs, over=None):
    """Runs that differ in nothing but their policy and the parameter ``over``: (what is special about them, runs)."""
    varying = {name for name in runs[0].parameters if len({run.parameters[name] for run in runs}) > 1} - {over}
    parts = {}
    for run in runs:
        named = {name: value for name, value in run.parameters.items() if name in varying}
        parts.setdefault(shown(named), []).append(run)
    return list(parts.items())


def _bars(ax, group, panel, _):
    most = max(panel.value(run) for run in group) or 1
    for row, run in enumerate(group):
        left = 0
        for colour, name in zip(panel.colours, panel.stack):
            ax.barh(row, run.metrics[name], left=left, height=0.62, color=colour, linewidth=0)
            left += run.metrics[name]
        ax.text(left + 0.02 * most, row, panel.text(left), va="center", fontsize=8)
    ax.set_title(panel.title, fontsize=10, loc="left")
    bare(ax, 1.35 * most, len(group))


def bare(ax, width, rows):
    """Leave of the axes of ``rows`` bars the line where they begin."""
    ax.set_xlim(0, width)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.axvline(0, color=LINE, linewidth=0.8)


def _name_rows(row, group):
    row[0].set_yticks(range(len(group)), [run.label for run in group], fontfamily="monospace", fontsize=8)
    row[0].tick_params(axis="y", length=0)


def _lines(ax, group, panel, over):
    names = list(dict.fromkeys(run.label for run in group))
    for i, name in enumerate(names):
        points = sorted((run.parameters[over], panel.value(run)) for run in group if run.label == name)
        # Lines that lie on each other stay visible: the later ones are thinner.
        ax.plot(*zip(*points), marker=_MARKS[i % len(_MARKS)], markersize=4 + 0.9 * (len(names) - i), alpha=0.85,
                linewidth=1.2 + 1.1 * (len(names) - 1 - i), color=COLOURS[i % len(COLOURS)], label=name)
    ax.set_title(panel.title, fontsize=10, loc="left")
    ax.set_xlabel(over, fontsize=9)
    ax.set_ylim(bottom=0)
    size_axis(ax.yaxis, is_bytes(next(iter(panel.stack))))
    size_axis(ax.xaxis, group[0].parameters[over] >= 4096)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def shades(number):
    """So many colours from pale to dark, for what has an order."""
    from matplotlib import colormaps

    return tuple(colormaps["viridis_r"](0.05 + 0.9 * i / max(number - 1, 1)) for i in range(number))


def size_axis(axis, in_bytes=True):
    """Sizes beside an axis as people write them, at multiples of a power of two; nothing if it is not in bytes."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    if in_bytes:
        least, most = axis.get_view_interval()
        axis.set_major_locator(MultipleLocator(1 << max(0, int((most - least) / 4).bit_length() - 1)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: size_text(int(value))))


def _legend(figure, axes, panels, over):
    from matplotlib.patches import Patch

    if over is not None:
        handles, names = axes[0][0].get_legend_handles_labels()
    else:
        stacked = [panel for panel in panels if len(panel.stack) > 1]
        pairs = [pair for panel in stacked for pair in zip(panel.colours, panel.stack.values())]
        handles, names = [Patch(color=colour) for colour, _ in pairs], [name for _, name in pairs]
    if handles:
        columns = min(len(names), max(1, 3 * len(panels) // 2))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def spans(values):
    """(start, end, value) of each run of equal values."""
    start = 0
    for value, same in itertools.groupby(values):
        end = start + sum(1 for _ in same)
        yield start, end, value
        start = end
