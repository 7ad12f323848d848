from foliosim.policy.choose import (
    choices as choices,
    installed as installed,
    preset as preset,
    slot as slot,
)
from foliosim.policy.points import (
    POINTS as POINTS,
    PRESETS as PRESETS,
    RELEASES as RELEASES,
    Alternative as Alternative,
    Point as Point,
)

__all__ = ["POINTS", "PRESETS", "RELEASES", "Alternative", "Point", "choices", "installed", "preset", "slot"]
