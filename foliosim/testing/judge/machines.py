"""Random machines whose page tables have entries of every kind that Linux writes."""
from contextlib import suppress

import foliosim as fs
from foliosim.cores import find
from foliosim.dump.registers import processor_of

_N, _R, _W, _X = fs.PROT_NONE, fs.PROT_READ, fs.PROT_WRITE, fs.PROT_EXEC
_PROTS = (_R | _W, _R | _W, _R | _W, _R | _W | _X, _R, _R | _X, _W, _X, _N)
_ADVICES = (fs.MADV_DONTNEED, fs.MADV_FREE, fs.MADV_COLD, fs.MADV_PAGEOUT, fs.MADV_GUARD_INSTALL, fs.MADV_COLLAPSE)
_BAR = 1 << 38  # beyond all memory, and below 2^40, which is what Unicorn's x86-64 processor can address
_CHANGES = ("touch", "touch", "touch", "mprotect", "mprotect", "advice", "advice", "munmap", "mremap", "mlock", "clear")
_PRIVATE, _SHARED = fs.MAP_PRIVATE | fs.MAP_FIXED, fs.MAP_SHARED | fs.MAP_FIXED


def random_machine(rng, arch, page_size, va_bits=None, *, areas=200, changes=480, **settings):
    """A machine of three processes.

    Parameters
    ----------
    rng : random.Random
    arch : str
    page_size : int or str
    va_bits : int, optional
    areas, changes : int
        Areas of memory that the first process maps and touches; changes to parts of them, half of them before it
        forks.
    **settings
        Others of `Machine`.

    Returns
    -------
    Machine
        Its memory is that of 128 PMD leaves, at least 4 GiB.
    """
    core = find(arch, page_size)
    memory = max(4 << 30, 128 * core.pmd_size)
    orders = range(2, core.pmd_order)
    mthp = {f"{core.page_size >> 10 << order}kB": rng.choice(("always", "never")) for order in orders}
    machine = fs.Machine(arch=arch, page_size=page_size, va_bits=va_bits, memory=memory, swap=memory // 16,
                         thp=rng.choice(("always", "madvise")), mthp=mthp, **settings)
    first = machine.spawn()
    build = _Builder(machine, rng, processor_of(first).va_bits)
    for _ in range(areas):
        build.area(first)
    build.device(first)
    build.changes(first, changes // 2)
    child = first.fork()
    for process in (first, child, child.fork()):
        build.changes(process, changes // 6)
    machine.reclaim(4 << machine.core.pmd_order)
    machine.validate()
    return machine


class _Builder:
    """Maps and changes memory; what the kernel refuses is left out."""

    def __init__(self, machine, rng, va_bits):
        self.machine, self.rng = machine, rng
        self.page, self.huge = machine.page_size, machine.core.pmd_size
        self.top = 1 << min(va_bits, 47)  # Linux on x86-64 gives the user half of the addresses
        self.last = self.top // 2

    def area(self, process):
        """One more area, of a page to some PMD leaves, near the last one or anywhere; part of it is touched."""
        rng = self.rng
        length = self._length(3 * self.huge)
        near = self.last + rng.randrange(-64, 64) * self.huge
        anywhere = rng.randrange(self.huge, self.top - 4 * self.huge)
        addr = min(max(rng.choice((near, near, anywhere)), self.huge), self.top - 4 * self.huge)
        addr -= addr % rng.choice((self.huge, self.page))
        flags, file = rng.choice((_PRIVATE, _PRIVATE, _PRIVATE, _SHARED)), None
        if rng.random() < 0.2:
            file = self.machine.create_file(rng.choice(("memfd", "disk")), min(length, 64 * self.page), fill=1)
        process.mmap(length, prot=rng.choice(_PROTS), addr=addr, file=file,
                     flags=flags if file else flags | fs.MAP_ANONYMOUS)
        if rng.random() < 0.6:
            process.madvise(addr, length, fs.MADV_HUGEPAGE)
        self.last = addr
        self._touch(process, addr, length)

    def device(self, process):
        """Device memory, with leaves of 1 GiB where the core has them, some of them cut later."""
        bar = self.machine.create_device(physical=_BAR, length=4 << 30)
        addr = (self.rng.randrange(1, self.top // 2 >> 30) << 30) + self.rng.choice((0, 0, self.huge, self.page))
        process.mmap(3 << 30, addr=addr, flags=fs.MAP_SHARED | fs.MAP_FIXED, file=bar)
        process.madvise(addr, 3 << 30, fs.MADV_HUGEPAGE)
        process.touch(addr, 3 << 30, write=self.rng.random() < 0.5)

    def changes(self, process, count):
        """Do something to parts of areas."""
        areas = [(int(start), int(end)) for start, end in process.maps()[["start", "end"]]]
        for _ in range(count):
            start, end = self.rng.choice(areas)
            length = self._length(end - start)
            addr = start + self.rng.randrange(0, (end - start - length) // self.page + 1) * self.page
            if self.rng.random() < 0.3:  # whole PMD leaves
                addr, length = addr - addr % self.huge, -(-length // self.huge) * self.huge
            with suppress(fs.SyscallError):
                self._change(process, addr, length)

    def _change(self, process, addr, length):
        rng = self.rng
        what = rng.choice(_CHANGES)
        if what == "touch":
            self._touch(process, addr, length)
        elif what == "mprotect":
            process.mprotect(addr, length, rng.choice((*_PROTS, _N, _N)))
        elif what == "advice":
            process.madvise(addr, length, rng.choice(_ADVICES))
        elif what == "munmap":
            process.munmap(addr, min(length, 16 * self.page))
        elif what == "mremap":
            process.mremap(addr, length, length, flags=fs.MREMAP_MAYMOVE)
        elif what == "mlock":
            process.mlock(addr, length)
        elif rng.random() < 0.1:
            process.clear_refs(rng.choice((1, 4)))

    def _touch(self, process, addr, length):
        part = self._length(length)
        addr += self.rng.randrange(0, (length - part) // self.page + 1) * self.page
        with suppress(fs.MemoryFault):
            process.touch(addr, part, write=self.rng.random() < 0.7)

    def _length(self, most):
        """Bytes of whole pages, small numbers as likely as large ones."""
        pages = most // self.page
        return self.page * max(1, min(pages, round(pages ** self.rng.uniform(0.2, 1.05))))
