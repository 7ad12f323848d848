"""Policy points: what can be decided otherwise than Linux does, and by whom."""
from foliosim.policy.choose import choices, installed, preset, slot
from foliosim.policy.points import POINTS, PRESETS, RELEASES, Alternative, Point

__all__ = ["POINTS", "PRESETS", "RELEASES", "Alternative", "Point", "choices", "installed", "preset", "slot"]
