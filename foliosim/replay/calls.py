"""The system calls of a trace, made again; each returns what the call returned."""
from errno import EINVAL

from foliosim.errors import SyscallError
from foliosim.flags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_SHARED,
    MREMAP_FIXED,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)

_MAP_HUGETLB, _MAP_DROPPABLE, _MAP_TYPE = 0x40000, 0x08, 0x0f
_MASK = (1 << 64) - 1
_PR_SET_VMA, _PR_SET_THP_DISABLE = 0x53564d41, 41
_SHM_RDONLY, _SHM_REMAP, _SHM_EXEC = 0o10000, 0o40000, 0o100000
_FALLOC_PUNCH_HOLE = 0x02


class Unsupported(Exception):
    """The emulator has no such call; the message is counted."""


def _mmap(replay, memory, event):
    args, ret = event[6:8]
    addr, length, prot, flags, _, offset = args[:6]
    if flags & _MAP_HUGETLB:
        raise Unsupported("mmap of huge pages from the pool (MAP_HUGETLB)")
    if flags & _MAP_TYPE == _MAP_DROPPABLE:
        raise Unsupported("mmap with MAP_DROPPABLE")
    file = None
    if not flags & MAP_ANONYMOUS:
        file = replay.files.of_mmap(event)
    if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        memory.place_next(ret)
    return memory.mmap(length, prot=prot, flags=flags, addr=addr, file=file, offset=offset)


def _munmap(replay, memory, event):
    memory.munmap(*event[6][:2])
    return 0


def _mprotect(replay, memory, event):
    memory.mprotect(*event[6][:3])
    return 0


def _mremap(replay, memory, event):
    old, old_length, new_length, flags, new = event[6][:5]
    if not flags & MREMAP_FIXED:
        new = 0
        if event[7] != old:
            memory.place_next(event[7])
    return memory.mremap(old, old_length, new_length, flags=flags, new_addr=new)


def _brk(replay, memory, event):
    (addr, *_), ret = event[6], event[7]
    if memory.brk(0) == 0:
        memory.start_heap(ret if not addr or ret != addr else replay.program_end(event[2]))
    return memory.brk(addr)


def _madvise(replay, memory, event):
    memory.madvise(*event[6][:3])
    return 0


def _mlock(replay, memory, event):
    memory.mlock(*event[6][:2])
    return 0


def _mlock2(replay, memory, event):
    memory.mlock2(*event[6][:3])
    return 0


def _munlock(replay, memory, event):
    memory.munlock(*event[6][:2])
    return 0


def _mlockall(replay, memory, event):
    memory.mlockall(event[6][0])
    return 0


def _munlockall(replay, memory, event):
    memory.munlockall()
    return 0


def _msync(replay, memory, event):
    memory.msync(*event[6][:3])
    return 0


def _prctl(replay, memory, event):
    option, *args = event[6]
    args += [0] * (4 - len(args))
    if option == _PR_SET_THP_DISABLE:
        if replay.thp_is_recorded:
            memory.prctl_thp_disable(args[0], args[1])
    elif option == _PR_SET_VMA:
        memory.name_area(args[1], args[2], replay.name_number(args[3], event[8]))
    else:
        raise Unsupported(f"prctl option {option}")
    return 0


def _ftruncate(replay, memory, event):
    file = replay.files.of_descriptor(event)
    if file is not None:
        file.ftruncate(event[6][1])
    return event[7]


def _fallocate(replay, memory, event):
    _, mode, offset, length = event[6][:4]
    file = replay.files.of_descriptor(event)
    if file is not None and mode & _FALLOC_PUNCH_HOLE:
        file.punch(offset, length)
    return event[7]


def _shmget(replay, memory, event):
    replay.segments.setdefault(event[7], event[6][1])
    return event[7]


def _shmat(replay, memory, event):
    number, _, flags = event[6][:3]
    if number not in replay.segments:
        raise Unsupported("shmat of a segment made before the trace began")
    length = replay.segments[number]
    file = replay.files.mapped({"file": f"/SYSV{number}"}, length, not flags & _SHM_RDONLY)
    prot = PROT_READ | (0 if flags & _SHM_RDONLY else PROT_WRITE) | (PROT_EXEC if flags & _SHM_EXEC else 0)
    replay.attached[event[2], event[7]] = length
    return memory.mmap(length, prot=prot, flags=MAP_SHARED | MAP_FIXED, addr=event[7], file=file)


def _shmdt(replay, memory, event):
    length = replay.attached.pop((event[2], event[6][0]), None)
    if length is None:
        raise Unsupported("shmdt of an address that shmat did not give")
    memory.munmap(event[6][0], length)
    return 0


def _nothing(replay, memory, event):
    return event[7]


# Calls that failed for a reason that a trace does not show (limits, descriptors) and change nothing then.
ONLY_IF_IT_WORKED = {"mmap", "mremap", "brk", "shmat", "shmdt", "shmget", "memfd_create", "ftruncate", "fallocate",
                     "prctl", "msync", "mlockall"}
CALLS = {
    "mmap": _mmap, "munmap": _munmap, "mprotect": _mprotect, "pkey_mprotect": _mprotect, "mremap": _mremap,
    "brk": _brk, "madvise": _madvise, "mlock": _mlock, "mlock2": _mlock2, "munlock": _munlock,
    "mlockall": _mlockall, "munlockall": _munlockall, "msync": _msync, "prctl": _prctl,
    "memfd_create": _nothing, "ftruncate": _ftruncate, "fallocate": _fallocate, "shmget": _shmget,
    "shmat": _shmat, "shmdt": _shmdt, "mincore": _nothing, "exit_group": _nothing,
}


def call(replay, memory, event):
    """Make the call of an event again.

    Returns
    -------
    int or None
        What it returned, ``-errno`` if it failed; None: it was passed over, because it had failed.

    Raises
    ------
    Unsupported
        The emulator has no such call.
    """
    name, ret = event[4], event[7]
    if ret < 0 and name in ONLY_IF_IT_WORKED:
        return None
    if name not in CALLS:
        raise Unsupported(name)
    event = [*event[:6], [value & _MASK for value in event[6]], *event[7:]]
    try:
        return CALLS[name](replay, memory, event)
    except OverflowError:
        return -EINVAL
    except SyscallError as error:
        return -error.errno
