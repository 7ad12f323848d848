"""Replaying a trace: whole programs on an emulated machine."""
from collections import Counter
from itertools import islice

import numpy as np

from foliosim.errors import UnsupportedError
from foliosim.machine import Machine
from foliosim.replay import calls
from foliosim.replay.again import given_up
from foliosim.replay.events import CLONE_THREAD, CLONE_VM
from foliosim.replay.files import Files
from foliosim.replay.granule import GranularMemory
from foliosim.replay.memory import Memory
from foliosim.replay.program import Program
from foliosim.replay.truth import Loaded
from foliosim.sizes import parse_size

_ARCHES = {"aarch64": "arm64"}  # what uname calls it
_BUS_ERROR, _REFUSED = 3, 2
_KEPT = 20  # details of this many oddities of each kind


class Space:
    """An address space and those who use it: the threads of a process, and after vfork its child too.

    Attributes
    ----------
    memory : Memory
    process : Process
        The memory's.
    users : int
        Processes that use it.
    program : Program
        What execve builds in it; None in a child of fork: there is nothing to build.
    attached : dict of int to int
        Shared memory segments: address to length.
    """

    def __init__(self, memory, program=None, program_end=0):
        self.memory, self.process = memory, memory.process
        self.program = program
        self._program_end = program_end
        self.users, self.attached = 1, {}

    def fork(self):
        """That of a child."""
        child = Space(self.memory.fork(), None, self.program_end)
        child.attached.update(self.attached)
        return child

    @property
    def program_end(self):
        """Where the heap starts, for all that execve tells."""
        return self.program.end if self.program else self._program_end


class Replay:
    """A trace on its way through a machine.

    Parameters
    ----------
    trace : Trace
    machine : Machine
        From `machine_for`, or another one to ask what if.
    thp_disabled : bool
        The first program starts under PR_SET_THP_DISABLE.
    thp_is_recorded : bool
        Calls of PR_SET_THP_DISABLE in the trace count.
    loaded : callable, optional
        ``loaded(pid, number)``: what a truth says of the number-th execve of a process, or None; see `Loaded`.

    Attributes
    ----------
    spaces : dict of int to Space
        By pid, of those that have one.
    faults, found : numpy.ndarray of int64
        Page faults taken so far, and faults of the trace that found their page mapped, by the number that `number_of`
        gives.
    odd : dict of str to Counter
        What was not as recorded, or could not be done: kind to counts by detail.
    """

    def __init__(self, trace, machine, *, thp_disabled=False, thp_is_recorded=True, loaded=None):
        self.trace, self.machine = trace.without(given_up(trace)), machine
        trace = self.trace
        self.thp_disabled, self.thp_is_recorded = thp_disabled, thp_is_recorded
        self.loaded = loaded or (lambda pid, number: None)
        self.files = Files(machine, trace)
        pids = np.unique(np.concatenate([trace.pid, np.fromiter(_pids(trace.events), np.int64)]))
        self.number_of = {pid: number for number, pid in enumerate(pids.tolist())}
        self._who = np.searchsorted(pids, trace.pid).astype(np.int32)
        self._series = machine.core.touch.AccessSeries(machine, len(pids))
        self._outcome = np.empty(len(trace.time), np.uint8)
        self.faults, self.found = np.zeros(len(pids), np.int64), np.zeros(len(pids), np.int64)
        self.spaces, self.segments, self.execs = {}, {}, Counter()
        self.odd = {"refused": Counter(), "differs": Counter(), "unsupported": Counter(), "nobody": Counter()}
        self.allocations = Counter()
        self._names = {}
        self.now = self._next = self._touched = 0
        self._sample, self._moments = None, []

    # ---- the run ----

    def run(self, snapshot=None, progress=None, sample=None, moments=()):
        """Replay all events; those that are left, in a copy that was made at a snapshot.

        Parameters
        ----------
        snapshot : callable, optional
            Called with the event at each ``S``.
        progress : callable, optional
            Called with the number of events done, from time to time.
        sample : callable, optional
            Called when the trace has come to, or just behind, each of some moments; `now` is the trace's time then.
        moments : sequence of int
            Ascending, ns.
        """
        self._sample, self._moments = sample, list(moments[::-1]) if sample else []
        step = max(1, len(self.trace.events) // 200)
        apply = {"c": self._call, "X": self._exec, "m": self._map, "F": self._fork, "E": self._exit, "A": self._alloc,
                 "S": snapshot or _ignore}
        left = islice(zip(self.trace.events, self.trace.before.tolist()), self._next, None)
        for at, (event, before) in enumerate(left, self._next):
            self._touch_up_to(before)
            self._next, self.now = at + 1, event[1]
            apply[event[0]](event)
            self._look()
            if progress is not None and at % step == 0:
                progress(at + self._touched)
        self._touch_up_to(len(self.trace.time))
        if progress is not None:
            progress(len(self.trace))

    def close(self):
        """End what still runs."""
        for pid in list(self.spaces):
            self._leave(pid)
        self.files.close()

    def _touch_up_to(self, stop):
        while self._moments and self._touched < stop:
            behind = self._touched + int(np.searchsorted(self.trace.time[self._touched:stop], self._moments[-1]))
            if behind == stop:
                break
            self._touch(self._touched, behind + 1)
            self._touched, self.now = behind + 1, int(self.trace.time[behind])
            self._look()
        self._touch(self._touched, stop)
        self._touched = max(self._touched, stop)

    def _look(self):
        if self._moments and self.now >= self._moments[-1]:
            while self._moments and self.now >= self._moments[-1]:
                self._moments.pop()
            self._sample()

    def _touch(self, start, stop):
        if start == stop:
            return
        trace = self.trace
        outcome = self._outcome[start:stop]
        made = self._series.run(self._who[start:stop], trace.address[start:stop], trace.flags[start:stop], self.faults,
                                self.found, outcome)
        if made == stop - start:
            return
        for at in np.nonzero(outcome)[0].tolist():
            pid, address = int(trace.pid[start + at]), int(trace.address[start + at])
            if outcome[at] == _BUS_ERROR and self._lengthen(pid, address):
                self._touch(start + at, start + at + 1)
            elif outcome[at] >= _REFUSED:
                self.note("refused", f"fault of {pid} at {address:#x}")
            else:
                self.note("nobody", f"faults of {pid} before its first execve")

    def _lengthen(self, pid, address):
        """The access was made, so the file was longer than the trace's header says."""
        process = self.spaces[pid].process
        for file in self.files.files.values():
            for area in process.maps():
                if area["start"] <= address < area["end"] and area["inode"] == file.inode:
                    end = address - int(area["start"]) + int(area["offset"]) + 1
                    if end <= file.length:
                        return False
                    file.ftruncate(end)
                    return True
        return False

    def note(self, kind, detail):
        """Count something that was not as recorded."""
        counter = self.odd[kind]
        counter[detail if detail in counter or len(counter) < _KEPT else "others"] += 1

    # ---- events ----

    def _call(self, event):
        space = self.spaces.get(event[2])
        if space is None:
            self.note("nobody", f"calls of {event[2]} before its first execve")
            return
        before = self._series.pgfault
        try:
            got = calls.call(self, space.memory, event)
        except (calls.Unsupported, UnsupportedError) as error:
            self.note("unsupported", str(error))
            return
        self.faults[self.number_of[event[2]]] += self._series.pgfault - before
        if got is not None and got != event[7]:
            self.note("differs", f"{event[4]}{tuple(event[6])} of {event[2]}: {got}, recorded {event[7]}")

    def _exec(self, event):
        pid = event[2]
        old = self.spaces.get(pid)
        process = self.machine.spawn()
        if self.thp_disabled if old is None else self.machine.core.procfs.thp_disable(old.process) == 1:
            process.prctl_thp_disable(1)
        if old is not None and self.machine.core.procfs.memory_merge(old.process):
            process.prctl_memory_merge(1)
        memory = self._memory(process)
        loaded = self.loaded(pid, self.execs[pid]) or Loaded()
        program = Program(memory, self.files, loaded)
        self.faults[self.number_of[pid]] += loaded.arguments
        self.execs[pid] += 1
        self._leave(pid)
        self._enter(pid, Space(memory, program))

    def _memory(self, process):
        page = self.trace.header["page_size"]
        return Memory(process) if page == self.machine.page_size else GranularMemory(process, page)

    def _map(self, event):
        space = self.spaces.get(event[2])
        if space is not None and space.program is not None:
            space.program.map(*event[4:9])

    def _fork(self, event):
        _, _, pid, _, child, _, flags = event
        space = self.spaces.get(pid)
        if child == pid or flags & CLONE_THREAD:
            return
        if space is None:
            self.note("nobody", f"forks of {pid} before its first execve")
        elif flags & CLONE_VM:
            space.users += 1
            self._enter(child, space)
        else:
            self._enter(child, space.fork())

    def _exit(self, event):
        if event[4]:
            self._leave(event[2])

    def _alloc(self, event):
        self.allocations[event[4], "anon" if "TRANSHUGE" in event[5] else "file"] += 1

    def _enter(self, pid, space):
        self._leave(pid)
        self.spaces[pid] = space
        self._series.set(self.number_of[pid], space.process)

    def _leave(self, pid):
        space = self.spaces.pop(pid, None)
        self._series.set(self.number_of[pid])
        if space is None:
            return
        space.users -= 1
        if not space.users:
            space.process.exit()

    # ---- what the calls ask ----

    def program_end(self, pid):
        """Where the heap of a program starts, for all that its execve tells."""
        return self.spaces[pid].program_end

    def name_number(self, pointer, extra):
        """A number for the name of an area: equal names, equal numbers."""
        if not pointer:
            return 0
        return self._names.setdefault(extra.get("name", pointer), len(self._names) + 1)


def _pids(events):
    for event in events:
        yield event[2]
        if event[0] == "F":
            yield event[4]


def _ignore(event):
    pass


def recorded_thp(header):
    """The transparent_hugepage settings under which a trace was recorded, as `Machine` takes them.

    Parameters
    ----------
    header : dict

    Returns
    -------
    dict
        ``thp``, ``mthp``, ``shmem_enabled``, ``mthp_shmem``.
    """
    files = {name: _chosen(text) for name, text in header["thp"].items() if isinstance(text, str)}
    sizes = {kind: {name[len("hugepages-"):-len(kind) - 1]: value for name, value in files.items()
                    if name.startswith("hugepages-") and name.endswith("/" + kind)}
             for kind in ("enabled", "shmem_enabled")}
    return {"thp": files.get("enabled", "never"), "mthp": sizes["enabled"],
            "shmem_enabled": files.get("shmem_enabled", "never"), "mthp_shmem": sizes["shmem_enabled"]}


def _chosen(text):
    # "always [madvise] never": madvise
    start, end = text.find("["), text.find("]")
    return text[start + 1:end] if 0 <= start < end else text.strip()


def machine_for(header, policy="linux-6.18", arch=None, page_size=None, **settings):
    """A machine as the one that a trace was recorded on.

    A trace that was recorded with huge pages does not tell which of their pages are zeros: none is taken for one when
    a folio is split, unless the policy decides that (`drop_zero_pages`).  A machine with other pages than the recorded
    one has no settings of folio sizes from it.

    Parameters
    ----------
    header : dict
    policy : str
        A preset.
    arch : str, optional
    page_size : int or str, optional
        At least the recorded one.  Left out: as recorded, or 4K on another architecture.
    **settings
        Of `Machine`, to be used instead.

    Returns
    -------
    Machine

    Raises
    ------
    ValueError
        A page size that is smaller than the recorded one; what `Machine` raises.
    """
    recorded = _ARCHES.get(header["arch"], header["arch"])
    arch = arch or recorded
    size = parse_size(page_size or (header["page_size"] if arch == recorded else "4K"))
    if size < header["page_size"]:
        raise ValueError(f"page_size {page_size or size!r}: the trace has pages of {header['page_size'] >> 10}K, and "
                         "does not tell of smaller ones")
    thp = recorded_thp(header)
    if size != header["page_size"]:
        thp["mthp"] = thp["mthp_shmem"] = {}
    machine = Machine(**{"memory": header["mem_total_kb"] << 10, "policy": policy, "arch": arch, "page_size": size,
                         **thp, **settings})
    if header["mode"] != "never":
        machine.set_policy({"drop_zero_pages": "no"})
    return machine
