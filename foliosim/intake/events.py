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
    numbers : dict
        Pid or tid to its number in the trace; filled by `finish`.  Nobody is 0.
    start : int
        Time of the start, ns; set by `finish`.
    """

    def __init__(self):
        self._found = []
        self.files = {}
        self.lost = self.start = 0
        self.numbers = {}

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

    def drop_before_execve(self):
        """Forget what was before the first execve: it was no part of the program."""
        first = min((when for when, _, event in self._found if event[0] == "X"), default=0)
        self._found = [one for one in self._found if one[0] >= first]

    def finish(self):
        """All events in order, with times from the first one's on and pids from 100 on.

        Returns
        -------
        list of list
        """
        ordered = [event for _, _, event in sorted(self._found, key=lambda one: one[:2])]
        self.start = min((event[1] for event in ordered), default=0)
        for event in ordered:
            for at in _PIDS.get(event[0], (2, 3)):
                event[at] = self._number(event[at])
            event[1] -= self.start
            if event[0] == "c":
                event[5] = max(0, event[5] - self.start)
        return ordered

    def _number(self, pid):
        return self.numbers.setdefault(pid, FIRST_PID + len(self.numbers)) if pid else 0


def counts(events):
    """Number of events of each kind."""
    return dict(Counter(event[0] for event in events))
