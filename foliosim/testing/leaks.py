"""What is made and dropped leaves nothing behind: ``python -m foliosim.testing.leaks``.

Ten thousand machines, each with processes, files, references and a hook, are made and dropped; a million processes are
forked and end in one machine.  What the host's allocator has given out, and what is resident, is measured on the way:
from the first half to the second nothing may grow.
"""
import ctypes
import gc
import resource
import sys
from dataclasses import dataclass, field

import click

import foliosim as fs

MEASURED = 10          # times in a run
ALLOWED = 64 << 10     # bytes that the interpreter itself may keep
PAGE, HUGE = 4096, 2 << 20


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                 "keepcost")]


def given_out():
    """Bytes that the host's allocator has given out and not got back, large blocks too."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Mallinfo
    told = ask()
    return told.uordblks + told.hblkhd


def resident():
    """Bytes of this process that are in the host's memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _machines():
    """A machine with something of everything; dropped at once."""
    def one():
        machine = fs.Machine(memory="32M", thp="always", swap="1M", policy={"cow_order": lambda order, pmd: "order0"})
        process = machine.spawn()
        addr = process.mmap(HUGE + 3 * PAGE)
        process.write(addr, HUGE + 3 * PAGE, value=1, delta=1)
        file = machine.create_file("memfd", 4 * PAGE, fill=2)
        process.touch(process.mmap(4 * PAGE, flags=fs.MAP_SHARED, file=file), 4 * PAGE)
        child = process.fork()
        child.write(addr, 5 * PAGE, value=3)
        process.pin_user_pages(addr, PAGE)
        machine.inject.reference((child, addr))
        child.madvise(addr, PAGE, fs.MADV_PAGEOUT)
    return one


def _forks():
    """A child of one process, that writes to its copy and ends."""
    machine = fs.Machine(memory="64M", thp="always")
    process = machine.spawn()
    addr = process.mmap(HUGE + 4 * PAGE)
    process.write(addr, HUGE + 4 * PAGE, value=1)

    def one():
        child = process.fork()
        child.write(addr + HUGE, PAGE, value=2, offset=7)
        child.exit()
    return one


@dataclass(frozen=True)
class Run:
    """Something that is done many times.

    Attributes
    ----------
    start : callable
        Gives the function that does it once.
    times, short : int
        How often; and in the tests.
    """

    start: object
    times: int
    short: int


RUNS = {"machines": Run(_machines, 10_000, 400), "forks": Run(_forks, 1_000_000, 4000)}


@dataclass
class Course:
    """What was measured.

    Attributes
    ----------
    rows : list of tuple of int
        How often it was done, bytes given out, bytes resident.
    """

    rows: list = field(default_factory=list)

    def growth(self, column=1):
        """Bytes by which the least of the second half is above the least of the first, without the first row."""
        values = [row[column] for row in self.rows[1:]]
        half = len(values) // 2
        return min(values[half:]) - min(values[:half])


def run(what, times, progress=None):
    """Do something many times.

    Parameters
    ----------
    what : str
        A key of `RUNS`.
    times : int
    progress : callable, optional
        Called with how often it was done.

    Returns
    -------
    Course
    """
    once, course = RUNS[what].start(), Course()
    for part in range(MEASURED + 1):
        done = times * part // MEASURED
        for _ in range(done - times * max(part - 1, 0) // MEASURED):
            once()
        gc.collect()
        course.rows.append((done, given_out(), resident()))
        if progress is not None:
            progress(done)
    return course


@click.command()
@click.option("--machines", default=RUNS["machines"].times, show_default=True, type=click.IntRange(MEASURED))
@click.option("--forks", default=RUNS["forks"].times, show_default=True, type=click.IntRange(MEASURED))
def main(machines, forks):
    """Make and drop.  Exit status 1: something grows."""
    from rich.progress import Progress

    grows = False
    for what, times in (("machines", machines), ("forks", forks)):
        with Progress(transient=True) as bar:
            task = bar.add_task(what, total=times)
            course = run(what, times, lambda done: bar.update(task, completed=done))
        click.echo(f"{times:,} {what}: {course.rows[1][1] / 1024:,.0f} KiB given out after the first tenth, "
                   f"{course.rows[-1][1] / 1024:,.0f} at the end, growth {course.growth() / 1024:+,.0f}; resident "
                   f"{course.rows[1][2] >> 10:,} and {course.rows[-1][2] >> 10:,} KiB")
        grows |= course.growth() > ALLOWED
    sys.exit(grows)


if __name__ == "__main__":
    main()
