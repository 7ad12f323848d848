"""Steps, results and differences as text."""
from foliosim.verify import numbers
from foliosim.verify.compare import ABSENT

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_PLAIN = ("op", "proc", "addr", "length", "prot", "advice")
_PARTS = ("result", "data", "memory", "vmas", "pages", "changed", "frames", "entries", "tables", "vmstat", "mthp_stats")
_COUNTED = {"THPeligible", "offset"}


def size_text(n):
    """A number of bytes with the largest unit that divides it."""
    for unit, name in _UNITS:
        if n >= unit and n % unit == 0:
            return f"{n // unit} {name}"
    return f"{n} B"


def step_text(step):
    """One line that says what a step does."""
    words = [step["proc"], step["op"]]
    if "addr" in step:
        words.append(step["addr"])
    if "length" in step:
        words.append(f"+{size_text(step['length'])}" if "addr" in step else size_text(step["length"]))
    words += [str(step[key]) for key in ("prot", "advice") if key in step]
    for key, value in step.items():
        if key not in _PLAIN:
            text = size_text(value) if key.endswith("_length") else "|".join(value) if type(value) is list else value
            words.append(f"{key}={text or 0}")
    return " ".join(words)


def result_text(entry):
    """The result of a step."""
    if "signal" in entry:
        return f"{entry['signal']} {entry.get('code')} at {entry.get('addr')}"
    return str(entry.get("ret", entry.get("errno")))


def _flags_text(value, table):
    return f"{value:#x} ({', '.join(numbers.decode(value, table)) or 'none'})"


def _flag_text(flag):
    return f"{flag} ({numbers.VMFLAGS[flag]})" if flag in numbers.VMFLAGS else str(flag)


def value_text(difference, value):
    """A value of one side of a difference."""
    if value is ABSENT:
        return "absent"
    part, field = difference.part, difference.field
    if part == "pages" and field == "bits":
        return _flags_text(value, numbers.PAGE_BITS)
    if part == "frames" and field == "flags":
        return _flags_text(value, numbers.KPF)
    if part == "entries" and field == "bits":
        return hex(value)
    if part == "pages" and field == "frame":
        return "no frame" if value is None else f"frame {value}"
    if field == "VmFlags":
        return _flag_text(value)
    if field == "present":
        return "present"
    if field.endswith("_kb") or (part == "vmas" and type(value) is int and field not in _COUNTED):
        return f"{value} kB"
    if type(value) is dict:
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _address(key):
    # The address of an item, also of one that was met again.
    while type(key) is tuple:
        key = key[0]
    return key


def _vma_at(state, proc, address, page_size):
    for number, vma in enumerate(state["procs"].get(proc, {}).get("vmas", ())):
        start, end = int(vma["start"], 16), int(vma["end"], 16)
        if start <= address < end:
            return f"page {(address - start) // page_size} of area {vma['start']}-{vma['end']} {vma['perms']}"
    return "in no area"


def _mappers(state, frame, page_size, most=2):
    # Where the expected state maps a frame.
    found = []
    for name, proc in state["procs"].items():
        for address, count, _, first, step in proc["pages"]:
            if first is None or (frame != first if step == 0 else not first <= frame < first + count):
                continue
            page = int(address, 16) + (frame - first) * page_size * step
            found.append(f"{name} {page:#x}")
            if len(found) == most:
                return ", ".join(found)
    return ", ".join(found) or "mapped nowhere"


def place_text(difference, state, page_size=numbers.PAGE_SIZE):
    """Which area, page, frame or counter a difference is about, seen in the expected state."""
    part, proc, where = difference.part, difference.proc, _address(difference.where)
    if part == "vmas":
        for vma in state["procs"].get(proc, {}).get("vmas", ()):
            if vma["start"] == where:
                file = f" {vma['file']}" if "file" in vma else ""
                return f"{proc}: area {where}-{vma['end']} {vma['perms']}{file}"
        return f"{proc}: area {where}"
    if part in ("pages", "changed", "entries"):
        kind = {"pages": "page", "changed": "changed page", "entries": "entry of page"}[part]
        return f"{proc}: {kind} {where:#x} ({_vma_at(state, proc, where, page_size)})"
    if part == "frames":
        return f"frame {where} ({_mappers(state, where, page_size)})"
    if part == "data":
        return f"byte {where} of the data"
    if part == "mthp_stats":
        return f"mthp_stats {where}"
    return f"{proc}: {part}" if proc else part


def _alike(a, b, page_size):
    # Do two differences say the same of neighbouring items?
    if (a.part, a.proc, a.field) != (b.part, b.proc, b.field) or a.part not in ("pages", "changed", "frames", "data"):
        return False
    if type(a.where) is not int or type(b.where) is not int:
        return False
    if b.where - a.where != (page_size if a.part in ("pages", "changed") else 1):
        return False
    return all(_follows(x, y, a.field, page_size) for x, y in ((a.expected, b.expected), (a.got, b.got)))


def _follows(x, y, field, page_size):
    if field in ("frame", "present") and type(x) is int and type(y) is int:
        return y - x in (0, 1, page_size)
    return x == y


def grouped(differences, page_size=numbers.PAGE_SIZE):
    """Runs of neighbouring differences that say the same: lists of (first difference, how many)."""
    groups, last = [], None
    for difference in sorted(differences, key=_place):
        if last is not None and _alike(last, difference, page_size):
            groups[-1][1] += 1
        else:
            groups.append([difference, 1])
        last = difference
    return groups


def _place(difference):
    # Sorting key: results first, counters last.
    return _PARTS.index(difference.part), str(difference.proc), difference.field, _order(difference.where)


def _order(where):
    where = _address(where)
    if type(where) is int:
        return where
    return int(where, 16) if type(where) is str and where.startswith("0x") else -1
