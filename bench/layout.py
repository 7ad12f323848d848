"""The layout gate: populate and fork of 4K pages against their floors, and host memory per page.

Run ``python -m bench.layout [--size 16G] [--pairs 5]``; prints a table and writes nothing.
"""
import time

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

import foliosim as fs
from bench.floors import Arrays
from foliosim.sizes import parse_size

PAGE = 4096


def host_bytes():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


def timed(call):
    """Seconds of thread CPU time."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def engine_pair(size):
    """Populate and fork in a new machine, first in memory the host never touched, then again in the same.

    Returns seconds of (populate, fork) cold and (populate, fork) warm, and bytes of host memory per page and mapping.
    """
    pages = size // PAGE
    machine = fs.Machine(memory=4 * size)
    process = machine.spawn()
    addr = process.mmap(size)
    before = host_bytes()
    populate = timed(lambda: process.touch(addr, size, write=True))
    middle = host_bytes()
    children = []
    fork = timed(lambda: children.append(process.fork()))
    memory = (middle - before) / pages, (host_bytes() - middle) / pages
    children.pop().exit()
    process.munmap(addr, size)
    addr = process.mmap(size)
    warm = timed(lambda: process.touch(addr, size, write=True)), timed(lambda: children.append(process.fork()))
    machine.validate()
    return (populate, fork), warm, memory


def floor_pair(size):
    """The same accesses in fresh arrays: seconds."""
    arrays = Arrays(size // PAGE)
    try:
        return tuple((timed(arrays.populate), timed(arrays.fork)) for _ in ("cold", "warm"))
    finally:
        arrays.close()


def huge_bytes(size):
    """Bytes of host memory per 4 KiB of memory mapped by PMDs."""
    machine = fs.Machine(memory=2 * size, thp="always")
    process = machine.spawn()
    addr = process.mmap(size)
    before = host_bytes()
    process.touch(addr, size, write=True)
    return (host_bytes() - before) / (size // PAGE)


def untouched_bytes(size):
    """Bytes of host memory per 4 KiB of memory mapped and never touched."""
    machine = fs.Machine(memory=2 * size)
    before = host_bytes()
    machine.spawn().mmap(size)
    return (host_bytes() - before) / (size // PAGE)


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def measure(size, pairs):
    """Rows (what, ours, floor, ratio, limit) of the gate; times are ns per page, medians of pairs A B A B."""
    runs = [(engine_pair(size), floor_pair(size)) for _ in track(range(pairs), description="pairs")]
    ns = 1e9 / (size // PAGE)
    rows = []
    for heat, name in enumerate(("cold", "warm")):
        for at, what in enumerate(("populate", "fork")):
            pairs = [(ours[heat][at], floor[heat][at]) for ours, floor in runs]
            rows.append((f"{what} {name}, ns per page", median(o for o, _ in pairs) * ns,
                         median(f for _, f in pairs) * ns, median(o / f for o, f in pairs), 6.0))
    memory = [ours[2] for ours, _ in runs]
    rows.append(("host bytes per page", median(page for page, _ in memory), None, None, 40.0))
    rows.append(("host bytes per page mapped twice", median(map(sum, memory)), None, None, 48.0))
    rows.append(("host bytes per 4 KiB of a 2 MiB folio", huge_bytes(size), None, None, 2.0))
    rows.append(("host bytes per 4 KiB never touched", untouched_bytes(size), None, None, 0.01))
    return rows


def met(row):
    what, ours, _, ratio, limit = row
    return (ours if ratio is None else ratio) <= limit


@click.command()
@click.option("--size", default="16G", show_default=True, help="Memory to populate and fork.")
@click.option("--pairs", default=5, show_default=True, help="Alternating runs of engine and floor.")
def main(size, pairs):
    """Measure the layout gate and print it."""
    rows = measure(parse_size(size), pairs)
    table = Table(title=f"layout gate, {size} in 4K pages")
    for name in ("what", "ours", "floor", "ratio", "limit", "met"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        what, ours, floor, ratio, limit = row
        table.add_row(what, f"{ours:.2f}", "" if floor is None else f"{floor:.2f}",
                      "" if ratio is None else f"{ratio:.2f}", f"{limit:g}", "yes" if met(row) else "NO")
    Console().print(table)
    raise SystemExit(0 if all(map(met, rows)) else 1)


if __name__ == "__main__":
    main()
