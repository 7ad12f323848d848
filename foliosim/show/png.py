"""A scene as a PNG: addresses from top to bottom, what a PMD maps in a row, what is mapped there in colour."""
from foliosim.show.scene import FILE, MLOCKED, PARTIAL, PINNED, PMD, SHARED, SWAPPED, ZERO
from foliosim.show.style import COLOURS, NOTHING, ORDERS, colour
from foliosim.whole import write_picture

MOST_ROWS = 60   # of a process: those with most anonymous memory; how many there are more is said
LABEL_PAGES = 70  # an area this wide has a label


def draw(scene, path):
    """Write a picture.

    Parameters
    ----------
    scene : dict
        From `foliosim.show.scene.scene`.
    path : path

    Raises
    ------
    ModuleNotFoundError
        No matplotlib; it comes with the extra ``plot``.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a PNG needs matplotlib: pip install 'foliosim[plot]'") from error

    row = scene["row"]
    plans = [_plan(process, row) for process in scene["processes"]] or [([], 0, 0)]
    heights = [max(4, height) for _, height, _ in plans]
    figure = Figure(figsize=(11, 1.5 + 0.19 * sum(heights) + 0.5 * len(plans)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(plans), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, plan, process in zip(panels, plans, scene["processes"] or [{"pid": "-"}]):
        _draw_process(panel, plan, process, row)
    figure.suptitle(scene["title"] or "address space", fontsize=11)
    figure.legend(handles=_legend(scene), loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    write_picture(path, figure, dpi=130)


def _plan(process, row):
    """Rows of a process: (y, block, areas in it, labels), its height, and how many rows are left out."""
    blocks = {}
    for area in process["areas"]:
        for block in _blocks(area, row):
            blocks.setdefault(block, []).append(area)
    chosen = set(sorted(blocks, key=lambda block: -max(area["anon"] for area in blocks[block]))[:MOST_ROWS])
    rows, y = [], 0
    labelled = set()
    for block in sorted(chosen):
        labels = [area for area in blocks[block]
                  if id(area) not in labelled and _width(area, block, row) >= LABEL_PAGES]
        labelled.update(map(id, labels))
        y += 0.75 if labels else 0
        rows.append((y, block, blocks[block], labels))
        y += 1
    return rows, y, len(blocks) - len(chosen)


def _blocks(area, row):
    """The rows of addresses in which something is mapped."""
    base = int(area["start"], 16) // area["page_size"]
    blocks = set()
    for page, n, *_ in area["runs"]:
        blocks.update(range((base + page) // row, (base + page + n - 1) // row + 1))
    return blocks


def _place(area, block, row):
    """Where an area lies in the row of a block: columns."""
    start = int(area["start"], 16) // area["page_size"] - block * row
    return max(0, start), min(row, start + area["pages"])


def _width(area, block, row):
    low, high = _place(area, block, row)
    return high - low


def _draw_process(panel, plan, process, row):
    from matplotlib.patches import Rectangle

    rows, height, left_out = plan
    panel.set_xlim(0, row)
    panel.set_ylim(max(4, height), -1)
    panel.axis("off")
    panel.set_title(f"process {process['pid']}" + (f" ({left_out} more rows are left out)" if left_out else "")
                    + ("" if rows else ": nothing is mapped"), loc="left", fontsize=9)
    for y, block, areas, labels in rows:
        panel.text(-4, y + 0.45, f"{block * row * areas[0]['page_size']:x}", ha="right", va="center", fontsize=5.5,
                   family="monospace")
        for area in areas:
            low, high = _place(area, block, row)
            panel.add_patch(Rectangle((low, y), high - low, 0.8, facecolor=NOTHING, edgecolor="#bbbbb5", linewidth=0.4))
            if area in labels:
                panel.text(low, y - 0.1, _label(area, high - low), fontsize=5.5, va="bottom", color="#333333")
            for run in area["runs"]:
                _draw_run(panel, y, int(area["start"], 16) // area["page_size"] + run[0] - block * row, run, row)


def _label(area, width):
    flags = set(area["flags"].split())
    notes = [word for code, word in (("lo", "locked"), ("hg", "hugepage"), ("nh", "nohugepage"), ("gd", "stack"))
             if code in flags]
    name = area["name"].rpartition("/")[2]
    text = f"{area['start']}-{area['end']} {area['perms']} {name} {area['rss']:,} kB {' '.join(notes)}"
    return text.replace("  ", " ") if width >= 2 * LABEL_PAGES else f"{area['perms']} {name}"


def _draw_run(panel, y, x, run, row):
    from matplotlib.patches import Rectangle

    _, n, order, bits, _, _, _ = run
    if x + n <= 0 or x >= row:
        return
    low, high = max(0, x), min(row, x + n)
    edge = 0.25 if order and n > 3 else 0
    panel.add_patch(Rectangle((low, y), high - low, 0.8, facecolor=colour(order, bits), linewidth=edge,
                              edgecolor="#ffffff" if edge else "none", hatch="////" if bits & SHARED else None))
    if bits & PMD:  # it maps the whole row
        panel.add_patch(Rectangle((0, y), row, 0.8, fill=False, edgecolor="#000000", linewidth=1.1))
    if bits & MLOCKED:
        panel.add_patch(Rectangle((low, y + 0.66), high - low, 0.14, facecolor="#137547", linewidth=0))
    if bits & PINNED:
        panel.plot([(low + high) / 2], [y + 0.3], marker="v", markersize=4, color="#d00000", markeredgecolor="#ffffff",
                   markeredgewidth=0.4)
    if bits & PARTIAL:
        panel.add_patch(Rectangle((low, y), high - low, 0.1, facecolor="#ff2e88", linewidth=0))


def _legend(scene):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    runs = [run for process in scene["processes"] for area in process["areas"] for run in area["runs"]]
    orders = sorted({order for _, _, order, bits, *_ in runs if not bits & (ZERO | FILE | SWAPPED)})
    kb = scene["page_size"] >> 10
    out = [Patch(facecolor=ORDERS[min(order, 9)], label=f"order {order} ({kb << order} kB)") for order in orders]
    seen = 0
    for run in runs:
        seen |= run[3]
    marks = ((ZERO, Patch(facecolor=COLOURS[ZERO], label="zero page")),
             (FILE, Patch(facecolor=COLOURS[FILE], label="file, shared memory")),
             (SWAPPED, Patch(facecolor=COLOURS[SWAPPED], label="swapped out")),
             (PMD, Patch(fill=False, edgecolor="#000000", label="mapped by a PMD")),
             (SHARED, Patch(facecolor="#ffffff", hatch="////", edgecolor="#666666", label="shared")),
             (MLOCKED, Patch(facecolor="#137547", label="mlocked")),
             (PARTIAL, Patch(facecolor="#ff2e88", label="partly unmapped")),
             (PINNED, Line2D([], [], marker="v", color="#d00000", linestyle="none", label="pinned")))
    return out + [mark for bit, mark in marks if seen & bit]
