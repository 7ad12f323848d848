"""A trace on a machine with larger pages than it was recorded with.

The machine's pages, granules here, hold several pages of the trace.  Each area is aligned outward.  A granule of which
several areas have a part belongs to the first of them, with the rights of all (to the second, if the first cannot have
them); it goes when its last part goes.  What takes something away (munmap, DONTNEED, fewer rights, ...) acts on
granules of which nothing else is mapped.
"""
import numpy as np

from foliosim.errors import SyscallError
from foliosim.flags import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from foliosim.replay.memory import Memory

_RIGHTS = {"r": PROT_READ, "w": PROT_WRITE, "x": PROT_EXEC}


class GranularMemory(Memory):
    """An address space in granules.

    Parameters
    ----------
    process : Process
    page : int
        Size of the trace's pages, bytes.
    """

    def __init__(self, process, page):
        super().__init__(process)
        self.page, self.granule = page, process.machine.page_size
        self._parts = {}  # granule that is mapped in part -> bits of the pages that are
        self._full = (1 << self.granule // page) - 1
        self._next, self._brk = None, 0

    def fork(self):
        child = GranularMemory(self.process.fork(), self.page)
        child._parts, child._brk = dict(self._parts), self._brk
        return child

    # ---- granules ----

    def _down(self, addr):
        return addr // self.granule * self.granule

    def _up(self, addr):
        return self._down(addr + self.granule - 1)

    def _edges(self, start, end):
        """Granules that a range covers in part: address, and bits of the pages in it."""
        for base in dict.fromkeys((self._down(start), self._down(max(start, end - 1)))):
            first = max(0, start - base) // self.page
            behind = min(self.granule, end - base) // self.page
            bits = (1 << behind) - (1 << first)
            if end > start and bits != self._full:
                yield base, bits

    def _range(self, addr, length):
        """The pages of the trace: start and end."""
        return addr, -(-(addr + length) // self.page) * self.page

    def _rights(self, addr):
        """PROT_* of the area there; None: there is none."""
        areas = self.process.maps()
        at = int(np.searchsorted(areas["start"], addr, "right")) - 1
        if at < 0 or int(areas["end"][at]) <= addr:
            return None
        return sum(_RIGHTS.get(letter, 0) for letter in str(areas["perms"][at]))

    def _take(self, start, end, rights, leaving=range(0)):
        """A new area: which granules are its own; those that it shares get its rights.  leaving: will be free."""
        low, high = self._up(start), self._down(end)
        shared = {}
        for base, bits in self._edges(start, end):
            there = self._rights(base)
            parts = 0 if there is None or base in leaving else self._parts.get(base, self._full)
            shared[base] = parts | bits
            if not parts & ~bits or not self._add_rights(base, there, rights):
                low, high = min(low, base), max(high, base + self.granule)
        self._forget(low, high)
        self._parts.update(shared)
        return low, high

    def _add_rights(self, base, there, rights):
        """False: the area there cannot have them (vvar, a file that is not open for writing)."""
        if rights & ~there:
            try:
                self.process.mprotect(base, self.granule, there | rights)
            except SyscallError:
                return False
        return True

    def _own(self, start, end, leave=False):
        """Granules of a range of which nothing else is mapped; leave: it goes from the others."""
        low, high = self._up(start), self._down(end)
        for base, bits in self._edges(start, end):
            rest = self._parts.get(base, self._full) & ~bits
            if not rest:
                low, high = min(low, base), max(high, base + self.granule)
            elif leave and self._rights(base) is not None:
                self._parts[base] = rest
        if leave:
            self._forget(low, high)
        return low, high

    def _forget(self, low, high):
        for base in [one for one in self._parts if low <= one < high]:
            del self._parts[base]

    # ---- system calls ----

    def place_next(self, addr):
        self._next = addr

    def mmap(self, length, *, prot, flags, addr=0, file=None, offset=0):
        if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            addr, self._next = self._next, None
        start, end = self._range(addr, length)
        low, high = self._take(start, end, prot)
        if low < high:
            flags = flags & ~MAP_FIXED_NOREPLACE | MAP_FIXED
            self.process.mmap(high - low, prot=prot, flags=flags, addr=low, file=file,
                              offset=self._down(max(0, offset - (addr - low))))
        return addr

    def munmap(self, addr, length):
        low, high = self._own(*self._range(addr, length), leave=True)
        if low < high:
            self.process.munmap(low, high - low)

    def mprotect(self, addr, length, prot):
        start, end = self._range(addr, length)
        low, high = self._own(start, end)
        for base, _ in self._edges(start, end):
            there = self._rights(base)
            if not low <= base < high and there is not None:
                self._add_rights(base, there, prot)
        if low < high:
            self.process.mprotect(low, high - low, prot)

    def pkey_mprotect(self, addr, length, prot, pkey):
        self.mprotect(addr, length, prot)
        self._on_own(self.process.pkey_mprotect, addr, length, prot, pkey)

    def _on_own(self, call, addr, length, *rest):
        low, high = self._own(*self._range(addr, length))
        if low < high:
            call(low, high - low, *rest)

    def madvise(self, addr, length, advice):
        self._on_own(self.process.madvise, addr, length, advice)

    def munlock(self, addr, length):
        self._on_own(self.process.munlock, addr, length)

    def name_area(self, addr, length, name):
        self._on_own(self.process.name_area, addr, length, name)

    def _outward(self, addr, length):
        return self._down(addr), self._up(addr + length) - self._down(addr)

    def mlock(self, addr, length):
        self.process.mlock(*self._outward(addr, length))

    def mlock2(self, addr, length, flags):
        self.process.mlock2(*self._outward(addr, length), flags)

    def msync(self, addr, length, flags):
        self.process.msync(*self._outward(addr, length), flags)

    def mremap(self, old_addr, old_length, new_length, *, flags=0, new_addr=0):
        to = new_addr if flags & MREMAP_FIXED else old_addr if self._next is None else self._next
        self._next = None
        if to != old_addr:
            self._move(old_addr, old_length, to, new_length, flags)
        elif new_length > old_length:
            self._grow(old_addr, old_length, new_length)
        else:
            self.munmap(old_addr + new_length, old_length - new_length)
        return to

    def _grow(self, addr, old_length, new_length):
        (_, was), (start, end) = self._range(addr, old_length), self._range(addr, new_length)
        low, high = self._own(start, was)
        rights = self._rights(self._down(was - 1)) or 0
        free, behind = self._take(was, end, rights)
        if low < high and behind > high >= free:
            self._lengthen(low, high, behind)
        elif behind > free:
            self._map_anonymous(free, behind, rights)

    def _move(self, addr, old_length, to, new_length, flags):
        rights, stays = self._rights(addr) or 0, flags & MREMAP_DONTUNMAP
        low, high = self._own(*self._range(addr, old_length), leave=not stays)
        new_low, new_high = self._take(*self._range(to, new_length), rights, range(0) if stays else range(low, high))
        if low >= high or low <= new_low < high:  # there is nothing that can move, or it is in its own way
            self._map_anonymous(new_low, new_high, rights)
            return
        if new_low >= new_high:
            return
        behind = min(new_high, low) if new_low < low else new_high
        for start, end, last in self._pieces(low, high):
            to = new_low + start - low
            length = end - start if stays or not last else behind - to
            if length > 0:
                self.process.mremap(start, end - start, length, new_addr=to,
                                    flags=flags | MREMAP_MAYMOVE | MREMAP_FIXED)
        if not stays:
            self._lengthen(new_low, behind, new_high)

    def _pieces(self, low, high):
        """The areas of a range: start, end, is it the last?  Granules that were shared may be areas of their own."""
        areas = self.process.maps()
        inside = areas[(areas["start"] < high) & (areas["end"] > low)]
        for at, area in enumerate(inside):
            yield max(low, int(area["start"])), min(high, int(area["end"])), at == len(inside) - 1

    def _lengthen(self, low, high, end):
        """The last area of a range reaches to `end` from now on."""
        if end > high:
            start = max(start for start, _, _ in self._pieces(low, high))
            self.process.mremap(start, high - start, end - start)

    def _map_anonymous(self, low, high, rights):
        if low < high:
            flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
            self.process.mmap(high - low, prot=rights, flags=flags, addr=low)

    def brk(self, addr):
        if addr and self._brk:
            self._brk = addr if self.process.brk(addr) == addr else self._brk
        return self._brk

    # ---- what execve makes ----

    def start_heap(self, addr):
        base = self._down(addr)
        super().start_heap(base if self._rights(base) is None else addr)
        self._brk = addr

    def map_special(self, addr, length, pages, code):
        low, high = self._take(*self._range(addr, length), PROT_READ)
        if low < high:
            super().map_special(low, high - low, pages, code)

    def map_bss(self, addr, length, executable):
        rights = PROT_READ | PROT_WRITE | (PROT_EXEC if executable else 0)
        low, high = self._take(*self._range(addr, length), rights)
        if low < high:
            super().map_bss(low, high - low, executable)

    def map_stack(self, addr, length, used, limit):
        low, high = self._take(*self._range(addr, length), PROT_READ | PROT_WRITE)
        super().map_stack(low, high - low, min(self._up(used), high - low), limit)
