"""The system calls of a trace, made again; each returns what the call returned."""
from errno import EACCES, EAGAIN, EINVAL, ENOMEM, EPERM

from foliosim.errors import SyscallError
from foliosim.flags import (
    MADV_DONTDUMP,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MREMAP_FIXED,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from foliosim.replay.descriptors import is_shared

_MAP_HUGETLB, _MAP_DROPPABLE, _MAP_TYPE = 0x40000, 0x08, 0x0f
_MASK = (1 << 64) - 1
_PR_SET_VMA, _PR_SET_THP_DISABLE, _PR_SET_MEMORY_MERGE = 0x53564d41, 41, 67
_SHM_RDONLY, _SHM_REMAP, _SHM_EXEC = 0o10000, 0o40000, 0o100000
_FALLOC_PUNCH_HOLE = 0x02
_CHANGES_NO_PAGE = {3: "WILLNEED", 20: "COLD"}


class Unsupported(Exception):
    """The emulator has no such call; the message is counted."""


def _mmap(replay, memory, event):
    args, ret = event[6:8]
    addr, length, prot, flags, _, offset = args[:6]
    if flags & _MAP_HUGETLB:
        raise Unsupported("mmap of huge pages from the pool (MAP_HUGETLB)")
    if flags & _MAP_TYPE == _MAP_DROPPABLE:
        return _mmap_droppable(replay, memory, event)
    file = None
    if not flags & MAP_ANONYMOUS and event[8].get("file") == "/dev/zero" and not is_shared(flags):
        flags |= MAP_ANONYMOUS
    if not flags & MAP_ANONYMOUS:
        file = replay.files.of_mmap(event)
    if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        memory.place_next(ret)
    return memory.mmap(length, prot=prot, flags=flags, addr=addr, file=file, offset=offset)


def _mmap_droppable(replay, memory, event):
    """As memory that can be dropped is, while nothing drops it; but for a flag."""
    replay.note("unsupported", "mmap with MAP_DROPPABLE: mapped as memory that stays")
    args, ret = list(event[6]), event[7]
    args[3] = args[3] & ~_MAP_TYPE | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    _mmap(replay, memory, [*event[:6], args, *event[7:]])
    for advice in (MADV_WIPEONFORK, MADV_DONTDUMP):
        memory.madvise(ret, args[1], advice)
    return ret


def _munmap(replay, memory, event):
    memory.munmap(*event[6][:2])
    return 0


def _mprotect(replay, memory, event):
    memory.mprotect(*event[6][:3])
    return 0


def _pkey_mprotect(replay, memory, event):
    addr, length, prot, pkey = event[6][:4]
    memory.pkey_mprotect(addr, length, prot, -1 if pkey >> 31 else pkey)
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
    elif option == _PR_SET_MEMORY_MERGE:
        memory.prctl_memory_merge(args[0])
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
    replay.spaces[event[2]].attached[event[7]] = length
    return memory.mmap(length, prot=prot, flags=MAP_SHARED | MAP_FIXED, addr=event[7], file=file)


def _shmdt(replay, memory, event):
    length = replay.spaces[event[2]].attached.pop(event[6][0], None)
    if length is None:
        raise Unsupported("shmdt of an address that shmat did not give")
    memory.munmap(event[6][0], length)
    return 0


def _remap_file_pages(replay, memory, event):
    """Follows: the system call remap_file_pages, which is an mmap now."""
    start, length, _, page, flags = event[6][:5]
    area = next((area for area in memory.maps() if area["start"] <= start < area["end"]), None)
    if area is None:
        raise Unsupported("remap_file_pages where nothing is mapped")
    file = next((file for file in replay.files.files.values() if file.inode == area["inode"]), None)
    if file is None:
        raise Unsupported("remap_file_pages of shared anonymous memory")
    prot = sum(bit for letter, bit in zip("rwx", (PROT_READ, PROT_WRITE, PROT_EXEC)) if letter in str(area["perms"]))
    memory.mmap(length, prot=prot, flags=MAP_SHARED | MAP_FIXED | MAP_POPULATE | flags & MAP_NONBLOCK, addr=start,
                file=file, offset=page * replay.files.page_size)
    return 0


def _process_madvise(replay, memory, event):
    if event[6][3] not in _CHANGES_NO_PAGE:
        raise Unsupported(f"process_madvise with advice {event[6][3]}: the trace does not say where")
    return event[7]


def _nothing(replay, memory, event):
    return event[7]


_OF_A_RANGE = {"munmap", "mprotect", "pkey_mprotect", "madvise", "mlock", "mlock2"}
# Calls that failed for a reason that a trace does not show (limits, descriptors) and change nothing then.
ONLY_IF_IT_WORKED = {"mmap", "mremap", "brk", "shmat", "shmdt", "shmget", "memfd_create", "ftruncate", "fallocate",
                     "prctl", "msync", "mlockall", "process_madvise", "remap_file_pages"}
CALLS = {
    "mmap": _mmap, "munmap": _munmap, "mprotect": _mprotect, "pkey_mprotect": _pkey_mprotect, "mremap": _mremap,
    "brk": _brk, "madvise": _madvise, "mlock": _mlock, "mlock2": _mlock2, "munlock": _munlock,
    "mlockall": _mlockall, "munlockall": _munlockall, "msync": _msync, "prctl": _prctl,
    "memfd_create": _nothing, "ftruncate": _ftruncate, "fallocate": _fallocate, "shmget": _shmget,
    "shmat": _shmat, "shmdt": _shmdt, "mincore": _nothing, "exit_group": _nothing,
    "remap_file_pages": _remap_file_pages, "process_madvise": _process_madvise,
    # one node: a task's policy and moves between nodes change nothing
    "set_mempolicy": _nothing, "migrate_pages": _nothing, "move_pages": _nothing,
}


def _changed_nothing(memory, name, args, error):
    """Has a call failed for a reason that is not in the trace (a limit, a seal), and left all as it was?

    One over several areas may have changed the first of them: such a one is made again.
    """
    if error == EPERM:
        return True
    if name not in _OF_A_RANGE or error not in (EACCES, ENOMEM, EAGAIN):
        return False
    start, end = args[0], args[0] + args[1]
    areas = [area for area in memory.maps() if area["start"] < end and start < area["end"]]
    if error == EACCES:
        return len(areas) == 1
    whole = sum(min(end, int(area["end"])) - max(start, int(area["start"])) for area in areas) == end - start
    return whole and (not name.startswith("mlock") or all("r" in str(area["perms"]) for area in areas))


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
    args = [value & _MASK for value in event[6]]
    if ret < 0 and (name in ONLY_IF_IT_WORKED or _changed_nothing(memory, name, args, -ret)):
        return None
    if name not in CALLS:
        raise Unsupported(name)
    event = [*event[:6], args, *event[7:]]
    try:
        return CALLS[name](replay, memory, event)
    except OverflowError:
        return -EINVAL
    except SyscallError as error:
        return -error.errno
