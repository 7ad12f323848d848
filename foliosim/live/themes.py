"""What random scenarios are about: weights of ops and advices, and machine settings, by theme."""
from dataclasses import dataclass, field

from foliosim.live.settings import SHMEM_SIZES, SIZES, default

ADVICES = {
    "hugepage": 6, "dontneed": 8, "free": 5, "cold": 3, "nohugepage": 2, "pageout": 3, "collapse": 4,
    "populate_read": 2, "populate_write": 2, "guard_install": 3, "guard_remove": 2, "dontneed_locked": 1.5,
    "dontfork": 1.2, "dofork": 1, "wipeonfork": 1.2, "keeponfork": 1, "normal": 0.5, "random": 0.5, "sequential": 0.5,
    "dontdump": 0.5, "dodump": 0.5, "willneed": 0.5, "remove": 0.3,
}
SHMEM_WORDS = ("never", "advise", "always", "within_size", "deny")
_HUGE_ADVICES = {**ADVICES, "collapse": 8, "hugepage": 10, "free": 8, "cold": 5, "pageout": 4}
_LITTLE_ADVICES = {"hugepage": 8, "dontneed": 5, "free": 3, "cold": 2, "collapse": 3, "nohugepage": 1,
                   "populate_write": 1.5, "populate_read": 0.7, "pageout": 1}
_OPS = {"write": 20, "read": 7, "mmap": 6, "munmap": 4, "mprotect": 6, "madvise": 12}
_LOCKS = {"mlock": 4, "munlock": 3, "mlock2": 1.5}
_FORKS = {"fork": 6, "exit": 2}
_REFERENCES = {"get": 7, "peek": 2, "put": 3, "pin": 7, "unpin": 3}
_REST = {"mincore": 2, "clear_refs": 1.5, "mseal": 0.4, "msync": 0.5, "thp_disable": 0.7}


@dataclass(frozen=True)
class Theme:
    """Weights of a random walk.

    Attributes
    ----------
    ops, advices : dict
        Name to weight.
    shared : float
        Share of mappings that are shared anonymous memory.
    files : float
        Share of mappings that are of a file.
    small : float
        Share of mappings of a few pages rather than of whole 2 MiB blocks.
    huge : float
        Share of scenarios that begin with memory advised as huge.
    settings : str
        "plain" (some scenarios with sizes below 2 MiB), "sizes", "always", "shmem" or "any" of these.
    """

    ops: dict
    advices: dict = field(default_factory=lambda: ADVICES)
    shared: float = 0.05
    files: float = 0.0
    small: float = 0.35
    huge: float = 0.8
    settings: str = "plain"


THEMES = {
    "vma": Theme({**_OPS, "mmap": 20, "munmap": 8, "mprotect": 14, "madvise": 10, "write": 6, "read": 2, **_LOCKS,
                  "mremap": 5, "mincore": 1, "fork": 1.2, "exit": 0.3, "mseal": 0.5},
                 {name: ADVICES[name] for name in ("normal", "random", "sequential", "dontdump", "dodump", "dontfork",
                                                   "dofork", "wipeonfork", "keeponfork", "hugepage", "nohugepage",
                                                   "dontneed")},
                 shared=0.12, small=0.8, huge=0.2),
    "thp": Theme({**_OPS, "madvise": 18, "mremap": 2, "clear_refs": 2, "mincore": 1.5, "thp_disable": 0.7},
                 _HUGE_ADVICES, small=0.2, huge=1.0),
    "fork-cow": Theme({**_OPS, "write": 26, **_FORKS, "fork": 9, "exit": 4}, _LITTLE_ADVICES, small=0.2),
    "mlock": Theme({**_OPS, "mlock": 10, "munlock": 10, "mlock2": 4, "fork": 2.5, "exit": 0.7, "mremap": 1.5},
                   _LITTLE_ADVICES, small=0.35),
    "gup": Theme({**_OPS, "mmap": 2, "munmap": 2, **_REFERENCES, "fork": 4, "exit": 1, "mremap": 1.5},
                 _LITTLE_ADVICES, small=0.1),
    "madvise": Theme({**_OPS, "madvise": 34, "fork": 3, "exit": 0.7, "mlock": 1.5, "mlock2": 0.4, "mincore": 1.5}),
    "mthp": Theme({**_OPS, "mremap": 2.5, "mlock": 2, "munlock": 1.5, "mlock2": 0.7, "fork": 2, "exit": 0.4},
                  _LITTLE_ADVICES, settings="sizes"),
    "mremap": Theme({**_OPS, "mremap": 20, "madvise": 8, "mlock": 2, "mlock2": 0.6, "fork": 1.5, "exit": 0.2}),
    "files": Theme({**_OPS, "mmap": 14, "file": 2, "punch": 2, "ftruncate": 1.5, "fork": 4, "exit": 1, **_LOCKS,
                    "mremap": 1.5, "mincore": 1.5, "msync": 1},
                   {"dontneed": 8, "hugepage": 5, "populate_read": 4, "populate_write": 4, "remove": 3, "cold": 2,
                    "nohugepage": 2, "normal": 1, "free": 2, "pageout": 1, "collapse": 1, "willneed": 0.5},
                   shared=0.3, files=0.7, small=0.6, huge=0.2, settings="shmem"),
    "always": Theme({**_OPS, **_LOCKS, "fork": 3, "exit": 1, "mremap": 2, "get": 1, "peek": 0.2, "put": 0.3, "pin": 1,
                     "unpin": 0.4, "thp_disable": 0.6}, huge=0.1, settings="always"),
    "mixed": Theme({**_OPS, **_LOCKS, **_FORKS, "get": 2.4, "peek": 0.5, "put": 0.7, "pin": 2.4, "unpin": 0.7,
                    "mremap": 4, **_REST, "file": 0.6}, shared=0.12, files=0.1, small=0.5),
    "cases": Theme({**_OPS, "mmap": 8, "madvise": 24, "mincore": 4, "clear_refs": 3, "mseal": 2, "msync": 4,
                    "thp_disable": 1.5, **_LOCKS, **_FORKS, **_REFERENCES, "mremap": 8, "file": 4, "punch": 4,
                    "ftruncate": 4}, dict.fromkeys(ADVICES, 1), shared=0.3, files=0.6, small=0.5, huge=0.4,
                   settings="any"),
}


def settings_for(theme, rng):
    """Random machine settings of a theme."""
    settings = default()
    kind = THEMES[theme].settings
    if kind == "any":
        kind = rng.choice(("plain", "sizes", "shmem", "shmem", "always"))
    if kind == "always":
        settings["thp_enabled"] = "always"
        for size in SIZES:
            settings["mthp"][size] = rng.choices(("never", "inherit", "madvise", "always"), (5, 3, 1, 1.3))[0]
    elif kind == "shmem":
        _choose_shmem(settings, rng)
    elif kind == "sizes" or rng.random() < 0.3:
        _choose_sizes(settings["mthp"], SIZES[:-1], rng, {"madvise": 3, "inherit": 1})
        settings["mthp"]["2048kB"] = rng.choices(("inherit", "never", "madvise"), (4, 4, 1))[0]
        if rng.random() < 0.05:
            settings["thp_enabled"] = "never"
    return settings


def _choose_sizes(sizes, names, rng, words):
    # From one size alone to several at once.
    share = rng.choice((0.12, 0.25, 0.5))
    for size in names:
        if rng.random() < share:
            sizes[size] = rng.choices(list(words), list(words.values()))[0]


def _choose_shmem(settings, rng):
    settings["shmem_enabled"] = rng.choices(SHMEM_WORDS, (5, 3, 2, 2, 0.4))[0]
    if rng.random() < 0.5:
        _choose_sizes(settings["mthp_shmem"], SHMEM_SIZES[:-1], rng,
                      {"advise": 5, "inherit": 2, "always": 1, "within_size": 1})
    if rng.random() < 0.3:
        settings["mthp_shmem"]["2048kB"] = rng.choice(("never", "never", "advise", "always", "within_size"))
