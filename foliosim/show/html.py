"""Scenes as one HTML page that needs nothing else."""
import json
from importlib.resources import files

from foliosim.show.scene import NAMES
from foliosim.show.style import COLOURS, NOTHING, ORDERS


def page(scenes):
    """The page, a string.

    Parameters
    ----------
    scenes : list of dict
        From `foliosim.show.scene.scene`; the page steps through them.

    Returns
    -------
    str
    """
    data = {"scenes": scenes, "orders": ORDERS, "colours": COLOURS, "nothing": NOTHING, "names": NAMES}
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (files("foliosim.show") / "page.html").read_text().replace("@DATA@", text)
