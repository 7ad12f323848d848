"""Policy points: which decisions can be replaced, by what, and what each preset chooses."""
from foliosim.policy.points import POINTS, PRESETS, Alternative, Point, preset

__all__ = ["POINTS", "PRESETS", "Alternative", "Point", "preset"]
