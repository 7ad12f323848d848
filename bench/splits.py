"""Splitting PMD mappings and folios."""
from bench.floors import library
from bench.measure import Part, timed
from bench.ranges import HUGE, PAGE, READ, _Range, Memory


class _Split(_Range):
    thp = "always"

    def __init__(self, size):
        super().__init__(size)
        self.units = n = self.size // HUGE
        self.memory = Memory(pmd=8 * n, pte=4096 * n, pages=28 * 512 * n)

    def filled(self, process):
        """Pages that hold something: a split gives pages of zeros back."""
        addr = (process.mmap(self.size + HUGE) + HUGE - 1) & ~(HUGE - 1)
        process.write(addr, self.size, value=1)
        return addr

    def ours(self, after):
        process = self.machine.spawn()
        seconds, _ = timed(self.split(process, self.filled(process)))
        after()
        process.exit()
        return {"split": seconds}


class PmdSplit(_Split):
    """mprotect of the first page of each 2 MiB: a call, an area split, and the PMD split."""

    parts = {"split": Part("PMD split (mprotect of a page)", "2 MiB", 3, 80, ("split-pmd", 9))}

    def __init__(self, size):
        super().__init__(size)
        self.name = f"PMD split, {size}"

    def split(self, process, addr):
        def split():
            for at in range(addr, addr + self.size, HUGE):
                process.mprotect(at, PAGE, READ)

        return split

    def floor(self):
        at = self.memory
        return {"split": timed(library().split_pmd, at.pmd, at.pte, at.pages, self.units)[0]}


class FolioSplit(_Split):
    """Machine.split_folio of folios that one process maps, by PMD before the split."""

    def __init__(self, size, order):
        super().__init__(size)
        self.order = order
        self.name = f"folio split to order {order}, {size}"
        probe = ("split-folio", 9) if order == 0 else None
        self.parts = {"split": Part(f"folio split, order 9 to {order}", "2 MiB", 3, 80 if probe else None, probe)}

    def split(self, process, addr):
        frames = [process.translate(at) // PAGE for at in range(addr, addr + self.size, HUGE)]

        def split():
            for pfn in frames:
                self.machine.split_folio(pfn, new_order=self.order)

        return split

    def floor(self):
        at = self.memory
        return {"split": timed(library().split_folio, at.pte, at.pages, self.units, self.order)[0]}
