"""What this version of foliosim can do, found out by asking it."""
import inspect
from functools import cache

import foliosim as fs

_ARENA = 0x200000000000
_FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


@cache
def missing(what):
    """Why an operation cannot be used here.

    Parameters
    ----------
    what : str
        A method of `Process` (``"mremap"``), the name of an advice (``"MADV_COLD"``), or ``"files"``.

    Returns
    -------
    str or None
        The reason; None: it is there.
    """
    if what == "files":
        return None if "file" in inspect.signature(fs.Process.mmap).parameters else "Process.mmap takes no file"
    if not what.startswith("MADV_"):
        return None if hasattr(fs.Process, what) else f"Process has no {what}()"
    process = fs.Machine(memory="16M").spawn()
    process.mmap(8192, addr=_ARENA, flags=_FIXED)
    process.touch(_ARENA, 8192, write=True)
    try:
        process.madvise(_ARENA, 8192, getattr(fs, what))
    except fs.UnsupportedError as error:
        return f"{what} is not emulated: {error}"
    except fs.SyscallError:
        pass  # refused by a rule, so there is a rule
    return None
