"""Colours: one for each folio order, dark for large; what is not an anonymous folio is grey or blue."""
from foliosim.show.scene import FILE, GUARD, SWAPPED, ZERO

ORDERS = ("#f2c14e", "#f0a04b", "#ea7f4c", "#dd6157", "#c94a68", "#ad3d79", "#8c3785", "#6a3489", "#493083", "#2c2a73")
COLOURS = {ZERO: "#d9d9d9", FILE: "#9ec9e2", SWAPPED: "#e3d3ee", GUARD: "#1b1b1b"}
NOTHING = "#f4f4f1"


def colour(order, bits):
    """Of a run."""
    for bit, value in COLOURS.items():
        if bits & bit:
            return value
    return ORDERS[min(order, len(ORDERS) - 1)]
