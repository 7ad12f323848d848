"""Reads what /proc shows of the arena of all processes, in the form that scenario files have."""
import os
import re

import numpy as np

from foliosim.live import runs
from foliosim.verify import numbers

ARENA, ARENA_END = numbers.ARENA, numbers.ARENA + numbers.ARENA_SIZE
PAGES = numbers.ARENA_SIZE // numbers.PAGE_SIZE
PRESENT = np.uint64(1 << 63)
PFN = np.uint64((1 << 55) - 1)
BITS_SHIFT = np.uint64(55)
SMAPS_LEFT_OUT = frozenset(("Size", "KernelPageSize", "MMUPageSize", "ProtectionKey"))
GAP = 32  # frames that no process maps, read along rather than read around

_HEADER = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)", re.M)


def _read_all(fd):
    parts, at = [], 0
    while part := os.pread(fd, 1 << 18, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts).decode()


def _status_kb(status, name):
    return int(status.partition(f"\n{name}:")[2].split(None, 1)[0])


class _Process:
    """Open files of a process, and its pages at the last observation."""

    def __init__(self, pid, outside_kb):
        self.outside_kb = outside_kb
        self.seen = np.zeros(PAGES, np.uint64)
        self._fds = [os.open(f"/proc/{pid}/{leaf}", os.O_RDONLY | os.O_CLOEXEC)
                     for leaf in ("smaps", "pagemap", "status")]
        self.smaps_fd, self.pagemap_fd, self.status_fd = self._fds

    def pagemap(self, areas):
        """Pagemap words of the arena; only areas can have any."""
        words = np.zeros(PAGES, np.uint64)
        for start, end in areas:
            start, end = max(start, ARENA), min(end, ARENA_END)
            part = os.pread(self.pagemap_fd, (end - start) // 512, start // 512)
            first = (start - ARENA) // numbers.PAGE_SIZE
            words[first:first + len(part) // 8] = np.frombuffer(part, np.uint64)
        return words

    def close(self):
        for fd in self._fds:
            os.close(fd)


class Observer:
    """Observes the processes that are attached to it."""

    def __init__(self):
        self._flags_fd = os.open("/proc/kpageflags", os.O_RDONLY | os.O_CLOEXEC)
        self._count_fd = os.open("/proc/kpagecount", os.O_RDONLY | os.O_CLOEXEC)
        self._procs = {}
        self._files = {}

    # ---- what is observed ----

    def attach(self, index, pid, outside_kb=0):
        """Observe a process whose page tables outside the arena take `outside_kb`."""
        self._procs[index] = _Process(pid, outside_kb)
        self._procs = dict(sorted(self._procs.items()))

    def detach(self, index):
        """Observe a process no longer."""
        self._procs.pop(index).close()

    def name_file(self, major, minor, inode, name):
        """From now on an area of this file is called `name`."""
        self._files[major, minor, inode] = name

    def reset(self):
        """Forget all processes and files."""
        for index in list(self._procs):
            self.detach(index)
        self._files = {}

    def close(self):
        """Close all files."""
        self.reset()
        os.close(self._flags_fd)
        os.close(self._count_fd)

    def pgtable_kb(self, index):
        """Page tables of a whole process (VmPTE)."""
        return _status_kb(_read_all(self._procs[index].status_fd), "VmPTE")

    # ---- the observation ----

    def state(self):
        """The ``state`` of an expected entry."""
        vmas, words = {}, {}
        for index, proc in self._procs.items():
            vmas[index] = self._vmas(index, proc)
            areas = ((int(vma["start"], 16), int(vma["end"], 16)) for vma in vmas[index])
            words[index] = proc.pagemap(areas)
        frame_of, frames = self._frames(words)
        procs = {f"p{index}": self._proc(proc, vmas[index], words[index], frame_of)
                 for index, proc in self._procs.items()}
        return {"procs": procs, "frames": frames}

    def _vmas(self, index, proc):
        text = _read_all(proc.smaps_fd)
        headers = list(_HEADER.finditer(text))
        found = []
        for number, header in enumerate(headers):
            start, end = int(header[1], 16), int(header[2], 16)
            if start >= ARENA_END or end <= ARENA:
                continue
            stop = headers[number + 1].start() if number + 1 < len(headers) else len(text)
            found.append(self._vma(index, header, text[text.index("\n", header.end()) + 1:stop]))
        return found

    def _vma(self, index, header, body):
        vma = {"start": hex(int(header[1], 16)), "end": hex(int(header[2], 16)), "perms": header[3]}
        inode = int(header[7])
        if inode:
            identity = int(header[5], 16), int(header[6], 16), inode
            vma["file"] = self._files.get(identity, "shmem")
            vma["offset"] = int(header[4], 16)
        smaps, flags = {}, []
        for line in body.splitlines():
            name, _, rest = line.partition(":")
            if name == "VmFlags":
                flags = rest.split()
            elif name not in SMAPS_LEFT_OUT and not (index and name == "Referenced"):
                value = int(rest.split()[0])
                if value:
                    smaps[name] = value
        return {**vma, "smaps": smaps, "flags": flags}

    def _frames(self, words):
        """A function from pagemap words to canonical frame numbers, and the runs of all frames."""
        pfns = [(w & PFN)[(w & PRESENT) != 0] for w in words.values()]
        every = np.concatenate(pfns) if pfns else np.zeros(0, np.uint64)
        every = every[every != 0]
        known, first = np.unique(every, return_index=True)  # ascending; where each was met first
        order = np.argsort(first, kind="stable")
        number = np.empty(len(known), np.int64)
        number[order] = np.arange(len(known))

        def frame_of(w):
            pfn = np.where((w & PRESENT) != 0, w & PFN, np.uint64(0))
            at = np.minimum(np.searchsorted(known, pfn), max(len(known) - 1, 0))
            return np.where(pfn != 0, number[at], -1) if len(known) else np.full(len(w), -1)

        flags, counts = self._of_frames(known)
        zero = (flags & np.uint64(numbers.KPF["ZERO_PAGE"])) != 0
        flags &= np.where(zero, np.uint64(numbers.KPF_ZERO_MASK), np.uint64(numbers.KPF_MASK))
        return frame_of, runs.frame_runs(flags[order], counts[order])

    def _of_frames(self, pfns):
        # Flags and map counts of some frames, from two files that have one word for each frame of the machine.
        if not len(pfns):
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        bounds = np.flatnonzero(np.diff(pfns) > GAP) + 1
        firsts = pfns[np.append(0, bounds)].astype(np.int64)
        lengths = pfns[np.append(bounds, len(pfns)) - 1].astype(np.int64) - firsts + 1
        ends = np.cumsum(lengths)
        # A frame's word lies as far into its piece as the frame into the piece's frames.
        shift = np.repeat(ends - lengths - firsts, np.diff(np.append(np.append(0, bounds), len(pfns))))
        at = pfns.astype(np.int64) + shift
        found = []
        for fd in (self._flags_fd, self._count_fd):
            words = np.zeros(int(ends[-1]), np.uint64)
            room = memoryview(words).cast("B")
            for first, end, length in zip((firsts * 8).tolist(), (ends * 8).tolist(), (lengths * 8).tolist()):
                os.preadv(fd, (room[end - length:end],), first)
            found.append(words[at])
        return found

    @staticmethod
    def _proc(proc, vmas, words, frame_of):
        bits = words >> BITS_SHIFT
        at = np.flatnonzero(bits)
        shown = words[at]
        pages = runs.page_runs(ARENA + at * numbers.PAGE_SIZE, bits[at].astype(np.int64), frame_of(shown))
        before = proc.seen
        moved = ((before & words & PRESENT) != 0) & (((before ^ words) & PFN) != 0)
        changed = ARENA + np.flatnonzero(moved) * numbers.PAGE_SIZE
        proc.seen = words
        status = _read_all(proc.status_fd)
        return {
            "vmas": vmas, "pages": pages, "changed": runs.address_runs(changed) if len(changed) else [],
            "locked_kb": _status_kb(status, "VmLck"), "pgtable_kb": _status_kb(status, "VmPTE") - proc.outside_kb,
        }
