"""What a replay does to a process: its system calls, and the areas that execve makes."""


class Memory:
    """The address space of a process, as the events of a trace ask for it.

    System calls are those of `Process`, under their names.

    Parameters
    ----------
    process : Process
    """

    def __init__(self, process):
        self.process = process

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.process, name)

    @property
    def _binfmt(self):
        return self.process.machine.core.binfmt

    def fork(self):
        """The same of a child."""
        return Memory(self.process.fork())

    def place_next(self, addr):
        """The next mmap or mremap that has to search a place finds this one."""
        self._binfmt.place_next(self.process, addr)

    def start_heap(self, addr):
        """The heap starts here, and is empty."""
        self._binfmt.set_brk(self.process, addr)

    def map_special(self, addr, length, pages, code):
        """Pages of the kernel's own: vdso (`code`) or vvar."""
        self._binfmt.map_special(self.process, addr, length, pages, code)

    def map_bss(self, addr, length, executable):
        """Anonymous memory behind a program's data."""
        self._binfmt.map_bss(self.process, addr, length, executable)

    def map_stack(self, addr, length, used, limit):
        """The stack, whose last `used` bytes hold arguments and environment."""
        self._binfmt.map_stack(self.process, addr, length, used, limit)
