"""The pictures and answers of these pages: every study with its defaults.

Sphinx runs this; `python docs/pictures.py` does too.  They are made again when the package has changed since.
"""
import hashlib
import sys
from pathlib import Path

import foliosim
from foliosim.study import run_study
from foliosim.study.base import STUDIES

FOLDER = Path(__file__).parent / "_generated"


def digest():
    """Of the package: its sources and compiled modules."""
    root = Path(foliosim.__file__).parent
    files = sorted(path for pattern in ("*.py", "*.so", "*.json") for path in root.rglob(pattern))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def make(names=tuple(STUDIES)):
    """Write NAME.png and NAME.txt, the conclusion, for each study."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        made_of = FOLDER / f"{name}.digest"
        if made_of.exists() and made_of.read_text() == digest():
            continue
        result = run_study(name)
        result.picture(FOLDER / f"{name}.png")
        (FOLDER / f"{name}.txt").write_text(f"> {result.conclusion}\n")
        made_of.write_text(digest())


if __name__ == "__main__":
    make(sys.argv[1:] or tuple(STUDIES))
