"""Small traces, made event by event: what a rule of the replay is about and nothing else."""
import json

from foliosim.replay import read_trace
from foliosim.replay.engine import Replay, machine_for

PAGE, HUGE, ARENA = 4096, 2 << 20, 0x7f0000000000
MAPPED = 0x22  # private, anonymous
ALWAYS = {"enabled": "[always] madvise never"}


class Made:
    """A trace in the making.  Each method adds an event; a tid that is left out is the pid."""

    def __init__(self, mode="never", **header):
        thp = {} if mode == "never" else ALWAYS
        self.header = {"format": "foliosim-trace", "version": 1, "name": "made", "mode": mode, "page_size": PAGE,
                       "arch": "x86_64", "root": 100, "thp": thp, "files": {}, "mem_total_kb": 1 << 21, **header}
        self.events = []

    def add(self, kind, pid, *columns):
        self.events.append([kind, 1000 * (len(self.events) + 1), pid, *columns])
        return self

    def execve(self, pid=100, path="/bin/made"):
        return self.add("X", pid, pid, path)

    def program(self, addr, length, perms, extra, offset=0, pid=100):
        return self.add("m", pid, pid, addr, length, offset, perms, extra)

    def call(self, name, *args, ret=0, extra=None, pid=100, tid=None):
        return self.add("c", pid, tid or pid, name, 0, list(args), ret, extra or {})

    def mmap(self, addr=ARENA, length=HUGE, prot=3, flags=MAPPED, fd=-1, offset=0, extra=None, pid=100):
        return self.call("mmap", 0, length, prot, flags, fd, offset, ret=addr, extra=extra, pid=pid)

    def fault(self, addr, flags="w", pid=100, tid=None):
        return self.add("f", pid, tid or pid, addr, flags)

    def fork(self, child, pid=100, flags=0x1200011):
        return self.add("F", pid, pid, child, child, flags)

    def exit(self, pid=100):
        return self.add("E", pid, pid, 1)

    def write(self, path):
        """The trace in a file; returns its path."""
        lines = [self.header | {"events": len(self.events)}, *self.events]
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")
        return path

    def replay(self, tmp_path, machine=None, **options):
        """Replayed; the processes that have not ended are still there."""
        trace = read_trace(self.write(tmp_path / "made.jsonl"))
        replay = Replay(trace, machine or machine_for(trace.header), **options)
        replay.run()
        return replay
