"""An operation for which the host has no address space left: ``python limited.py WHAT`` prints the error's message.

The machine must be what it was before, and usable.
"""
import resource
import sys
import tempfile
from pathlib import Path

import foliosim as fs

GIB, AT, SPARSE = 1 << 30, 1 << 40, 1 << 45
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
SPARE = 4 << 20         # bytes of address space that are left

FOLDER = Path(tempfile.mkdtemp())

WHATS = {
    "machine": lambda m, p: fs.Machine(memory="8T"),
    "swap": lambda m, p: fs.Machine(memory="32M", swap="64G"),
    "branch": lambda m, p: m.branch(),
    "save": lambda m, p: m.save(FOLDER / "machine"),
    "pagemap": lambda m, p: p.pagemap(SPARSE, 1 << 42),
    "mincore": lambda m, p: p.mincore(SPARSE, 1 << 42),
    "read": lambda m, p: p.read(AT, GIB, stride=4),
    "write": lambda m, p: p.write(AT, 16 << 20, value=1, delta=1, stride=1),
    "file": lambda m, p: m.create_file("disk", 8 * GIB, fill=1),
}


def seen(machine, process):
    return (machine.vmstat()["nr_free_pages"], process.maps().tolist(), process.counts(), machine.kpageflags(range(5000)).tolist(),
            [one.pid for one in machine.processes()], len(machine.files()))


def main(what):
    machine = fs.Machine(memory="16G", thp="never", swap="1G")
    process = machine.spawn()
    process.mmap(GIB, addr=AT, flags=FIXED)
    process.mmap(1 << 42, addr=SPARSE, flags=FIXED | fs.MAP_NORESERVE)
    process.write(AT, GIB, value=1)
    before = seen(machine, process)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, unlimited[1]))
    try:
        WHATS[what](machine, process)
    except MemoryError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
    machine.validate()
    assert seen(machine, process) == before
    process.write(AT, GIB, value=2)
    assert process.read(AT, 4096) == b"\2"
    FOLDER.rmdir()          # there is nothing in it, not half a file either


if __name__ == "__main__":
    main(sys.argv[1])
