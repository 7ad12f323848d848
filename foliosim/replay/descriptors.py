"""Open files, as far as the calls of a trace tell: which file a descriptor is of, and whether it is open for writing.

A trace has neither open nor close.  A descriptor is followed from call to call; one of another file under the same
number is another open file; execve closes those that programs open for themselves.
"""
from foliosim.flags import MAP_ANONYMOUS, MAP_SHARED, MAP_SHARED_VALIDATE, PROT_WRITE
from foliosim.replay.events import CLONE_THREAD

_MAP_TYPE = 0x0f
_MEMFD = "/memfd:"


def is_shared(flags):
    """Does an mmap with these flags make a shared mapping?"""
    return flags & _MAP_TYPE in (MAP_SHARED, MAP_SHARED_VALIDATE)


def file_key(where):
    """What a file is known by: device and inode; its path, where a trace does not have those."""
    return (where.get("dev"), where.get("ino")) if where.get("ino") else where.get("file", "")


class OpenFile:
    """One open file; processes that were forked share it.

    Attributes
    ----------
    key : object
        `file_key`; None: no mmap has told it yet.
    writable : bool
        A call proves that it is open for writing.
    memfd : bool
        memfd_create has made it.
    """

    def __init__(self, key=None, writable=False, memfd=False):
        self.key, self.writable, self.memfd = key, writable, memfd


class _Descriptors:
    """By process and number; ``of_call`` is what `open_files` returns."""

    def __init__(self):
        self.of_call, self.by_pid, self.sized = {}, {}, {}

    def call(self, event):
        mine = self.by_pid.setdefault(event[2], {})
        name, args, when = event[4], event[6], (event[1], event[3])
        if name == "memfd_create":
            mine[event[7]] = self.of_call[when] = OpenFile(writable=True, memfd=True)
        elif name in ("ftruncate", "fallocate"):
            found = self.of_call[when] = mine.setdefault(args[0], OpenFile())
            self.sized.setdefault(found, []).append(when)
        elif name == "mmap" and not args[3] & MAP_ANONYMOUS:
            found = self.of_call[when] = self._mapped(mine, args[4], event[8])
            found.writable |= bool(is_shared(args[3]) and args[2] & PROT_WRITE)

    def _mapped(self, mine, fd, where):
        """The open file that is mapped now; what was sized under its number since the last mmap was the same one."""
        key = file_key(where)
        found = mine.setdefault(fd, OpenFile())
        sized = self.sized.pop(found, [])
        if found.memfd and found.key is None and not where.get("file", _MEMFD).startswith(_MEMFD):
            found, sized = OpenFile(), []
            mine[fd] = found
        elif found.key not in (None, key):
            found = mine[fd] = OpenFile()
            self.of_call.update(dict.fromkeys(sized, found))
        found.key = key
        found.writable |= bool(sized)
        return found


def open_files(events):
    """The open file that each call is on.

    Parameters
    ----------
    events : list of list
        Of a trace, faults left out.

    Returns
    -------
    dict
        (time, tid) of mmap, ftruncate, fallocate and memfd_create to `OpenFile`.
    """
    seen = _Descriptors()
    for event in events:
        if event[0] == "F" and not event[6] & CLONE_THREAD:
            seen.by_pid[event[4]] = dict(seen.by_pid.get(event[2], ()))
        elif event[0] == "X" or event[0] == "E" and event[4]:
            seen.by_pid.pop(event[2], None)
        elif event[0] == "c" and event[7] >= 0:
            seen.call(event)
    for found in seen.sized:
        found.writable = True
    return seen.of_call
