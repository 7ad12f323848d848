"""Sphinx: ``pip install '.[docs]' && sphinx-build -W docs docs/_build``."""
import sys
from pathlib import Path

import foliosim

sys.path.insert(0, str(Path(__file__).parent))

project = "foliosim"
author = "foliosim developers"
copyright = "2026, foliosim developers"
version = release = foliosim.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "_generated"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 3
autosummary_generate = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
html_theme = "alabaster"
html_theme_options = {
    "description": "Linux memory management that you can hold in your hand",
    "page_width": "1120px",
    "sidebar_width": "230px",
    "fixed_sidebar": True,
}


def setup(app):
    import pictures

    app.connect("builder-inited", lambda app: pictures.make())
