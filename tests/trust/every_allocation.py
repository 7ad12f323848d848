"""Each allocation of each operation fails once: ``LD_PRELOAD=failing.so python every_allocation.py`` prints how many.

After each the machine is valid; it is as it was before, where the operation is one that is done or not done.
"""
import ctypes
import sys
import tempfile
from pathlib import Path

import foliosim as fs

PAGE, HUGE = 4096, 2 << 20
AT = 1 << 40
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
failing = ctypes.CDLL(None)
failing.failing_disarm.restype = ctypes.c_long
failing.failing_arm.argtypes = (ctypes.c_long,)


def machine_with(**settings):
    """A machine with a process that has huge, small, shared and file memory, and a child."""
    m = fs.Machine(memory="64M", thp="always", **settings)
    p = m.spawn()
    p.mmap(2 * HUGE, addr=AT, flags=FIXED)
    p.write(AT, 2 * HUGE, value=7)
    p.mprotect(AT + 3 * PAGE, PAGE, fs.PROT_READ)
    for i in range(70):
        p.mmap(PAGE, addr=AT + (1 << 30) + 2 * i * PAGE, flags=FIXED)
    p.mmap(HUGE, addr=AT + (2 << 30), flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.touch(AT + (2 << 30), 16 * PAGE, write=True)
    file = m.create_file("disk", 16 * PAGE, fill=3)
    p.mmap(16 * PAGE, addr=AT + (3 << 30), flags=fs.MAP_PRIVATE | fs.MAP_FIXED, file=file)
    return m, p, file


WHOLE = {   # done, or not done at all
    "spawn": lambda m, p, f: m.spawn(),
    "mmap": lambda m, p, f: p.mmap(PAGE, addr=AT + (1 << 33), flags=FIXED),
    "mmap shared": lambda m, p, f: p.mmap(HUGE, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS),
    "mmap file": lambda m, p, f: p.mmap(PAGE, flags=fs.MAP_SHARED, file=f),
    "fork": lambda m, p, f: p.fork(),
    "pin": lambda m, p, f: p.pin_user_pages(AT, 8 * PAGE),
    "file": lambda m, p, f: m.create_file("memfd", HUGE),
    "hold": lambda m, p, f: m.inject.pin((p, AT)),
    "branch": lambda m, p, f: m.branch(),
    "validate": lambda m, p, f: m.validate(),
    "ledger": lambda m, p, f: m.ledger(),
    "observe": lambda m, p, f: m.observe({"p": p}, AT, AT + (4 << 30)),
    "save": lambda m, p, f: m.save(Path(tempfile.gettempdir()) / "every_allocation.machine"),
}
PARTS = {   # cuts of areas and pages that were dealt with stay
    "munmap": lambda m, p, f: p.munmap(AT + 5 * PAGE, PAGE),
    "munmap of a row": lambda m, p, f: p.munmap(AT + (1 << 30), 140 * PAGE),
    "mprotect": lambda m, p, f: p.mprotect(AT + 7 * PAGE, 2 * PAGE, fs.PROT_READ),
    "madvise": lambda m, p, f: p.madvise(AT + 9 * PAGE, PAGE, fs.MADV_NOHUGEPAGE),
    "mlock": lambda m, p, f: p.mlock(AT + 9 * PAGE, PAGE),
    "mremap": lambda m, p, f: p.mremap(AT + (1 << 30), PAGE, 3 * PAGE, flags=fs.MREMAP_MAYMOVE),
    "touch": lambda m, p, f: p.touch(AT + (3 << 30), 16 * PAGE, write=True),
    "write": lambda m, p, f: p.write(AT + HUGE, HUGE, value=9, offset=5),
    "write of many bytes": lambda m, p, f: p.write(AT + HUGE, 8 * PAGE, value=1, delta=1, stride=64),
    "cow": lambda m, p, f: p.write(AT + (3 << 30), 16 * PAGE, value=1, offset=9),
    "punch": lambda m, p, f: f.punch(0, 4 * PAGE),
    "reclaim": lambda m, p, f: m.reclaim(64),
    "split": lambda m, p, f: m.split_folio(p.translate(AT) >> 12),
    "collapse": lambda m, p, f: p.madvise(AT, HUGE, fs.MADV_COLLAPSE),
    "exit": lambda m, p, f: p.exit(),
}


def seen(m):
    live = [p for p in m.processes() if p.alive]
    return [(p.pid, p.smaps().tolist(), p.pagemap(AT, 2 * HUGE).tolist(), p.read(AT, 16 * PAGE, stride=64)) for p in live]


def every(name, operation, whole):
    nth = failed = 0
    while True:
        nth += 1
        m, p, f = machine_with(swap="8M")
        before = seen(m)
        failing.failing_arm(nth)
        try:
            kept = operation(m, p, f)
        except (MemoryError, OSError) as error:
            kept = error
        finally:
            calls = failing.failing_disarm()
        m.validate()
        if calls < nth:
            return failed
        failed += 1
        if whole and isinstance(kept, MemoryError):
            assert str(kept), f"{name}, allocation {nth}: the error does not say what was asked for"
            assert seen(m) == before, f"{name}, allocation {nth}: not as it was"
        operation(m, p, f) if not isinstance(kept, fs.Process) and p.alive else None
        m.validate()


def making():
    nth = failed = 0
    while True:
        nth += 1
        failing.failing_arm(nth)
        try:
            fs.Machine(memory="64M", swap="8M", limit="32M")
        except MemoryError as error:
            assert str(error)
        finally:
            calls = failing.failing_disarm()
        if calls < nth:
            return failed
        failed += 1


def main():
    total = making()
    print(f"Machine: {total}")
    for table, whole in ((WHOLE, True), (PARTS, False)):
        for name, operation in table.items():
            if len(sys.argv) > 1 and name not in sys.argv[1:]:
                continue
            failed = every(name, operation, whole)
            print(f"{name}: {failed}", flush=True)
            total += failed
    print(f"{total} allocations failed")


if __name__ == "__main__":
    main()
