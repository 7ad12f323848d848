"""A long operation that a SIGINT ends: ``python interrupted.py WHAT`` says when it begins, then how it ended.
``python interrupted.py`` interrupts each of them and prints how long that took.

Most would take half a minute or more, with little memory: a compiled policy sleeps whenever it is asked.
"""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import foliosim as fs
from compiled_policies import slow

WHATS = ("touch", "populate", "lock", "fork", "munmap", "dontneed", "leave", "pin", "in_a_hook", "again_and_again",
         "joined_by_a_hook")
HUGE, FOLIOS, AT = 2 << 20, 10_000, 1 << 40
SIZE = FOLIOS * HUGE
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


class Long:
    """A process with an area of huge folios, nothing of which is there, or all of it."""

    def __init__(self, *, filled=True, locked=False):
        self.machine = fs.Machine(memory="64G", thp="always")
        self.process = self.machine.spawn()
        self.process.mmap(SIZE, addr=AT, flags=FIXED)
        if locked:
            self.process.mlock(AT, SIZE)
        elif filled:
            self.process.touch(AT, SIZE, write=True)

    def rss(self):
        return self.process.counts()["rss_anon"] << 12

    def part_is_there(self):
        assert 0 < self.rss() < SIZE and len(self.process.maps()) == 1


def touch():
    case = Long(filled=False)
    yield case, "fault_order", lambda: case.process.touch(AT, SIZE, write=True)
    case.part_is_there()


def populate():
    case = Long(filled=False)
    yield case, "fault_order", lambda: case.process.madvise(AT, SIZE, fs.MADV_POPULATE_WRITE)
    case.part_is_there()


def lock():
    case = Long(filled=False)
    yield case, "fault_order", lambda: case.process.mlock(AT, SIZE)
    case.part_is_there()
    assert case.process.counts()["locked_vm"] << 12 == SIZE     # the area is, as after a signal in Linux


def fork():
    case = Long()
    case.process.mmap(SIZE, addr=AT + SIZE, flags=FIXED)
    case.process.touch(AT + SIZE, SIZE, write=True)
    for at in range(AT, AT + 2 * SIZE, HUGE):
        case.process.pin_user_pages(at, 4096, longterm=True, write=True)
    before = case.machine.vmstat()["nr_free_pages"]
    yield case, None, case.process.fork          # splits each folio, and copies its pages
    assert [one.pid for one in case.machine.processes()] == [case.process.pid]
    assert case.rss() == 2 * SIZE and case.machine.vmstat()["nr_free_pages"] > before - FOLIOS


def munmap():
    case = Long(locked=True)
    yield case, "mlock_rule", lambda: case.process.munmap(AT, SIZE)
    case.part_is_there()
    case.process.munmap(AT, SIZE)
    assert case.rss() == 0 and len(case.process.maps()) == 0


def dontneed():
    case = Long(locked=True)
    yield case, "mlock_rule", lambda: case.process.madvise(AT, SIZE, fs.MADV_DONTNEED_LOCKED)
    case.part_is_there()


def leave():
    case = Long(locked=True)
    yield case, "mlock_rule", case.process.exit
    case.part_is_there()
    case.process.exit()
    assert case.machine.processes() == []


def pin():
    case = Long(filled=False)
    yield case, "fault_order", lambda: case.process.pin_user_pages(AT, SIZE, write=True)
    case.part_is_there()


def in_a_hook():
    case = Long(filled=False)

    def order(*_):
        time.sleep(0.01)
        return "mthp"

    case.machine.set_policy({"fault_order": order})
    yield case, None, lambda: case.process.touch(AT, SIZE, write=True)
    case.part_is_there()


def again_and_again():
    """What is not ended in the middle, because Linux does not do that either or because it is a copy: each is short."""
    case = Long(filled=False)
    machine, process, small = case.machine, case.process, 1 << 30
    process.madvise(AT, small, fs.MADV_NOHUGEPAGE)
    process.touch(AT, small, write=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "machine"
        machine.save(path)

        def operate():
            while True:
                process.mprotect(AT, small, fs.PROT_READ)
                process.mprotect(AT, small, fs.PROT_READ | fs.PROT_WRITE)
                process.mlock(AT, small)
                process.munlock(AT, small)
                process.mremap(AT, small, small, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, new_addr=AT + SIZE)
                process.mremap(AT + SIZE, small, small, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, new_addr=AT)
                machine.branch()
                machine.save(path)

        yield case, None, operate
        assert case.rss() == small and os.listdir(folder) == ["machine"]
        fs.Machine.load(path).validate()


def joined_by_a_hook():
    """A hook may not wait for a thread that needs the machine: nothing goes on, until Ctrl-C ends the wait."""
    case = Long(filled=False)

    def order(*_):
        other = threading.Thread(target=case.machine.vmstat, daemon=True)
        other.start()
        other.join()

    case.machine.set_policy({"fault_order": order})
    yield case, None, lambda: case.process.touch(AT, SIZE, write=True)


def waiting():
    case = Long(filled=False)
    case.machine.set_policy({"fault_order": slow(3_000)})
    touch = threading.Thread(target=case.process.touch, args=(AT, SIZE), kwargs={"write": True}, daemon=True)

    def wait():
        touch.start()
        while True:
            case.machine.vmstat()

    yield case, None, wait


def main(what):
    steps = globals()[what]()
    case, point, operation = next(steps)
    if point:
        case.machine.set_policy({point: slow(3_000)})
    print("begins", flush=True)
    try:
        operation()
    except KeyboardInterrupt:
        print("ended", flush=True)
    if what == "waiting":
        os._exit(0)      # the other thread goes on
    case.machine.set_policy("linux-6.18")
    case.machine.validate()
    next(steps, None)
    case.machine.validate()
    print("valid", flush=True)


def latency(what):
    """Seconds from a SIGINT to the operation's end."""
    child = subprocess.Popen([sys.executable, __file__, what], stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    time.sleep(0.5)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    ended = child.stdout.readline()
    took = time.monotonic() - began
    child.communicate()
    assert ended == "ended\n", f"{what}: {ended}"
    return took


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        for name in WHATS:
            print(f"{name}: {latency(name):.3f} s", flush=True)
