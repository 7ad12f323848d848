"""How cost grows with the work: ``python -m bench.scaling``.

Populate, fork, munmap and the audit (`Machine.validate`) of ever larger ranges; operations on a part of a process that
grows; a fault among many areas; a terabyte.  CPU time of the thread, the least of some rounds.
"""
import math
import os
import time
from statistics import median

import click
from rich.console import Console
from rich.table import Table

import foliosim as fs
from bench.layout import host_bytes
from foliosim.sizes import parse_size

PAGE, HUGE, GIB = 4096, 2 << 20, 1 << 30
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
AT = 1 << 40
STEPS = ("populate", "fork", "munmap", "validate")
SIZES = [1 << shift for shift in range(30, 39, 2)]


def seconds(call, *args, **keywords):
    """CPU time of a call."""
    start = time.thread_time_ns()
    call(*args, **keywords)
    return (time.thread_time_ns() - start) * 1e-9


def least(rounds, measure):
    """The smallest of each number of some rounds of measure(), a dict."""
    runs = [measure() for _ in range(rounds)]
    return {key: min(run[key] for run in runs) for key in runs[0]}


def whole(size, thp):
    """Seconds of each step for one range."""
    machine = fs.Machine(memory=size + max(size // 64, GIB), thp=thp)
    process, out = machine.spawn(), {}
    process.mmap(size, addr=AT, flags=FIXED)
    out["populate"] = seconds(process.touch, AT, size, write=True)
    out["validate"] = seconds(machine.validate)
    children = []
    out["fork"] = seconds(lambda: children.append(process.fork()))
    children[0].exit()
    out["munmap"] = seconds(process.munmap, AT, size)
    return out


def exponent(first, last, key):
    """Of size in the time, between two measured sizes: 1 is linear."""
    return math.log(last[1][key] / first[1][key]) / math.log(last[0] / first[0])


def part(size, pages=256):
    """Seconds of operations on some pages in the middle of a populated range."""
    machine = fs.Machine(memory=size + max(size // 64, GIB))
    process, at, length, out = machine.spawn(), AT + size // 2, pages * PAGE, {}
    process.mmap(size, addr=AT, flags=FIXED)
    process.touch(AT, size, write=True)

    def rounds():
        return {
            "mprotect": seconds(process.mprotect, at, length, fs.PROT_READ),
            "mprotect back": seconds(process.mprotect, at, length, fs.PROT_READ | fs.PROT_WRITE),
            "mlock": seconds(process.mlock, at, length), "munlock": seconds(process.munlock, at, length),
            "MADV_DONTNEED": seconds(process.madvise, at, length, fs.MADV_DONTNEED),
            "populate": seconds(process.touch, at, length, write=True),
        }

    return least(20, rounds)


def fault_among(areas, total=65_000, faults=4096):
    """A function that gives the nanoseconds of a first fault where so many pages lie in so many areas."""
    machine = fs.Machine(memory="4G", max_map_count=1 << 20)
    process, per = machine.spawn(), total // areas
    stride = (per + 1) * PAGE
    for i in range(areas):
        process.mmap(per * PAGE, addr=AT + i * stride, flags=FIXED)
    pages = [i * 7919 % total for i in range(faults)]
    at = [AT + page // per * stride + page % per * PAGE for page in pages]

    def faulting():
        for addr in at:
            process.touch(addr, PAGE, write=True)

    def once():
        for addr in at:
            process.madvise(addr, PAGE, fs.MADV_DONTNEED)
        return seconds(faulting) / faults * 1e9

    return once


def terabyte(thp):
    """Populate, fork, exit of 1 TiB: seconds, and bytes of host memory after the first two."""
    machine = fs.Machine(memory="1100G", thp=thp)
    process, out, before = machine.spawn(), {}, host_bytes()
    process.mmap(1 << 40, addr=AT, flags=FIXED)
    out["populate"] = seconds(process.touch, AT, 1 << 40, write=True)
    out["bytes"] = host_bytes() - before
    children = []
    out["fork"] = seconds(lambda: children.append(process.fork()))
    out["bytes mapped twice"] = host_bytes() - before
    out["exit"] = seconds(children[0].exit)
    return out


def _print(console, title, head, rows):
    table = Table(title=title)
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_whole(console, largest, rounds):
    for thp, unit, name in (("never", PAGE, "4K page"), ("always", HUGE, "2 MiB folio")):
        sizes = [size for size in SIZES if size <= largest]
        runs = [(size, least(rounds if size < 1 << 36 else 1, lambda size=size, thp=thp: whole(size, thp)))
                for size in sizes]
        rows = [(f"{size >> 30} GiB", *(f"{run[key] / size * unit * 1e9:.2f}" for key in STEPS)) for size, run in runs]
        rows.append(("exponent", *(f"{exponent(runs[0], runs[-1], key):.3f}" for key in STEPS)))
        _print(console, f"ns per {name}", ("size", *STEPS), rows)


def show_part(console, largest):
    small, large = part(GIB), part(min(largest, 1 << 36))
    rows = [(key, f"{small[key] * 1e6:.2f}", f"{large[key] * 1e6:.2f}", f"{large[key] / small[key]:.2f}")
            for key in small]
    _print(console, "microseconds for 256 pages of a process",
           ("operation", "of 1 GiB", f"of {min(largest, 1 << 36) >> 30} GiB", "ratio"), rows)


def show_areas(console):
    few, many = fault_among(10), fault_among(65_000)
    rounds = [(few(), many()) for _ in range(21)]      # in turn: both meet the host in the same mood
    _print(console, "ns per first fault, called from Python: medians of 21 rounds", ("areas", "ns", "ratio"),
           [("10", f"{median(a for a, _ in rounds):.0f}", ""),
            ("65,000", f"{median(b for _, b in rounds):.0f}", f"{median(b / a for a, b in rounds):.2f}")])


def show_terabyte(console, thp):
    run = terabyte(thp)
    unit = HUGE if thp == "always" else PAGE
    rows = [(key, f"{run[key]:.3f} s", f"{run[key] / (1 << 40) * unit * 1e9:.2f} ns") for key in
            ("populate", "fork", "exit")]
    rows += [(key, f"{run[key] / (1 << 20):,.0f} MiB", f"{run[key] / (1 << 40) * unit:.2f} bytes") for key in
             ("bytes", "bytes mapped twice")]
    _print(console, f"1 TiB, {'2 MiB folios' if thp == 'always' else '4K pages'}", ("step", "whole", "per unit"), rows)


@click.command()
@click.option("--largest", default="64G", show_default=True, help="Largest range; 256G needs 4 GiB of host memory.")
@click.option("--rounds", default=3, show_default=True, help="For ranges below 64 GiB.")
@click.option("--terabyte", "pages", is_flag=True, help="1 TiB in 4K pages as well: 13 GiB of host memory.")
def main(largest, rounds, pages):
    """Measure how cost grows."""
    console = Console(width=None if os.isatty(1) else 120)
    largest = parse_size(largest)
    show_areas(console)
    show_part(console, largest)
    show_whole(console, largest, rounds)
    show_terabyte(console, "always")
    if pages:
        show_terabyte(console, "never")


if __name__ == "__main__":
    main()
