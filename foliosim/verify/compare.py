"""Compares one expected entry with what an engine gave, leaf by leaf where they are not alike.

Equal parts are recognised by ``==`` and runs that are equal at both ends are set aside; only the rest is expanded.
A leaf that differs, is missing or is too much counts once.  Where a set lost one member and won another (VmFlags,
pages, changed pages, frames) this is one difference, not two; a page or frame that only one side has counts once,
an area or a process with all its leaves.
"""
from dataclasses import dataclass

from foliosim.verify import leaves, numbers


class Absent:
    """Stands for the value that one side does not have."""

    def __repr__(self):
        return "-"

    def __reduce__(self):
        return "ABSENT"  # one object, also after it came from a worker process


ABSENT = Absent()


@dataclass(frozen=True)
class Difference:
    """One value that is not as recorded.

    ``part`` is "result", "data", "vmas", "pages", "changed", "frames", "memory", "entries", "tables", "vmstat" or
    "mthp_stats"; ``proc`` the process or None; ``where`` an address, frame, byte or name; ``field`` the leaf.
    """

    part: str
    proc: str | None
    where: object
    field: str
    expected: object
    got: object


class Differences:
    """Counts differences between states of pages of some size, and keeps the first of them."""

    def __init__(self, keep=0, page_size=numbers.PAGE_SIZE):
        self.page_size = page_size
        self.count = 0
        self.kept = []
        self._keep = keep

    def add(self, part, proc, where, field, expected, got, n=1):
        """Note n differing leaves, described by one difference."""
        self.count += n
        if len(self.kept) < self._keep:
            self.kept.append(Difference(part, proc, where, field, expected, got))


def compare(expected, got, step, noisy, out):
    """Add to `out` every difference between an expected entry and the engine's."""
    _compare_result(expected, got, out)
    if not leaves.counters_masked(step, noisy):
        _compare_counters(expected, got, out)
    want, have = expected["state"], got["state"]
    if want == have:
        return
    _compare_procs(want["procs"], have["procs"], out)
    if want["frames"] != have["frames"]:
        _compare_frames(want["frames"], have["frames"], out)


# ---- results ----

_KINDS = ("ret", "errno", "signal")


def _kind_of(entry):
    return next((kind for kind in _KINDS if kind in entry), None)


def _compare_result(expected, got, out):
    kind, other = _kind_of(expected), _kind_of(got)
    if kind != other or expected[kind] != got[kind]:
        out.add("result", None, None, kind, expected[kind], got.get(kind, {other: got.get(other)}))
    if kind == "signal":
        for field in ("code", "addr"):
            if expected[field] != got.get(field):
                out.add("result", None, None, field, expected[field], got.get(field, ABSENT))
    want, have = expected.get("data", []), got.get("data", b"")
    if want or have:
        _compare_data(want, have, out)


def expand_data(runs):
    """The bytes of data runs."""
    return b"".join(bytes([(first + k * delta) & 255 for k in range(count)]) if delta else bytes([first & 255]) * count
                    for first, count, delta in runs)


def _compare_data(runs, have, out):
    want = expand_data(runs)
    if want == have:
        return
    for k in range(max(len(want), len(have))):
        a = want[k] if k < len(want) else ABSENT
        b = have[k] if k < len(have) else ABSENT
        if a != b:
            out.add("data", None, k, "byte", a, b)


# ---- counters and other tables of scalars ----

def _compare_table(part, proc, where, want, have, out):
    for name in {**want, **have}:
        a, b = want.get(name, ABSENT), have.get(name, ABSENT)
        if a != b:
            out.add(part, proc, where, name, a, b)


def _compare_counters(expected, got, out):
    for part in ("vmstat", "mthp_stats"):
        want, have = expected.get(part), got.get(part, {})
        if want is None or want == have:
            continue
        if part == "vmstat":
            _compare_table(part, None, None, want, have, out)
            continue
        for size in {**want, **have}:
            _compare_table(part, None, size, want.get(size, {}), have.get(size, {}), out)


# ---- processes ----

def _compare_procs(want, have, out):
    for name in {**want, **have}:
        if name not in have:
            out.add("memory", name, None, "process", "alive", ABSENT, leaves.proc_leaves(want[name]))
        elif name not in want:
            out.add("memory", name, None, "process", ABSENT, "alive", leaves.proc_leaves(have[name]))
        elif want[name] != have[name]:
            _compare_proc(name, want[name], have[name], out)


def _compare_proc(name, want, have, out):
    if want["vmas"] != have["vmas"]:
        _compare_vmas(name, want["vmas"], have["vmas"], out)
    if want["pages"] != have["pages"]:
        _compare_pages(name, want["pages"], have["pages"], out)
    if want["changed"] != have["changed"]:
        _compare_changed(name, want["changed"], have["changed"], out)
    for field in ("locked_kb", "pgtable_kb"):
        if want[field] != have[field]:
            out.add("memory", name, None, field, want[field], have[field])
    if "entries" in want and want["entries"] != have.get("entries"):
        _compare_entries(name, want["entries"], have.get("entries", ()), out)
    if "tables" in want:
        _compare_table("tables", name, None, want["tables"], have.get("tables", {}), out)


# ---- areas ----

def _pair_vmas(want, have):
    # Areas of the same start belong together; of those left, areas of the same end; then the one left of each side.
    pairs, have = [], list(have)
    left = list(want)
    for key in ("start", "end"):
        by_key = {vma[key]: vma for vma in have}
        still = []
        for vma in left:
            twin = by_key.pop(vma[key], None)
            if twin is None:
                still.append(vma)
            else:
                pairs.append((vma, twin))
                have = [other for other in have if other is not twin]
        left = still
    if len(left) == 1 and len(have) == 1:
        return pairs + [(left[0], have[0])]
    return pairs + [(vma, None) for vma in left] + [(None, vma) for vma in have]


def _compare_vmas(name, want, have, out):
    pairs = _pair_vmas(want, have)
    pairs.sort(key=lambda pair: int((pair[0] or pair[1])["start"], 16))
    for a, b in pairs:
        if a is None or b is None:
            one = a or b
            described = f"{one['start']}-{one['end']} {one['perms']}"
            values = (ABSENT, described) if a is None else (described, ABSENT)
            out.add("vmas", name, one["start"], "area", *values, leaves.vma_leaves(one))
        elif a != b:
            _compare_vma(name, a, b, out)


def _compare_vma(name, want, have, out):
    at = want["start"]
    for field in leaves.VMA_SCALARS:
        a, b = want.get(field, ABSENT), have.get(field, ABSENT)
        if a != b:
            out.add("vmas", name, at, field, a, b)
    smaps, seen = want["smaps"], have["smaps"]
    if name != "p0":
        smaps = {field: value for field, value in smaps.items() if field != "Referenced"}
        seen = {field: value for field, value in seen.items() if field != "Referenced"}
    _compare_table("vmas", name, at, smaps, seen, out)
    if want["flags"] != have["flags"]:
        missing, extra = _multiset_difference(want["flags"], have["flags"])
        for a, b in _zip_longest(missing, extra):
            out.add("vmas", name, at, "VmFlags", a, b)


def _multiset_difference(want, have):
    have = list(have)
    missing = []
    for item in want:
        if item in have:
            have.remove(item)
        else:
            missing.append(item)
    return missing, have


def _zip_longest(missing, extra):
    n = max(len(missing), len(extra))
    return zip(missing + [ABSENT] * (n - len(missing)), extra + [ABSENT] * (n - len(extra)))


# ---- runs ----

def trim(want, have):
    """The middles of two lists of runs, without the runs that are equal at both ends."""
    n = min(len(want), len(have))
    front = 0
    while front < n and want[front] == have[front]:
        front += 1
    back = 0
    while back < n - front and want[-1 - back] == have[-1 - back]:
        back += 1
    return want[front:len(want) - back], have[front:len(have) - back]


def _add_item(items, key, value):
    # A key met a second time (runs that overlap) is kept as an item of its own.
    while key in items:
        key = (key, "again")
    items[key] = value


def expand_pages(runs, page_size=numbers.PAGE_SIZE):
    """Address to (bits, frame)."""
    pages = {}
    for address, count, bits, frame, step in runs:
        base, value = int(address, 16), int(bits, 16)
        for k in range(count):
            _add_item(pages, base + k * page_size, (value, None if frame is None else frame + k * step))
    return pages


def expand_changed(runs, page_size=numbers.PAGE_SIZE):
    pages = {}
    for address, count in runs:
        base = int(address, 16)
        for k in range(count):
            _add_item(pages, base + k * page_size, ())
    return pages


def expand_frames(runs):
    """Frame to (flags, mapcount)."""
    frames = {}
    for first, count, flags, mapcount in runs:
        value = int(flags, 16)
        for k in range(count):
            _add_item(frames, first + k, (value, mapcount))
    return frames


def expand_entries(runs, page_size=numbers.PAGE_SIZE):
    """Address to (level, bits)."""
    entries = {}
    for address, level, count, bits in runs:
        base, value, size = int(address, 16), int(bits, 16), page_size if level == 1 else page_size * (page_size // 8)
        for k in range(count):
            _add_item(entries, base + k * size, (level, value))
    return entries


def _compare_items(part, name, fields, want, have, out):
    missing = [key for key in want if key not in have]
    extra = [key for key in have if key not in want]
    for key, values in want.items():
        others = have.get(key, values)
        if values != others:
            for field, a, b in zip(fields, values, others):
                if a != b:
                    out.add(part, name, key, field, a, b)
    for a, b in _zip_longest(missing, extra):
        out.add(part, name, b if a is ABSENT else a, "present", a, b)


def _both(expand, want, have, out):
    return [expand(runs, out.page_size) for runs in trim(want, have)]


def _compare_pages(name, want, have, out):
    _compare_items("pages", name, ("bits", "frame"), *_both(expand_pages, want, have, out), out)


def _compare_changed(name, want, have, out):
    _compare_items("changed", name, (), *_both(expand_changed, want, have, out), out)


def _compare_entries(name, want, have, out):
    _compare_items("entries", name, ("level", "bits"), *_both(expand_entries, want, have, out), out)


def _visible(flags):
    # The engine's flags without those that the contract masks.
    return flags & (numbers.KPF_ZERO_MASK if flags & numbers.KPF["ZERO_PAGE"] else numbers.KPF_MASK)


def _compare_frames(want, have, out):
    want, have = trim(want, have)
    seen = {frame: (_visible(flags), mapcount) for frame, (flags, mapcount) in expand_frames(have).items()}
    _compare_items("frames", None, ("flags", "mapcount"), expand_frames(want), seen, out)
