"""Operations on a whole range: single pages, large folios mapped by PTEs, 2 MiB folios mapped by PMDs."""
import foliosim as fs
from bench.floors import Memory, library
from bench.measure import Part, timed
from foliosim.sizes import parse_size

PAGE, HUGE = 4096, 2 << 20
READ, WRITE = fs.PROT_READ, fs.PROT_READ | fs.PROT_WRITE


class _Range:
    """A machine and floor memory for a range of some size."""

    thp, mthp = "never", None

    def __init__(self, size):
        self.size = parse_size(size)
        self.machine = fs.Machine(memory=max(8 * self.size, 1 << 30), thp=self.thp, mthp=self.mthp)

    def validate(self):
        self.machine.validate()

    def close(self):
        self.memory.close()

    def filled(self, process):
        addr = process.mmap(self.size + HUGE)
        addr = (addr + HUGE - 1) & ~(HUGE - 1)
        return addr, timed(process.touch, addr, self.size, write=True)[0]


class _Steps(_Range):
    """The operations one after the other; what is done to get there is not timed."""

    def ours(self, after):
        machine, size, out = self.machine, self.size, {}
        process = machine.spawn()

        def step(key, call, *args, **keywords):
            out[key], result = timed(call, *args, **keywords)
            after()
            return result

        addr, out["populate"] = self.filled(process)
        after()
        if "protect" in self.parts:
            step("protect", process.mprotect, addr, size, READ)
            step("unprotect", process.mprotect, addr, size, WRITE)
            step("mlock", process.mlock, addr, size)
            step("munlock", process.munlock, addr, size)
        step("fork", process.fork).exit()
        step("munmap", process.munmap, addr, size)
        if "dontneed" in self.parts:
            addr, _ = self.filled(process)
            step("dontneed", process.madvise, addr, size, fs.MADV_DONTNEED)
            process.touch(addr, size, write=True)
            step("unpin", step("pin", process.pin_user_pages, addr, size, write=True).release)
        process.exit()
        return out


class Pages(_Steps):
    """Order-0 folios."""

    name = "4K pages"

    def __init__(self, size, everything=True):
        super().__init__(size)
        self.name = f"4K pages, {size}"
        self.units = n = self.size // PAGE
        self.memory = Memory(pte=8 * n, child=8 * n, pages=28 * n, tables=28 * (n // 512 + 1), frames=4 * n)
        self.parts = {
            "populate": Part("populate (touch)", "page", 3, 100, ("populate", 0)),
            "fork": Part("fork", "page", 3, 8, ("fork", 0)),
            "munmap": Part("munmap", "page", 4, 10, ("munmap", 0)),
        }
        if everything:
            self.parts |= {
                "protect": Part("mprotect to read-only", "page", 4, 10, ("protect", 0)),
                "unprotect": Part("mprotect back", "page", 4, 10, ("unprotect", 0)),
                "dontneed": Part("MADV_DONTNEED", "page", 4, 10, ("dontneed", 0)),
                "mlock": Part("mlock", "page", 4, 10, ("mlock", 0)),
                "munlock": Part("munlock", "page", 4, 10, ("munlock", 0)),
                "pin": Part("pin_user_pages", "page", 4),
                "unpin": Part("release the pins", "page", 4),
            }

    def floor(self):
        lib, at, n, out = library(), self.memory, self.units, {}

        def step(key, call, *args):
            out[key] = timed(call, *args, n)[0]

        step("populate", lib.populate, at.pte, at.pages)
        step("protect", lib.protect, at.pte)
        step("unprotect", lib.unprotect, at.pte, at.pages)
        step("mlock", lib.lock, at.pte, at.pages)
        step("munlock", lib.unlock, at.pte, at.pages)
        step("fork", lib.fork, at.pte, at.child, at.pages)
        lib.populate(at.pte, at.pages, n)
        step("munmap", lib.zap, at.pte, at.pages, at.tables)
        lib.populate(at.pte, at.pages, n)
        step("dontneed", lib.zap, at.pte, at.pages, at.tables)
        lib.populate(at.pte, at.pages, n)
        step("pin", lib.pin, at.pte, at.pages, at.frames)
        step("unpin", lib.unpin, at.pages, at.frames)
        return out


class Huge(_Steps):
    """2 MiB folios mapped by PMDs."""

    thp = "always"

    def __init__(self, size):
        super().__init__(size)
        self.name = f"2 MiB folios by PMD, {size}"
        self.units = n = self.size // HUGE
        self.memory = Memory(pmd=8 * n, child=8 * n, heads=112 * n, tables=28 * n, others=28 * n, frames=2048 * n)
        self.parts = {
            "populate": Part("populate (touch)", "2 MiB", None, 100, ("populate", 9), 512),
            "fork": Part("fork", "2 MiB", 4, 8, ("fork", 9), 512),
            "munmap": Part("munmap", "2 MiB", 4, 10, ("munmap", 9), 512),
            "protect": Part("mprotect to read-only", "2 MiB", 4, 3, ("protect", 9), 512),
            "unprotect": Part("mprotect back", "2 MiB", 4, 3, ("unprotect", 9), 512),
            "dontneed": Part("MADV_DONTNEED", "2 MiB", 4, 10, ("dontneed", 9), 512),
            "mlock": Part("mlock", "2 MiB", 4, 10, ("mlock", 9), 512),
            "munlock": Part("munlock", "2 MiB", 4, 10, ("munlock", 9), 512),
            "pin": Part("pin_user_pages", "2 MiB", 4),
            "unpin": Part("release the pins", "2 MiB", 4),
        }

    def floor(self):
        lib, at, n, out = library(), self.memory, self.units, {}

        def step(key, call, *args):
            out[key] = timed(call, *args, n)[0]

        step("populate", lib.populate_huge, at.pmd, at.heads, at.tables)
        step("protect", lib.protect, at.pmd)
        step("unprotect", lib.unprotect_huge, at.pmd, at.heads)
        step("mlock", lib.lock_huge, at.pmd, at.heads)
        step("munlock", lib.unlock_huge, at.pmd, at.heads)
        step("fork", lib.fork_huge, at.pmd, at.child, at.heads, at.others)
        step("munmap", lib.zap_huge, at.pmd, at.heads, at.tables)
        lib.populate_huge(at.pmd, at.heads, at.tables, n)
        step("dontneed", lib.zap_huge, at.pmd, at.heads, at.tables)
        lib.populate_huge(at.pmd, at.heads, at.tables, n)
        step("pin", lib.pin_huge, at.pmd, at.heads, at.frames)
        step("unpin", lib.unpin_huge, at.heads, at.frames)
        return out


class ByPte(_Range):
    """Fork of large folios that PTEs map: 64 KiB folios, or 2 MiB folios whose PMDs were split."""

    def __init__(self, size, order):
        self.order = order
        self.thp = "always" if order == 9 else "never"
        self.mthp = None if order == 9 else {f"{4 << order}kB": "always"}
        super().__init__(size)
        self.name = f"{'2 MiB' if order == 9 else '64K'} folios by PTE, {size}"
        self.units = n = self.size // PAGE
        self.memory = Memory(pte=8 * n, child=8 * n, pages=28 * n)
        probe = ("fork-pte", 9) if order == 9 else ("fork", order)
        self.parts = {"fork": Part("fork", "page", 3, 8, probe)}

    def ours(self, after):
        process = self.machine.spawn()
        addr, _ = self.filled(process)
        if self.order == 9:
            for at in range(addr, addr + self.size, HUGE):
                process.mprotect(at, PAGE, READ)
                process.mprotect(at, PAGE, WRITE)
        assert self.machine.folio(process.translate(addr) // PAGE).order == self.order
        seconds, child = timed(process.fork)
        after()
        child.exit()
        process.exit()
        return {"fork": seconds}

    def floor(self):
        at = self.memory
        library().populate_large(at.pte, at.pages, self.units, self.order)
        return {"fork": timed(library().fork_large, at.pte, at.child, at.pages, self.units, self.order)[0]}
