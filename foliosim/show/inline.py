"""HTML for notebooks: a strip for each area, a few words beside it."""
from html import escape

from foliosim.show.scene import MLOCKED, NAMES, PARTIAL, PINNED, PMD, SHARED, orders_of, pages_with
from foliosim.show.style import NOTHING, colour

_WIDTH = 420
_MOST_AREAS = 40
_CELL = "padding:1px 8px;text-align:left;font:11px monospace"


def scene_html(scene):
    """A machine: its processes and their areas."""
    parts = []
    for process in scene["processes"]:
        areas = [area for area in process["areas"] if area["runs"]]
        parts.append(f"<b>process {process['pid']}</b>: {len(process['areas'])} areas, "
                     f"{sum(area['rss'] for area in areas):,} kB resident")
        rows = "".join(_row(area) for area in sorted(areas, key=lambda area: -area["anon"])[:_MOST_AREAS])
        parts.append(f"<table>{rows}</table>" + (f"and {len(areas) - _MOST_AREAS} more" if len(areas) > _MOST_AREAS
                                                 else ""))
    return "<div>" + ("".join(parts) or "no process") + "</div>"


def area_html(area):
    """One area."""
    return f"<div><table>{_row(area)}</table><code>{escape(area['flags'])}</code></div>"


def folio_html(folio):
    """A folio: its fields."""
    fields = {"pages": f"{folio.nr_pages} (order {folio.order})", "references": folio.refcount,
              "mappings": f"{folio.mapcount}, of these {folio.entire_mapcount} by PMDs", "pins": folio.pincount,
              "owners": ", ".join(f"mm {mm}: {count}" for mm, count in zip(folio.mm_ids, folio.mm_mapcounts) if mm),
              "state": ", ".join(name for name in ("maybe_shared", "partially_mapped", "deferred", "anon_exclusive")
                                 if getattr(folio, name)), "flags": " ".join(folio.flag_names)}
    rows = "".join(f"<tr><td style='{_CELL}'>{name}</td><td style='{_CELL}'>{escape(str(value))}</td></tr>"
                   for name, value in fields.items() if value != "")
    return f"<table><tr><th colspan=2 style='{_CELL}'>folio {folio.pfn:#x}</th></tr>{rows}</table>"


def _row(area):
    kb = area["page_size"] >> 10
    words = [f"{pages * kb:,} kB in order {order}" for order, pages in orders_of(area).items()]
    words += [f"{pages_with(area, bit) * kb:,} kB {NAMES[bit]}" for bit in (PMD, SHARED, MLOCKED, PINNED, PARTIAL)
              if pages_with(area, bit)]
    place = f"{area['start']}-{area['end']} {area['perms']} {escape(area['name'])}"
    return "".join(f"<td style='{_CELL}'>{cell}</td>" for cell in (place, _strip(area), ", ".join(words))).join(
        ("<tr>", "</tr>"))


def _strip(area):
    """The area from left to right as SVG; runs too narrow to be seen are drawn one unit wide."""
    scale = _WIDTH / max(1, area["pages"])
    shapes = [f"<rect width='{_WIDTH}' height='14' fill='{NOTHING}' stroke='#bbb'/>"]
    for page, n, order, bits, *_ in area["runs"]:
        x, width = page * scale, max(0.5, n * scale)
        edge = "stroke='#000'" if bits & PMD else "stroke='#fff' stroke-width='.3'" if order else ""
        shapes.append(f"<rect x='{x:.1f}' y='1' width='{width:.1f}' height='12' fill='{colour(order, bits)}' {edge}/>")
        if bits & SHARED:
            shapes.append(f"<rect x='{x:.1f}' y='1' width='{width:.1f}' height='3' fill='#fff' opacity='.6'/>")
        if bits & MLOCKED:
            shapes.append(f"<rect x='{x:.1f}' y='10' width='{width:.1f}' height='3' fill='#137547'/>")
        if bits & PINNED:
            shapes.append(f"<circle cx='{x + width / 2:.1f}' cy='4' r='2.5' fill='#d00000'/>")
    return f"<svg width='{_WIDTH}' height='14'>{''.join(shapes)}</svg>"
