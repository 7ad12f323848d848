"""The events of a text on their way into a trace: order, numbers of processes, times from the start."""
from collections import Counter

FIRST_PID = 100
# The calls whose events a trace has, and those of them that take effect when they begin.
TRACED = frozenset(
    "mmap munmap mprotect pkey_mprotect mremap brk madvise process_madvise mlock mlock2 munlock mlockall munlockall"
    " msync mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages remap_file_pages shmat shmdt shmget"
    " userfaultfd prctl memfd_create ftruncate fallocate mincore exit_group".split())
AT_ENTRY = frozenset(("munmap", "madvise", "exit_group"))
_PR_KEPT = {41, 42, 35, 67, 68, 0x53564d41}  # THP_DISABLE (set, get), SET_MM, MEMORY_MERGE (set, get), SET_VMA
_PIDS = {"F": (2, 3, 4, 5)}


class Events:
    """Events as they are found, in any order of time.

    Attributes
    ----------
    files : dict
        Path to ``dev``, ``ino``, ``size`` of the files that are mapped.
    lost : int
        Records that were lost while recording.
    """

    def __init__(self):
        self._found = []
        self._born = set()
        self.files = {}
        self.lost = 0

    def __len__(self):
        return len(self._found)

    def add(self, when, event):
        """One event; ``when``: the time at which it takes effect, ns."""
        self._found.append((when, len(self._found), event))
        return event

    def call(self, name, pid, tid, enter, leave, args, ret, extra):
        """A system call."""
        if name == "prctl" and args[0] not in _PR_KEPT:
            return
        self.add(enter if name in AT_ENTRY else leave, ["c", leave, pid, tid, name, enter, args, ret, extra])

    def file(self, path, dev, ino):
        """A file that is mapped."""
        self.files.setdefault(path, {"dev": dev, "ino": ino, "size": None})

    def finish(self, start=None):
        """All events in order, with times from the start and pids from 100 on.

        Parameters
        ----------
        start : int, optional
            Time of the start, ns; left out: the first event's.

        Returns
        -------
        list of list
        """
        ordered = [event for _, _, event in sorted(self._found, key=lambda one: one[:2])]
        if start is None:
            start = min((event[1] for event in ordered), default=0)
        numbers = {}
        for event in ordered:
            for at in _PIDS.get(event[0], (2, 3)):
                event[at] = numbers.setdefault(event[at], FIRST_PID + len(numbers))
            event[1] -= start
            if event[0] == "c":
                event[5] = max(0, event[5] - start)
        return ordered


def counts(events):
    """Number of events of each kind."""
    return dict(Counter(event[0] for event in events))
