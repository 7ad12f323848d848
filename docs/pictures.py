"""The pictures and answers of these pages: every study with its defaults, and the questions about redis.

Sphinx runs this; `python docs/pictures.py` does too.  They are made again when the package has changed since.
"""
import hashlib
import sys
from pathlib import Path

import foliosim
from foliosim.replay.whatif import WHERE
from foliosim.study import run_study
from foliosim.study.base import STUDIES

FOLDER = Path(__file__).parent / "_generated"
TRACE = Path(__file__).parents[1] / "tests/replay/data/redis-never.trace.jsonl.xz"
# Questions of redis.md: what its commands say after `foliosim replay TRACE`.
REDIS = {
    "redis-gain": {"sweeps": {"thp": ["never", "always"]}},
    "redis-sizes": {"settings": {"thp": "always"}, "sweeps": {"mthp": ["none", "16K", "64K", "256K"]}},
    "redis-bgsave": {"settings": {"thp": "always"},
                     "policy": ["cow_order=order0", "cow_order=fixed(4)", "cow_order=inherit"]},
    "redis-limit": {"sweeps": {"thp": ["never", "always"], "limit": ["none", "32M", "24M"]}},
}


def digest():
    """Of the package: its sources and compiled modules."""
    root = Path(foliosim.__file__).parent
    files = sorted(path for pattern in ("*.py", "*.so", "*.json") for path in root.rglob(pattern))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def answer(name):
    """Run a study, or put a question about redis."""
    if name not in REDIS:
        return run_study(name)
    words = REDIS[name]
    settings = {"trace": str(TRACE), **words.get("settings", {})}
    return run_study(WHERE, settings, sweeps=words.get("sweeps"), policy=words.get("policy", ()))


def make(names=(*STUDIES, *REDIS)):
    """Write NAME.png and NAME.txt, the conclusion, for each study and question."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        made_of = FOLDER / f"{name}.digest"
        if made_of.exists() and made_of.read_text() == digest():
            continue
        result = answer(name)
        result.picture(FOLDER / f"{name}.png")
        (FOLDER / f"{name}.txt").write_text(f"> {result.conclusion}\n")
        made_of.write_text(digest())


if __name__ == "__main__":
    make(sys.argv[1:] or (*STUDIES, *REDIS))
