"""Performs scenarios on the running kernel and writes down what it shows after every step."""
import errno
import mmap
import os
import signal

from foliosim.live import facts, runs
from foliosim.live.counters import Counters
from foliosim.live.errors import LiveError
from foliosim.live.observe import Observer
from foliosim.live.puppet import MAX_PROCS, SLOTS, Family
from foliosim.verify import leaves, numbers, recording

RUNS = 3  # runs of a scenario that must agree
ROUNDS = 3  # how often this is tried where only counters, which the whole machine shares, did not
ATTEMPTS = 10  # runs that are given up because settings were changed by others
COLD = 20
NO_FILL = -1

_CODES = {("SIGSEGV", 1): "MAPERR", ("SIGSEGV", 2): "ACCERR", ("SIGBUS", 1): "ADRALN", ("SIGBUS", 2): "ADRERR"}
_KINDS = {"memfd": (0, ""), "tmpfs": (1, str(facts.TMPFS)), "disk": (2, str(facts.DISK))}


class UnstableError(LiveError):
    """Runs of a scenario did not agree; `step` is the first where they differ."""

    def __init__(self, step):
        super().__init__(f"runs differ at step {step}")
        self.step = step


class OutsideError(LiveError):
    """At `step` a mapping was placed outside the arena, where nothing is observed."""

    def __init__(self, step, address):
        super().__init__(f"step {step} gave {address:#x}, which is outside the arena")
        self.step = step


def noisy(settings):
    """Do other processes get large folios too?  Then counters say nothing."""
    return settings["thp_enabled"] == "always" or "always" in settings["mthp"].values()


def check_steps(steps):
    """Check steps before any of them is performed.

    Raises
    ------
    LiveError
        A step is not in the scenario format, names a process that does not live or a file that does not exist.
    """
    alive, files = {"p0"}, set()
    for number, step in enumerate(steps):
        where = f"step {number}"
        try:
            recording.check_step(where, step)
        except recording.FormatError as error:
            raise LiveError(str(error)) from None
        if step["op"] not in recording.STEPS:
            raise LiveError(f"{where}: unknown op {step['op']!r}")
        if step["proc"] not in alive:
            raise LiveError(f"{where}: no process {step['proc']} lives")
        _check_names(where, step, alive, files)


def _check_names(where, step, alive, files):
    op = step["op"]
    if op == "fork":
        if step["child"] in alive or not _slot(step["child"]) < MAX_PROCS:
            raise LiveError(f"{where}: {step['child']} lives already or is not below p{MAX_PROCS}")
        alive.add(step["child"])
    elif op == "exit":
        alive.remove(step["proc"])
    elif op == "file":
        if step["kind"] not in _KINDS:
            raise LiveError(f"{where}: no kind of file {step['kind']!r}")
        if step["kind"] != "memfd" and step.get("fill") is None:
            raise LiveError(f"{where}: only a memfd can do without fill")
        files.add(step["file"])
    elif "file" in step and step["file"] not in files:
        raise LiveError(f"{where}: no file {step['file']}")
    for key in ("file", "id"):
        if key in step and _slot(step[key]) >= SLOTS:
            raise LiveError(f"{where}: {step[key]}: at most {SLOTS} of a kind")


def _slot(name):
    return int(name[1:])


class Recorder:
    """Runs scenarios; use it as a context.

    Parameters
    ----------
    cpu : int, optional
        The processor that this process and those it observes are bound to: folio batches are per CPU.  Default: the
        last one that this process may use.
    """

    def __init__(self, cpu=None):
        reason = facts.why_not()
        if reason is not None:
            raise LiveError(reason)
        self._affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(self._affinity) if cpu is None else cpu})
        self.counters, self._observer = Counters(), Observer()
        self._page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._family = None
        self._outside = self._outside_child = 0
        self._calibrate()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close all files and let this process run on all its processors again."""
        self._observer.close()
        self.counters.close()
        self._page.close()
        os.sched_setaffinity(0, self._affinity)

    def _calibrate(self):
        # Page tables that a process with an empty arena has: they are no part of the observation.
        self._family = Family()
        try:
            for index in range(3):
                if index:
                    self._family.fork(index - 1, index)
                self._observer.attach(index, self._family.procs[index].pid)
            first, child, grandchild = (self._observer.pgtable_kb(index) for index in range(3))
        finally:
            self._end()
        if child != grandchild:
            raise LiveError("page tables outside the arena are not the same in all children")
        self._outside, self._outside_child = first, child

    def _end(self):
        if self._family is not None:
            self._family.end()
            self._family = None
        self._observer.reset()

    def _drain(self):
        # MADV_COLD empties this CPU's folio batches, so that the lists show what each step did.
        self._page.madvise(COLD)

    # ---- scenarios ----

    def run(self, steps, settings, turn):
        """Perform the steps once; returns one expected entry per step.

        Raises
        ------
        LiveError
            A step cannot be performed.
        """
        check_steps(steps)
        for _ in range(ATTEMPTS):
            turn.apply(settings)
            entries = self._run_once(steps, settings)
            if turn.holds(settings):
                return entries
        raise LiveError("another program keeps changing the settings")

    def record(self, steps, settings, turn):
        """Perform the steps until three runs agree; returns one expected entry per step.

        Raises
        ------
        UnstableError
            Runs did not agree.
        """
        for rest in reversed(range(ROUNDS)):
            first = self.run(steps, settings, turn)
            others = [self.run(steps, settings, turn) for _ in range(RUNS - 1)]
            if all(other == first for other in others):
                return first
            if not rest or any(_without_counters(other) != _without_counters(first) for other in others):
                raise UnstableError(first_difference(first, *others))

    def _run_once(self, steps, settings):
        self._family = Family()
        entries = []
        try:
            self._observer.attach(0, self._family.procs[0].pid, self._outside)
            self._observer.state()
            for number, step in enumerate(steps):
                entries.append(self._step(step, noisy(settings)))
                _check_inside(number, step, entries[-1])
        finally:
            self._end()
        return entries

    def _step(self, step, without_counters):
        masked = leaves.counters_masked(step, without_counters)
        self._drain()
        before = None if masked else self.counters.read()
        entry = self._perform(step)
        self._drain()
        if not masked:
            entry.update(self.counters.changes(before, self.counters.read()))
        entry["state"] = self._observer.state()
        return entry

    # ---- operations ----

    def _perform(self, step):
        op, index = step["op"], _slot(step["proc"])
        if op == "fork":
            child = _slot(step["child"])
            puppet = self._family.fork(index, child)
            self._observer.attach(child, puppet.pid, self._outside_child)
            return {"ret": 0}
        if op == "exit":
            self._family.exit(index)
            self._observer.detach(index)
            return {"ret": 0}
        if op == "clear_refs":
            return self._clear_refs(self._family.procs[index].pid, step["value"])
        if op == "file":
            return self._make_file(self._family.procs[index], step)
        return _result(op, self._family.procs[index].call(op, *_ARGUMENTS[op](step)))

    @property
    def other_cpus(self):
        """Processors that are left for other work: all but the one that this process is bound to, if there are any."""
        return (self._affinity - os.sched_getaffinity(0)) or self._affinity

    @staticmethod
    def _clear_refs(pid, value):
        fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        except OSError as error:
            return {"errno": errno.errorcode[error.errno]}
        finally:
            os.close(fd)
        return {"ret": 0}

    def _make_file(self, puppet, step):
        kind, folder = _KINDS[step["kind"]]
        fill = step.get("fill")
        answer = puppet.call("file", _slot(step["file"]), kind, step["length"], NO_FILL if fill is None else fill,
                             text=folder)
        if answer.errno is not None:
            raise LiveError(f"cannot make a {step['kind']} file: {os.strerror(answer.errno)}")
        inode, device = answer.extra
        self._observer.name_file(device >> 32, device & 0xffffffff, inode, step["file"])
        return {"ret": 0}


def _result(op, answer):
    if answer.errno is not None:
        return {"errno": errno.errorcode.get(answer.errno, str(answer.errno))}
    if answer.signal is not None:
        name = signal.Signals(answer.signal).name
        return {"signal": name, "code": _CODES.get((name, answer.code), str(answer.code)), "addr": hex(answer.addr)}
    if op in ("mmap", "mremap"):
        return {"ret": hex(answer.value)}
    result = {"ret": answer.value}
    if answer.data:
        result["data"] = runs.data_runs(answer.data)
    return result


def _check_inside(number, step, entry):
    if step["op"] in ("mmap", "mremap") and "ret" in entry:
        address = int(entry["ret"], 16)
        if not numbers.ARENA <= address < numbers.ARENA + numbers.ARENA_SIZE:
            raise OutsideError(number, address)


def _addr(step, key="addr"):
    return int(step.get(key, "0x0"), 16)


def _range(step, *more):
    return _addr(step), step["length"], *more


def _access(step, *more):
    return _range(step, step.get("stride", numbers.PAGE_SIZE), step.get("offset", 0), *more)


_ARGUMENTS = {
    "mmap": lambda s: _range(s, numbers.PROT[s["prot"]], numbers.mask(s["flags"], numbers.MAP),
                             _slot(s["file"]) if "file" in s else -1, s.get("offset", 0)),
    "munmap": _range,
    "mprotect": lambda s: _range(s, numbers.PROT[s["prot"]]),
    "madvise": lambda s: _range(s, numbers.MADV.get(s["advice"], s["advice"])),
    "mlock": _range,
    "munlock": _range,
    "mlock2": lambda s: _range(s, numbers.mask(s["flags"], numbers.MLOCK)),
    "mremap": lambda s: (_addr(s), s["old_length"], s["new_length"], numbers.mask(s["flags"], numbers.MREMAP),
                         _addr(s, "new_addr")),
    "msync": lambda s: _range(s, numbers.mask(s["flags"], numbers.MSYNC)),
    "mseal": _range,
    "mincore": _range,
    "write": lambda s: _access(s, s["value"], s.get("delta", 0)),
    "read": _access,
    "get": lambda s: (_slot(s["id"]), *_range(s)),
    "peek": lambda s: (_slot(s["id"]),),
    "put": lambda s: (_slot(s["id"]),),
    "pin": lambda s: (_slot(s["id"]), *_range(s)),
    "unpin": lambda s: (_slot(s["id"]),),
    "thp_disable": lambda s: (s["value"], s.get("flags", 0)),
    "ftruncate": lambda s: (_slot(s["file"]), s["length"]),
    "punch": lambda s: (_slot(s["file"]), s["offset"], s["length"]),
}


# ---- comparing runs ----

def _without_counters(entries):
    return [{key: value for key, value in entry.items() if key not in ("vmstat", "mthp_stats")} for entry in entries]


def first_difference(*several):
    """The first step at which runs differ, or None."""
    for number, entries in enumerate(zip(*several)):
        if any(entry != entries[0] for entry in entries):
            return number
    return None
