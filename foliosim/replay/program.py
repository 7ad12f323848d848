"""What execve builds, from the mappings that a trace has of it."""
from foliosim.flags import MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE

_UNLIMITED = (1 << 64) - 1


class Program:
    """The areas of one execve.

    Parameters
    ----------
    memory : Memory
        With nothing in it.
    files : Files
    loaded : Loaded
        What a truth says of it.

    Attributes
    ----------
    end : int
        Behind the last area of the program: where the heap starts, if nothing says otherwise.
    """

    def __init__(self, memory, files, loaded):
        self.memory, self.files, self.loaded = memory, files, loaded
        self.end = 0
        self._whole = {}
        self._stack = False

    def map(self, addr, length, offset, perms, extra):
        """One mapping, as the trace has it."""
        name = extra.get("name", "")
        length = -(-length // self.files.page_size) * self.files.page_size
        if name == "[stack]":
            self._map_stack(addr, length)
        elif name.startswith("["):
            code = "x" in perms
            self.memory.map_special(addr, length, self.files.code if code else self.files.data, code)
        elif "file" in extra:
            self._map_file(addr, length, offset, perms, extra)
        else:
            self.memory.map_bss(addr, length, "x" in perms)
            self.end = addr + length

    def _map_stack(self, addr, length):
        # a trace also tells that it has grown: the fault before has done that
        if not self._stack:
            used = min(self.loaded.arguments * self.files.page_size, length)
            self.memory.map_stack(addr, length, used, _UNLIMITED)
        self._stack = True

    def _map_file(self, addr, length, offset, perms, extra):
        """The first segment of a program is mapped as long as the whole; what is behind it goes at once.

        It ends where the second begins in the file: in the page before, or in that page, which both have then.  Only
        a truth says which; without one it is the latter if the second lies farther away in memory than in the file.
        Follows: elf_load (fs/binfmt_elf.c).
        """
        start, end, at = self._whole.setdefault(extra["file"], (addr, addr + length, offset))
        if start < addr < end:
            page = self.files.page_size
            guess = start + offset - at + (page if addr - start > offset - at else 0)
            first = min(addr, self.loaded.ends.get(start, guess))
            self.memory.munmap(first, end - first)
            self._whole[extra["file"]] = 0, 0, 0
        prot = sum(bit for letter, bit in zip("rwx", (PROT_READ, PROT_WRITE, PROT_EXEC)) if letter in perms)
        kind = MAP_SHARED if perms.endswith("s") else MAP_PRIVATE
        file = self.files.mapped(extra, offset + length)
        self.memory.mmap(length, prot=prot, flags=kind | MAP_FIXED, addr=addr, file=file, offset=offset)
        self.end = addr + length
