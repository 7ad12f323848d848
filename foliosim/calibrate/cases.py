"""What is timed, and how often each operation is counted when the emulator does the same.

An operation here is what ``kernel.c`` does under the same name: the same system calls and stores, on an area of folios
of one order.
"""
import functools
from dataclasses import dataclass

import foliosim as fs

PAGE, PMD, ORDER_HUGE = 4096, 2 << 20, 9
ORDERS = (0, 2, 3, 4, 5, 6, 7, 8, 9)
# What the fit does not see: these orders of all operations, and these operations in all orders.
HELD_OUT_ORDERS = (3, 5, 7)
HELD_OUT_OPS = ("dontneed", "split-free")
_READ_WRITE = fs.PROT_READ | fs.PROT_WRITE
_AT = 1 << 32


@dataclass(frozen=True)
class Case:
    """An operation on folios of one order.

    Attributes
    ----------
    op : str
        As kernel.c names it.
    order : int
    """

    op: str
    order: int

    @property
    def held_out(self):
        """Is it kept from the fit, to be predicted?"""
        return self.order in HELD_OUT_ORDERS or self.op in HELD_OUT_OPS

    @property
    def size(self):
        """Of a folio, as sysfs writes it."""
        return f"{4 << self.order}kB"

    def __str__(self):
        return f"{self.op} {self.size}"


def counts(case, length):
    """How often each operation is counted when the emulator does a case.

    Parameters
    ----------
    case : Case
    length : int
        Bytes of the area, a multiple of 2 MiB.

    Returns
    -------
    dict of str to int
        Names of ``ops.*``, without ``ops.``.
    """
    room = _Room(case.order, length)
    prepare, perform = OPERATIONS[case.op]
    prepare(room)
    before = room.machine.ledger()
    perform(room)
    grown = room.machine.ledger() - before
    return {name.removeprefix("ops."): value for name, value in grown.items() if name.startswith("ops.")}


class _Room:
    """A machine that gives advised memory folios of one order, and a process with an area of them."""

    def __init__(self, order, length):
        sizes = {"2048kB": "never"} | ({f"{4 << order}kB": "madvise"} if order else {})
        self.machine = fs.Machine(memory=4 * length + (64 << 20), thp="madvise", mthp=sizes)
        self.process = self.writer = self.machine.spawn()
        self.order, self.area, self.length = order, _AT, length
        self.process.mmap(length, addr=_AT, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        self.process.madvise(_AT, length, fs.MADV_HUGEPAGE if order else fs.MADV_NOHUGEPAGE)

    def touch(self):
        self.writer.touch(self.area, self.length, write=True)

    def filled(self):
        self.touch()

    def mapped_by_ptes(self):
        self.touch()
        for at in range(self.area, self.area + self.length, PMD):
            self.process.mprotect(at, PAGE, fs.PROT_READ)
            self.process.mprotect(at, PAGE, _READ_WRITE)

    def child_writes(self):
        self.touch()
        self.writer = self.process.fork()

    def child_is_gone(self):
        self.touch()
        self.process.fork().exit()

    def protect(self, prot=fs.PROT_READ):
        self.process.mprotect(self.area, self.length, prot)

    def protected(self):
        self.touch()
        self.protect()

    def locked(self):
        self.touch()
        self.process.mlock(self.area, self.length)

    def each_part(self, call):
        """The first page of every folio is treated unlike the others."""
        step = PAGE << self.order if self.order else PMD
        for at in range(self.area, self.area + self.length, step):
            call(self.process, at)

    def protect_pages(self):
        for at in range(self.area, self.area + self.length, 2 * PAGE):
            self.process.mprotect(at, PAGE, fs.PROT_READ)
            self.process.mprotect(at, PAGE, _READ_WRITE)


def _nothing(room):
    pass


def _call(name, *arguments):
    """A call on the whole area."""
    return lambda room: getattr(room.process, name)(room.area, room.length, *arguments)


def _part(name, *arguments):
    """A call on the first page of every folio."""
    return lambda room: room.each_part(lambda process, at: getattr(process, name)(at, PAGE, *arguments))


# What prepares it, and what is timed.
OPERATIONS = {
    "populate": (_nothing, _Room.touch),
    "read": (_nothing, lambda room: room.process.touch(room.area, room.length)),
    "fork": (_Room.filled, lambda room: room.process.fork()),
    "fork-pte": (_Room.mapped_by_ptes, lambda room: room.process.fork()),
    "cow": (_Room.child_writes, _Room.touch),
    "reuse": (_Room.child_is_gone, _Room.touch),
    "protect": (_Room.filled, _Room.protect),
    "unprotect": (_Room.protected, functools.partial(_Room.protect, prot=_READ_WRITE)),
    "munmap": (_Room.filled, _call("munmap")),
    "dontneed": (_Room.filled, _call("madvise", fs.MADV_DONTNEED)),
    "mlock": (_Room.filled, _call("mlock")),
    "munlock": (_Room.locked, _call("munlock")),
    "split": (_Room.filled, _part("madvise", fs.MADV_COLD)),
    "split-free": (_Room.filled, _part("madvise", fs.MADV_FREE)),
    "split-pmd": (_Room.filled, _part("mprotect", fs.PROT_READ)),
    "unmap-part": (_Room.filled, _part("munmap")),
    "protect-page": (_Room.filled, _Room.protect_pages),
}
# Those that are of one order only; of the others there is one of each.
_ONLY = {"read": (0,), "protect-page": (0,), "fork-pte": (ORDER_HUGE,), "split-pmd": (ORDER_HUGE,),
         "split": ORDERS[1:], "split-free": ORDERS[1:], "unmap-part": ORDERS[1:]}
CASES = tuple(Case(op, order) for op in OPERATIONS for order in _ONLY.get(op, ORDERS))
