"""Random scenarios, each from a seed and its number alone."""
import random

from foliosim.live.layout import ARENA, ARENA_END, HUGE, PAGE, Layout, pages_up, pick_place, pick_range
from foliosim.live.odd import odd
from foliosim.live.puppet import MAX_PROCS, SLOTS
from foliosim.live.themes import THEMES, settings_for

SMALL = (1, 1, 2, 4, 4, 5, 8, 16, 16, 32, 64, 256)
LARGE = (512, 512, 512, 1024, 1024, 1536, 528)
FILE_LENGTHS = (16384, 16384, 65536, 65536, 65236, 204800, 1 << 20, HUGE)
PROTS = {"rw": 10, "r": 4, "none": 2, "rwx": 0.7, "rx": 0.7, "w": 0.2, "x": 0.2}
PER_SETTINGS = 8  # scenarios in a row under the same settings, each change of which costs time


def _weighted(rng, weights):
    return rng.choices(list(weights), list(weights.values()))[0]


class Generator:
    """Scenarios without expectations.

    Parameters
    ----------
    seed : int
    ops, advices : set of str
        Names that may occur; "shared memory" is one of the ops.
    themes : sequence of str, optional
        Names of themes; default: all for whose own ops anything is left.
    steps : tuple of int
        Least and greatest number of steps.
    odd : float
        Share of steps with an argument that is out of the ordinary.
    """

    def __init__(self, seed, ops, advices, themes=(), steps=(8, 24), odd=0.06):
        self._seed, self._ops, self._advices, self._steps = seed, frozenset(ops), frozenset(advices), steps
        self._odd = odd
        self._themes = tuple(themes) or tuple(name for name in THEMES if name in ops or name not in ("mremap", "files")
                                              or (name == "files" and "file" in ops))

    def scenario(self, number):
        """Scenario `number`: a dict with id, tags, settings and steps."""
        block = random.Random(f"foliosim {self._seed} block {number // PER_SETTINGS}")
        name = block.choice(self._themes)
        settings = settings_for(name, block)
        rng = random.Random(f"foliosim {self._seed} {number}")
        walk = _Walk(rng, THEMES[name], self._ops, self._advices, self._odd)
        return {"id": f"fuzz-{name}-{self._seed}-{number}", "tags": [name, "random", "fuzz"], "settings": settings,
                "steps": walk.steps(rng.randint(*self._steps))}


class _Walk:
    """One random walk."""

    def __init__(self, rng, theme, ops, advices, odd):
        self._rng, self._theme, self._allowed, self._odd = rng, theme, ops, odd
        self._weights = {op: weight for op, weight in theme.ops.items()
                         if op in ops and getattr(self, f"_{op}", None) is not None}
        self._advices = {name: weight for name, weight in theme.advices.items() if name in advices}
        if not self._advices:
            self._weights.pop("madvise", None)
        self._layouts = {"p0": Layout()}
        self._forked = 1
        self._held = {}  # (process, kind) to the numbers in use
        self._files = {}  # name to length
        self._steps = []

    def steps(self, n):
        """About n steps."""
        self._begin()
        for _ in range(n * 4):  # an op may have nothing to do
            if len(self._steps) >= n:
                break
            proc = self._rng.choice(list(self._layouts))
            step = getattr(self, f"_{_weighted(self._rng, self._weights)}")(proc)
            if step is not None:
                self._steps.append(odd(self._rng, step) if self._rng.random() < self._odd else step)
        return self._steps

    def _begin(self):
        # Most scenarios begin with memory that has something in it.
        rng = self._rng
        if self._theme.files and "file" in self._allowed and rng.random() < min(1, 2 * self._theme.files):
            self._steps += [self._file("p0") for _ in range(rng.randint(1, 2))]
        if "mmap" not in self._allowed:
            return
        for _ in range(rng.randint(1, 2)):
            first = self._mmap("p0", clean=True)
            self._steps.append(first)
            where = {"proc": "p0", "addr": first["addr"], "length": first["length"]}
            if "hugepage" in self._advices and "madvise" in self._weights and rng.random() < self._theme.huge:
                self._steps.append({"op": "madvise", **where, "advice": "hugepage"})
            if "write" in self._allowed and rng.random() < 0.7:
                whole = where if rng.random() < 0.6 else self._range("p0")
                self._steps.append({"op": "write", **whole, **self._stored()})

    # ---- arguments ----

    def _range(self, proc, odd=True):
        """addr and length of a step; a few are not multiples of a page."""
        rng, layout = self._rng, self._layouts[proc]
        start, end = pick_range(rng, layout)
        layout.remember(start, end)
        length = end - start
        if odd and rng.random() < 0.03:
            start += rng.choice((0, 1, 100, 2048))
            length = rng.choice((0, length - 100, length + 1, length))
        return {"proc": proc, "addr": hex(start), "length": length}

    def _stored(self):
        rng = self._rng
        value = 0 if rng.random() < 0.12 else rng.randrange(1, 256)
        stored = {"value": value, **self._stride()}
        if rng.random() < 0.35:
            stored["delta"] = 1
        return stored

    def _stride(self):
        rng = self._rng
        stride = rng.choices((PAGE, 1 << 16, HUGE, 3 * PAGE), (10, 2, 1, 0.6))[0]
        found = {} if stride == PAGE else {"stride": stride}
        if rng.random() < 0.06:
            found["offset"] = rng.choice((1, 100, PAGE - 1, PAGE, 7 * PAGE))
        return found

    def _length(self):
        pages = self._rng.choice(SMALL if self._rng.random() < self._theme.small else LARGE)
        return pages * PAGE

    def _id(self, proc, kind, held):
        """Number of a get or pin: mostly one that is held, or one that is not."""
        rng, numbers = self._rng, self._held.setdefault((proc, kind), set())
        if held and numbers and rng.random() < 0.95:
            number = rng.choice(sorted(numbers))
        else:
            number = rng.randrange(SLOTS)
        return f"{kind}{number}", numbers

    # ---- areas ----

    def _mmap(self, proc, clean=False):
        rng, layout = self._rng, self._layouts[proc]
        what = self._what()
        length = self._length() if what in ("private", "shared") else self._file_length(what)
        flags = ["private" if what == "private" else "shared" if what == "shared" else
                 rng.choices(("private", "shared"), (2, 1))[0]]
        flags += ["anonymous"] if what in ("private", "shared") else []
        flags.append("fixed" if clean or rng.random() < 0.93 else "fixed_noreplace")
        if not clean and rng.random() < 0.08:
            flags.append("populate")
        if not clean and rng.random() < 0.05:
            flags.append("noreserve")
        start = pick_place(rng, layout, length)
        layout.add(start, min(start + pages_up(length), ARENA_END), what)
        prot = "rw" if clean or rng.random() < 0.8 else _weighted(rng, PROTS)
        step = {"op": "mmap", "proc": proc, "addr": hex(start), "length": length, "prot": prot, "flags": flags}
        if what not in ("private", "shared"):
            step |= {"file": what, "offset": rng.choice((0, 0, 0, PAGE, 4 * PAGE))}
        layout.remember(start, start + pages_up(length))
        return step

    def _what(self):
        rng = self._rng
        if self._files and rng.random() < self._theme.files:
            return rng.choice(sorted(self._files))
        shared = "shared memory" in self._allowed and rng.random() < self._theme.shared
        return "shared" if shared else "private"

    def _file_length(self, name):
        whole = self._files[name]
        return max(1, self._rng.choice((whole, whole, pages_up(whole), whole + 2 * PAGE, whole // 2, PAGE)))

    def _munmap(self, proc):
        where = self._range(proc)
        start = int(where["addr"], 16)
        if start % PAGE == 0:
            self._layouts[proc].remove(start, start + pages_up(where["length"]))
        return {"op": "munmap", **where}

    def _mprotect(self, proc):
        return {"op": "mprotect", **self._range(proc), "prot": _weighted(self._rng, PROTS)}

    def _madvise(self, proc):
        return {"op": "madvise", **self._range(proc), "advice": _weighted(self._rng, self._advices)}

    def _mlock(self, proc):
        return {"op": "mlock", **self._range(proc)}

    def _munlock(self, proc):
        return {"op": "munlock", **self._range(proc)}

    def _mlock2(self, proc):
        flags = self._rng.choices((["onfault"], [], ["invalid"]), (10, 3, 0.3))[0]
        return {"op": "mlock2", **self._range(proc), "flags": flags}

    def _mremap(self, proc):
        rng, layout = self._rng, self._layouts[proc]
        where = self._range(proc)
        old, start = where.pop("length"), int(where["addr"], 16)
        sizes = {old: 5, max(PAGE, old // 2): 1, old + 4 * PAGE: 1, old + HUGE: 0.5}
        step = {"op": "mremap", **where, "old_length": old}
        if rng.random() < 0.3:  # in place; where it may move it would leave the arena when it grows
            step["new_length"] = _weighted(rng, sizes)
            step["flags"] = ["maymove"] if step["new_length"] <= old and rng.random() < 0.3 else []
            return step
        keep = rng.random() < 0.33
        new = old if keep and rng.random() < 0.95 else _weighted(rng, sizes)
        target = pick_place(rng, layout, new)
        if rng.random() < 0.4:  # the same place inside a huge page, so that whole tables can move
            target = (target & -HUGE) + start % HUGE
        target = max(ARENA, min(target, ARENA_END - pages_up(new)))
        if (start | target) % PAGE == 0:
            layout.move(start, start + pages_up(min(old, new)), target, keep)
        layout.remember(target, target + pages_up(new))
        flags = ["maymove", "fixed", *(["dontunmap"] if keep else [])]
        return {**step, "new_length": new, "flags": flags, "new_addr": hex(target)}

    def _msync(self, proc):
        flags = self._rng.choice((["sync"], ["async"], ["invalidate"], ["sync", "invalidate"], ["sync", "async"], []))
        return {"op": "msync", **self._range(proc), "flags": flags}

    def _mseal(self, proc):
        return {"op": "mseal", **self._range(proc)}

    def _mincore(self, proc):
        return {"op": "mincore", **self._range(proc)}

    # ---- accesses and references ----

    def _write(self, proc):
        return {"op": "write", **self._range(proc), **self._stored()}

    def _read(self, proc):
        return {"op": "read", **self._range(proc), **self._stride()}

    def _get(self, proc):
        name, numbers = self._id(proc, "g", held=False)
        numbers.add(int(name[1:]))
        return {"op": "get", "id": name, **self._range(proc)}

    def _pin(self, proc):
        name, numbers = self._id(proc, "b", held=False)
        numbers.add(int(name[1:]))
        return {"op": "pin", "id": name, **self._range(proc)}

    def _peek(self, proc):
        return {"op": "peek", "proc": proc, "id": self._id(proc, "g", held=True)[0]}

    def _put(self, proc):
        name, numbers = self._id(proc, "g", held=True)
        numbers.discard(int(name[1:]))
        return {"op": "put", "proc": proc, "id": name}

    def _unpin(self, proc):
        name, numbers = self._id(proc, "b", held=True)
        numbers.discard(int(name[1:]))
        return {"op": "unpin", "proc": proc, "id": name}

    # ---- processes and files ----

    def _fork(self, proc):
        if self._forked >= MAX_PROCS:
            return None
        child = f"p{self._forked}"
        self._forked += 1
        self._layouts[child] = self._layouts[proc].copy()
        return {"op": "fork", "proc": proc, "child": child}

    def _exit(self, proc):
        if len(self._layouts) < 2 or (proc == "p0" and self._rng.random() < 0.6):
            return None
        del self._layouts[proc]
        return {"op": "exit", "proc": proc}

    def _clear_refs(self, proc):
        return {"op": "clear_refs", "proc": proc, "value": self._rng.choices((1, 2, 3, 4), (6, 1, 1, 1))[0]}

    def _thp_disable(self, proc):
        step = {"op": "thp_disable", "proc": proc, "value": self._rng.randrange(2)}
        return {**step, "flags": 2} if self._rng.random() < 0.1 else step

    def _file(self, proc):
        rng, name = self._rng, f"f{len(self._files)}"
        if len(self._files) >= 4 or len(self._layouts) > 1:
            return None  # a file is known to the processes forked later
        kind = rng.choice(("memfd", "memfd", "tmpfs", "disk"))
        self._files[name] = rng.choice(FILE_LENGTHS)
        step = {"op": "file", "proc": proc, "file": name, "kind": kind, "length": self._files[name]}
        if kind != "memfd" or rng.random() < 0.5:
            step["fill"] = rng.randrange(256)
        return step

    def _ftruncate(self, proc):
        if not self._files:
            return None
        name = self._rng.choice(sorted(self._files))
        whole = self._files[name]
        length = self._rng.choice((0, PAGE, whole // 2 & -PAGE, whole // 3, whole - 1, whole, whole + 3 * PAGE))
        return {"op": "ftruncate", "proc": proc, "file": name, "length": length}

    def _punch(self, proc):
        if not self._files:
            return None
        name = self._rng.choice(sorted(self._files))
        pages = pages_up(self._files[name]) // PAGE
        first = self._rng.randrange(pages)
        n = self._rng.choice((1, 3, 16, pages, self._rng.randint(1, pages)))
        return {"op": "punch", "proc": proc, "file": name, "offset": first * PAGE, "length": n * PAGE}
