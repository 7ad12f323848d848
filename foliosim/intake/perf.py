"""The text of perf script, line by line, into events."""
import re

from foliosim.intake.events import TRACED

# Nothing here takes time that grows faster than the line: no two parts that may both match the same blanks or letters.
_LINE = re.compile(r"(?<!\S)(-?\d+)/(-?\d+)\s+\[-?\d+\]\s+(\d{1,10})\.(\d{6,9}):\s+")
_MMAP = re.compile(r"PERF_RECORD_MMAP2? (-?\d+)/(-?\d+): \[(0x[0-9a-f]+)\((0x[0-9a-f]+)\) @ (0x[0-9a-f]+|0) ?"
                   r"([^\]]*)\]: (\S+) (.*)")
_DEVICE = re.compile(r"([0-9a-f]+:[0-9a-f]+) (\d+) \d+")
_FORK = re.compile(r"PERF_RECORD_FORK\((-?\d+):(-?\d+)\):\((-?\d+):(-?\d+)\)")
_LOST = re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)?\s.*?(\d+)")
_EXEC = re.compile(r"PERF_RECORD_COMM exec: .*:(-?\d+)/(-?\d+)$")
_PASSED_OVER = ("PERF_RECORD_COMM", "PERF_RECORD_EXIT", "PERF_RECORD_ITRACE", "PERF_RECORD_SWITCH",
                "PERF_RECORD_NAMESPACES", "PERF_RECORD_CGROUP", "PERF_RECORD_KSYMBOL", "PERF_RECORD_BPF_EVENT")
_USER_END = 0x7ffffffff000
_CLONE_THREAD = 0x10000
_INTS = {"mmap": (4,)}  # arguments that are an int, which may be negative: perf shows 32 or 64 bits of it
_MAP_ANONYMOUS = 0x20


class NotUsed(Exception):
    """A line that cannot be used; the message is its kind."""


class PerfText:
    """The state between the lines.

    Parameters
    ----------
    events : Events
    complaints : Complaints
    """

    def __init__(self, events, complaints):
        self.events, self.complaints = events, complaints
        self.entered = {}          # tid -> line, name, time, args, what it mapped
        self.loading = {}          # pid -> X event, until sched_process_exec
        self.children = {}         # tid of a child -> its pid, from PERF_RECORD_FORK
        self.used = 0

    def line(self, number, text):
        """One line."""
        if not text.strip() or text.startswith("#"):
            return
        match = _LINE.search(text)
        if match is None:
            self.complaints.add(number, "not a line of perf script, or cut off", text)
            return
        (pid, tid, seconds, parts), rest = match.groups(), text[match.end():]
        when = int(seconds) * 10**9 + int(parts.ljust(9, "0"))
        try:
            self._event(number, when, int(pid), int(tid), rest)
            self.used += 1
        except NotUsed as error:
            self.complaints.add(number, str(error), rest)
        except (ValueError, KeyError, IndexError, TypeError):  # a word where a number belongs
            self.complaints.add(number, "broken or cut off", rest)

    def finish(self):
        """The text has ended."""
        for number, name, *_ in self.entered.values():
            self.complaints.add(number, "call that does not return", name)

    def _event(self, number, when, pid, tid, rest):
        name, _, text = rest.partition(": ")
        if rest.startswith("PERF_RECORD_"):
            self._record(when, rest)
        elif name.startswith("syscalls:sys_enter_"):
            self._enter(number, when, pid, tid, name[len("syscalls:sys_enter_"):], text)
        elif name.startswith("syscalls:sys_exit_"):
            self._leave(when, pid, tid, name[len("syscalls:sys_exit_"):], text)
        elif name in _EVENTS:
            _EVENTS[name](self, when, pid, tid, _values(text, "=") if name != "sched:sched_process_exec" else text)
        else:
            raise NotUsed("event that is not used")

    # ---- records ----

    def _record(self, when, rest):
        if rest.startswith("PERF_RECORD_MMAP"):
            self._mmap(when, *_matched(_MMAP, rest))
        elif rest.startswith("PERF_RECORD_FORK"):
            child_pid, child, _, _ = map(int, _matched(_FORK, rest))
            self.children[child] = child_pid
        elif rest.startswith("PERF_RECORD_COMM exec"):
            pid, tid = map(int, _matched(_EXEC, rest))
            self.loading[pid] = self.events.add(when, ["X", when, pid, tid, ""])
        elif rest.startswith("PERF_RECORD_LOST"):
            self.events.lost += int(_matched(_LOST, rest)[0])
        elif not rest.startswith(_PASSED_OVER):
            raise NotUsed("record that is not used")

    def _mmap(self, when, pid, tid, addr, length, offset, device, perms, name):
        pid, tid = int(pid), int(tid)
        where = self._where(name, device)
        if pid in self.loading:
            self.events.add(when, ["m", when, pid, tid, int(addr, 16), int(length, 16), int(offset, 16), perms, where])
        elif tid in self.entered:
            self.entered[tid][-1].update(where)

    def _where(self, name, device):
        if name.startswith("[") or name.startswith("//anon"):
            return {"name": name}
        match = _DEVICE.fullmatch(device.strip())
        dev, ino = (match[1], int(match[2])) if match else ("00:00", 0)
        self.events.file(name, dev, ino)
        return {"file": name, "dev": dev, "ino": ino}

    # ---- system calls ----

    def _enter(self, number, when, pid, tid, name, text):
        if name not in TRACED:
            return
        args = list(_values(text, ": ").values()) if text.strip() else []
        for at in _INTS.get(name, ()):
            args[at] = (args[at] + (1 << 31)) % (1 << 32) - (1 << 31)
        if name == "exit_group":
            self.events.call(name, pid, tid, when, when, args, 0, {})
            return
        if tid in self.entered:
            self.complaints.add(self.entered[tid][0], "call that does not return", self.entered[tid][1])
        self.entered[tid] = [number, name, when, args, {}]

    def _leave(self, when, pid, tid, name, text):
        if name not in TRACED:
            return
        if tid not in self.entered or self.entered[tid][1] != name:
            raise NotUsed("return of a call whose beginning is missing")
        ret = int(text, 16) if text.strip().startswith("0x") else int(text)
        ret -= (1 << 64) if ret >> 63 else 0
        _, _, enter, args, where = self.entered.pop(tid)
        of_file = name == "mmap" and not args[3] & _MAP_ANONYMOUS and "file" in where
        self.events.call(name, pid, tid, enter, when, args, ret, where if of_file else {})

    # ---- tracepoints ----

    def _fault(self, when, pid, tid, values, kernel=""):
        address, code = values["address"], values["error_code"]
        if address >= _USER_END:
            return
        flags = ("x" if code & 16 else "w" if code & 2 else "r") + ("p" if code & 1 else "") + kernel
        self.events.add(when, ["f", when, pid, tid, address, flags])

    def _kernel_fault(self, when, pid, tid, values):
        self._fault(when, pid, tid, values, "k")

    def _new_task(self, when, pid, tid, values):
        flags, child = int(str(values["clone_flags"]), 16), int(values["pid"])
        thread = bool(flags & _CLONE_THREAD)
        self.events.add(when, ["F", when, pid, tid, self.children.get(child, pid if thread else child), child, flags])

    def _executed(self, when, pid, tid, text):
        path = re.match(r"filename=(.*) pid=\d+ old_pid=\d+$", text)
        if path is None:
            raise ValueError(text)
        event = self.loading.pop(pid, None) or self.events.add(when, ["X", when, pid, tid, ""])
        event[4] = path[1]

    def _exited(self, when, pid, tid, values):
        alone = str(values.get("group_dead", "true" if pid == tid else "false")) == "true"
        self.events.add(when, ["E", when, pid, tid, int(alone)])

    def _allocated(self, when, pid, tid, values):
        gfp, order = str(values["gfp_flags"]), int(values["order"])
        if order and ("TRANSHUGE" in gfp or "HIGHUSER" in gfp):
            self.events.add(when, ["A", when, pid, tid, order, gfp])


_EVENTS = {
    "exceptions:page_fault_user": PerfText._fault, "exceptions:page_fault_kernel": PerfText._kernel_fault,
    "task:task_newtask": PerfText._new_task, "sched:sched_process_exec": PerfText._executed,
    "sched:sched_process_exit": PerfText._exited, "kmem:mm_page_alloc": PerfText._allocated,
}


def _matched(pattern, text):
    match = pattern.match(text)
    if match is None:
        raise ValueError(text)
    return match.groups()


def _values(text, equals):
    """``name: 0x1, other: 0x2`` or ``name=1 other=2``: name to value; numbers in hexadecimal begin with 0x."""
    pattern = r"\b(\w+)=(\S+)" if equals == "=" else r"\b(\w+): ([^,]++)(?:, |$)"
    found = {}
    for name, value in re.findall(pattern, text.strip()):
        found[name] = int(value, 16) if value.startswith("0x") else value
    if equals == ": " and not all(isinstance(value, int) for value in found.values()):
        raise ValueError(text)
    return found
