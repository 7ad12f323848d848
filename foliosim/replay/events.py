"""The kinds of events of a trace, and what each must look like."""

FORMAT, VERSION = "foliosim-trace", 1
FAULT_WRITE, FAULT_EXEC, FAULT_PRESENT, FAULT_KERNEL = 1, 2, 4, 8
CLONE_VM, CLONE_VFORK, CLONE_THREAD = 0x100, 0x4000, 0x10000
MODES = ("never", "always", "mthp64")

_ADDRESS = (0, 1 << 64)
_ID = (0, 1 << 31)
_INT64 = (-(1 << 63), 1 << 64)
# Columns behind kind and time: a range of whole numbers (ends at the second), or a type.
COLUMNS = {
    "f": (_ID, _ID, _ADDRESS, str),
    "c": (_ID, _ID, str, _INT64, list, _INT64, dict),
    "X": (_ID, _ID, str),
    "m": (_ID, _ID, _ADDRESS, _ADDRESS, _ADDRESS, str, dict),
    "F": (_ID, _ID, _ID, _ID, _ADDRESS),
    "E": (_ID, _ID, (0, 2)),
    "A": (_ID, _ID, (0, 64), str),
    "S": (_ID, _ID, _ID, str),
}
NAMES = {"f": "page fault", "c": "system call", "X": "execve", "m": "mapping of a program", "F": "fork", "E": "exit",
         "A": "allocation", "S": "snapshot"}
# System calls whose arguments are looked at, and how many there must be.
ARGUMENTS = {
    "mmap": 6, "munmap": 2, "mprotect": 3, "pkey_mprotect": 4, "mremap": 5, "brk": 1, "madvise": 3,
    "mlock": 2, "mlock2": 3, "munlock": 2, "mlockall": 1, "munlockall": 0, "msync": 3, "prctl": 1, "shmat": 3,
    "shmdt": 1, "shmget": 3, "ftruncate": 2, "fallocate": 4, "memfd_create": 0,
    "remap_file_pages": 5, "process_madvise": 4,
}
_HEADER = {"format": str, "version": int, "page_size": int, "arch": str, "root": int, "events": int, "thp": dict,
           "files": dict, "mem_total_kb": int, "mode": str}


class EventError(ValueError):
    """A line that is not what the format says; the message says why."""


def check_header(header):
    """`EventError` if this is no header of a trace that can be replayed."""
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise EventError(f"not a trace: the first line is no header with format {FORMAT!r}")
    if header.get("version") != VERSION:
        raise EventError(f"version {header.get('version')!r}: this foliosim reads version {VERSION}")
    for name, kind in _HEADER.items():
        if not isinstance(header.get(name), kind):
            raise EventError(f"header: {name} {header.get(name)!r} must be of type {kind.__name__}")
    if header["mem_total_kb"] < 8192:
        raise EventError(f"header: mem_total_kb {header['mem_total_kb']} is less than 8 MiB")
    for path, file in header["files"].items():
        size = file.get("size") if isinstance(file, dict) else False
        if size is not None and not _is_number(size, _ADDRESS):
            raise EventError(f"header: file {path!r} has no valid size")


def check_event(event):
    """`EventError` if this is no event other than a well-formed fault (those have been read already)."""
    if not isinstance(event, list) or len(event) < 2 or not isinstance(event[0], str):
        raise EventError("not an event: an array that begins with a kind and a time")
    kind = event[0]
    if kind not in COLUMNS:
        raise EventError(f"kind {kind[:20]!r}: known are {', '.join(COLUMNS)}")
    columns = COLUMNS[kind]
    if len(event) != len(columns) + 2:
        raise EventError(f"{NAMES[kind]} with {len(event)} columns: there must be {len(columns) + 2}")
    for at, (value, wanted) in enumerate(zip(event[1:], (_ADDRESS, *columns)), 1):
        good = _is_number(value, wanted) if isinstance(wanted, tuple) else isinstance(value, wanted)
        if not good:
            raise EventError(f"{NAMES[kind]}: column {at} is {str(value)[:40]!r}")
    if kind == "f":
        raise EventError(f"page fault: flags {event[5][:20]!r}")
    if kind == "c":
        _check_call(event[4], event[6])


def _check_call(name, args):
    if len(args) < ARGUMENTS.get(name, 0):
        raise EventError(f"{name} with {len(args)} arguments: there must be {ARGUMENTS[name]}")
    for value in args:
        if not _is_number(value, _INT64):
            raise EventError(f"{name}: argument {str(value)[:40]!r} is no 64-bit number")


def _is_number(value, limits):
    return isinstance(value, int) and not isinstance(value, bool) and limits[0] <= value < limits[1]
