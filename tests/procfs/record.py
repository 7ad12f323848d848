"""Record what the live kernel's /proc and /sys show of given states, for the tests of foliosim.procfs.

usage: python record.py [NAME...]       (root, x86-64; all states, or those named)

Writes golden/NAME.json: the steps that make the state, in the words of scenario-format.md, and the text and words that
the kernel showed.  It changes the transparent_hugepage settings while it runs and restores them.  Every state is made
twice; one that differs is refused.  What cannot be equal on two machines is rewritten by masks.py before it is stored.
"""
import contextlib
import ctypes
import json
import mmap
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import masks                                            # noqa: E402
import readers                                          # noqa: E402
from states import DEFAULT, STATES                      # noqa: E402
from tracee import PAGE, SETUP, STARTED, Tracee         # noqa: E402

from foliosim.verify import numbers                     # noqa: E402

THP = Path("/sys/kernel/mm/transparent_hugepage")
CPU = 0


class Recorder:
    """Performs the steps of one state on the kernel."""

    def __init__(self):
        self.procs = {}
        self.files = {}
        self.page = mmap.mmap(-1, PAGE)
        self.page[0] = 1

    def perform(self, step):
        if step["op"] == "file":        # opened before the process was started
            return
        if step["op"] == "fork":
            self.procs[step["child"]] = self.procs[step["proc"]].fork()
        elif step["op"] == "exit":
            self.procs.pop(step["proc"]).exit()
        elif step["op"] == "clear_refs":
            Path(f"/proc/{self.procs[step['proc']].pid}/clear_refs").write_text(str(step["value"]))
        elif step["op"] in ("write", "read"):
            addr = int(step["addr"], 16)
            self.procs[step["proc"]].loop(step["op"], addr + step.get("offset", 0), addr + step["length"],
                                          step.get("stride", PAGE), step.get("value", 0), step.get("delta", 0))
        else:
            self.procs[step["proc"]].syscall(step["op"], *arguments(step, self.files))
        self.page.madvise(20, 0, PAGE)                  # MADV_COLD of our own page drains the folio batches of this CPU

    def make(self, steps):
        for step in steps:
            if step["op"] == "file":
                self.files[step["file"]] = open_file(step)
        self.procs["p0"] = Tracee.start(CPU)
        Path(f"/proc/{self.procs['p0'].pid}/clear_refs").write_text("1")
        for step in steps:
            self.perform(step)

    def close(self):
        for process in self.procs.values():
            process.kill()
        for number in self.files.values():
            os.close(number)


def open_file(step):
    """The number of a new open file, which programs that are started inherit."""
    kind = step["kind"]
    if kind == "memfd":
        number = os.memfd_create("foliosim", 0)
    else:
        path = {"tmpfs": "/dev/shm", "disk": "/var/tmp"}[kind] + "/foliosim"
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        os.set_inheritable(number, True)
    os.ftruncate(number, step["length"])
    for at in range(0, step["length"], PAGE) if "fill" in step else ():
        size = min(PAGE, step["length"] - at)
        os.pwrite(number, bytes([(step["fill"] + at // PAGE) % 256]) * size, at)
    if kind == "disk":
        os.fsync(number)
    return number


def arguments(step, files):
    """Arguments of a system call whose op is named like it."""
    addr, op = int(step["addr"], 16), step["op"]
    if op == "mmap":
        return addr, step["length"], numbers.PROT[step["prot"]], numbers.mask(step["flags"], numbers.MAP), \
            files.get(step.get("file"), -1), step.get("offset", 0)
    if op == "mprotect":
        return addr, step["length"], numbers.PROT[step["prot"]]
    if op == "madvise":
        return addr, step["length"], numbers.MADV[step["advice"]]
    if op == "mremap":
        return (addr, step["old_length"], step["new_length"], numbers.mask(step["flags"], numbers.MREMAP),
                int(step.get("new_addr", "0x0"), 16))
    if op == "mlock2":
        return addr, step["length"], numbers.mask(step["flags"], numbers.MLOCK)
    return addr, step["length"], 0


@contextlib.contextmanager
def settings(wanted):
    paths = {THP / "enabled": wanted["thp_enabled"], THP / "shmem_enabled": wanted["shmem_enabled"]}
    paths |= {THP / f"hugepages-{size}/enabled": value for size, value in wanted["mthp"].items()}
    paths |= {THP / f"hugepages-{size}/shmem_enabled": value for size, value in wanted["mthp_shmem"].items()}
    with held(paths):
        yield


@contextlib.contextmanager
def held(paths):
    """Files of settings hold these values meanwhile."""
    found = {path: chosen(path.read_text()) for path in paths}
    try:
        for path, value in paths.items():
            if found[path] != value:
                path.write_text(value)
        yield
    finally:
        for path, value in found.items():
            if chosen(path.read_text()) != value:
                path.write_text(value)


def chosen(text):
    return text[text.index("[") + 1:text.index("]")] if "[" in text else text.strip()


def observe(state):
    recorder = Recorder()
    with settings(DEFAULT | state.get("machine", {})):
        try:
            recorder.make(SETUP[STARTED:] + state["steps"])
            pids = {name: process.pid for name, process in recorder.procs.items()}
            shown = readers.show(Path("/proc"), pids)
            if state.get("sysfs"):
                shown |= {"vmstat": readers.vmstat_rows(Path("/proc/vmstat").read_text()), "sysfs": readers.sysfs(THP)}
        finally:
            recorder.close()
    return masks.masked(shown)


def record(name, state):
    first, second = observe(state), observe(state)
    if first != second:
        raise SystemExit(f"{name}: two runs differ: {masks.difference(first, second)}")
    head = {"made_by": "tests/procfs/record.py", "kernel": platform.release().split("-")[0],
            "machine": DEFAULT | state.get("machine", {})}
    out = {**head, "steps": SETUP + state["steps"], "shown": first}
    (HERE / "golden" / f"{name}.json").write_text(json.dumps(out, indent=1) + "\n")


def main(names):
    os.sched_setaffinity(0, {CPU})
    with held({THP / "khugepaged/scan_sleep_millisecs": "4000000"}):   # khugepaged sleeps once it has seen this
        time.sleep(1)
        for name in names or STATES:
            record(name, STATES[name])
            print(name)


if __name__ == "__main__":
    if os.geteuid() or platform.machine() != "x86_64":
        sys.exit("needs root, on x86-64")
    main(sys.argv[1:])
