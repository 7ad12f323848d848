"""The text of ``strace -f -ttt -y``, line by line, into events."""
import re

from foliosim.intake import words
from foliosim.intake.events import TRACED

_LINE = re.compile(r"(?:\[pid\s+(\d+)\]\s+|(\d+)\s+)?(\d+)\.(\d{1,9})\s+(.*)")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(\w+)\((.*?)\s*<(?:unfinished|pid changed to \d+) \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>\s?(.*)", re.DOTALL)
_LASTED = re.compile(r"\s+<(\d{1,9}\.\d{1,9})>$")
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_ATTACHED = re.compile(r"strace: Process \d+ (attached|detached)( .*)?")
_FORKS = {"clone", "clone3", "fork", "vfork"}
_FIRST = -1  # who is meant where strace names nobody
CLONE_VM, CLONE_VFORK, CLONE_THREAD = 0x100, 0x4000, 0x10000
_MAP_ANONYMOUS = 0x20
_NUMBERS = {"prctl": 5}  # arguments that a trace has where strace shows fewer


class StraceText:
    """The state between the lines.

    Parameters
    ----------
    events : Events
    complaints : Complaints

    Attributes
    ----------
    program : list of str
        Arguments of the first execve, as far as strace shows them.
    """

    def __init__(self, events, complaints):
        self.events, self.complaints = events, complaints
        self.begun = {}            # tid -> line, name, time, text of the arguments
        self.pid_of = {}           # tid -> pid
        self.forked = {}           # tid -> time of the call that is making a child
        self.program = []
        self.used = 0

    def line(self, number, text):
        """One line."""
        if not text.strip() or _ATTACHED.fullmatch(text):
            return
        match = _LINE.fullmatch(text)
        if match is None:
            self.complaints.add(number, "not a line of strace -f -ttt, or cut off", text)
            return
        tid = int(match[1] or match[2] or _FIRST)
        when = int(match[3]) * 10**9 + int(match[4].ljust(9, "0"))
        try:
            if self._statement(number, when, tid, match[5]):
                self.used += 1
            else:
                self.complaints.add(number, "not a call, or cut off", match[5])
        except words.UnknownWord as error:
            self.complaints.add(number, f"word {str(error)[:30]!r} is not known", match[5])
        except (ValueError, IndexError, AttributeError, TypeError):
            self.complaints.add(number, "broken or cut off", match[5])

    def finish(self):
        """The text has ended."""
        for number, name, *_ in self.begun.values():
            self._lost(number, name)

    def _statement(self, number, when, tid, text):
        self.pid_of.setdefault(tid, tid)
        if text.startswith("---"):
            return True
        if text.startswith("+++"):
            self._end(when, tid, text)
            return True
        if text.endswith(" ...>"):
            name, arguments = _matched(_UNFINISHED, text).groups()
            self.begun[tid] = number, name, when, arguments
            return True
        enter = when
        resumed = _RESUMED.match(text)
        if resumed:
            _, name, enter, arguments = self.begun.pop(tid, (0, "", 0, ""))
            if name != resumed[1]:
                self.complaints.add(number, "return of a call whose beginning is missing", text)
                return True
            text = f"{name}({arguments}{resumed[2]}"
        lasted = _LASTED.search(text)
        text = text[:lasted.start()] if lasted else text
        match = _CALL.fullmatch(text)
        if match is None:
            return False
        if match[2].endswith("<unfinished ...>"):
            self._lost(number, match[1])
            return True
        leave = when if resumed or not lasted else when + int(float(lasted[1]) * 1e9)
        self._call(number, enter, leave, tid, *match.groups())
        return True

    def _lost(self, number, name):
        if name in TRACED or name in _FORKS or name == "execve":
            self.complaints.add(number, "call that does not return", name)

    def _call(self, number, enter, leave, tid, name, text, answer):
        if name not in TRACED and name not in _FORKS and name != "execve":
            return
        pid = self.pid_of[tid]
        if name == "execve":
            if words.result(answer) == 0:
                self._executed(leave, pid, tid, words.split(text))
            return
        ret = words.result(answer)
        if name in _FORKS:
            if ret is not None and ret > 0:
                self._fork(enter, pid, tid, name, text, ret)
            return
        if ret is None and name != "exit_group":  # it was killed, or the kernel starts the call again
            self._lost(number, name)
            return
        parts = words.split(text)
        args = [words.number(part) for part in parts]
        args += [0] * (_NUMBERS.get(name, 0) - len(args))
        where = {}
        if name == "mmap" and not args[3] & _MAP_ANONYMOUS and words.path_of(parts[4]):
            where = {"file": words.path_of(parts[4]), "dev": "00:00", "ino": 0}
            self.events.file(where["file"], "00:00", 0)
        self.events.call(name, pid, tid, enter, leave, args, 0 if ret is None else ret, where)

    def _executed(self, when, pid, tid, parts):
        self.events.add(when, ["X", when, pid, pid, words.unquoted(parts[0])])
        if not self.program:
            self.program = [words.unquoted(part) for part in words.split(parts[1].strip("[]")) if part.startswith('"')]

    def _fork(self, when, pid, tid, name, text, child):
        flags = {"fork": 0, "vfork": CLONE_VM | CLONE_VFORK}.get(name)
        if flags is None:
            flags = words.number(re.search(r"flags=([^,}]+)", text)[1])
        self.pid_of[child] = pid if flags & CLONE_THREAD else child
        self.events.add(when, ["F", when, pid, tid, self.pid_of[child], child, flags])

    def _end(self, when, tid, text):
        superseded = _SUPERSEDED.fullmatch(text)
        if superseded:  # another thread executes a program, and goes on under this one's number
            other = int(superseded[1])
            self.pid_of.pop(other, None)
            if other in self.begun:
                self.begun[tid] = self.begun.pop(other)
        if "exited with" not in text and "killed by" not in text:
            return
        pid = self.pid_of.pop(tid)
        self.events.add(when, ["E", when, pid, tid, int(pid not in self.pid_of.values())])


def _matched(pattern, text):
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match
