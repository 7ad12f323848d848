"""What a second thread gains: ``python -m bench.threads``.

Two machines do the same work one after the other in one thread, and side by side in two; in turn, some rounds.  The
gain is the median of the ratios of wall time within rounds: 2 is all that two processors can give, and none is 1.
"""
import statistics
import threading
import time

import click

import foliosim as fs

AT, SIZE = 1 << 40, 1 << 30
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


def large(process):
    """Operations on a gigabyte of single pages."""
    process.touch(AT, SIZE, write=True)
    child = process.fork()
    child.mprotect(AT, SIZE, fs.PROT_READ)
    child.exit()
    process.madvise(AT, SIZE, fs.MADV_DONTNEED)


def medium(process):
    """Sixteen megabytes at a time: tens of microseconds, for which the GIL is given away."""
    for at in range(AT, AT + SIZE, 16 << 20):
        process.touch(at, 16 << 20, write=True)
        process.mlock(at, 16 << 20)
        process.munlock(at, 16 << 20)


def small(process):
    """Calls of a page: the interpreter's work, which threads do not share."""
    for at in range(AT, AT + 5000 * 4096, 4096):
        process.write(at, 4096, value=1)


WORK = {"large": large, "medium": medium, "small": small}


def processes():
    """A process on each of two machines."""
    made = [fs.Machine(memory="4G", thp="never").spawn() for _ in range(2)]
    for process in made:
        process.mmap(SIZE, addr=AT, flags=FIXED)
    return made


def seconds(work, together):
    """Wall time of the work on two machines."""
    threads = [threading.Thread(target=work, args=(process,)) for process in processes()]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
        if not together:
            thread.join()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


@click.command()
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
def main(rounds):
    """Print the gain of each kind of work."""
    for name, work in WORK.items():
        ratios = [seconds(work, False) / seconds(work, True) for _ in range(rounds)]
        click.echo(f"{name}: {statistics.median(ratios):.2f} times as fast, of {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
