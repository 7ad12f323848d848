"""The files that a trace maps, as files of the machine: of the size the trace gives, and read before."""
from foliosim.flags import MAP_SHARED, MAP_SHARED_VALIDATE, PROT_WRITE

_TMPFS = ("/memfd:", "/dev/shm/", "/SYSV", "/dev/zero", "/anon_hugepage")
_MAP_TYPE = 0x0f


def is_shared(flags):
    """Does an mmap with these flags make a shared mapping?"""
    return flags & _MAP_TYPE in (MAP_SHARED, MAP_SHARED_VALIDATE)


class Files:
    """Every file of a trace, made when it is first mapped.

    Parameters
    ----------
    machine : Machine
    trace : Trace
    """

    def __init__(self, machine, trace):
        self.machine = machine
        self.page_size = trace.header["page_size"]
        self.sizes = {path: facts.get("size") for path, facts in trace.header["files"].items()}
        self.files = {}
        self.names = {}
        self.by_fd = {}
        self.written = _written(trace.events)
        self.code, self.data = (machine.create_file("disk", 16 * self.page_size) for _ in range(2))
        self.machine.core.binfmt.set_resident(self.code, True)

    def mapped(self, where, end, writable=True):
        """The file that an event maps, open for writing or not.

        Parameters
        ----------
        where : dict
            ``file``, ``dev`` and ``ino`` of the event.
        end : int
            Byte behind the last one that is mapped: where the trace has no size, the file reaches as far.
        writable : bool
        """
        path = where.get("file", "")
        key = (where.get("dev"), where.get("ino")) if where.get("ino") else path
        file = self.files.get(key)
        size = self.sizes.get(path)
        if file is None:
            tmpfs = path.startswith(_TMPFS)
            file = self.machine.create_file("memfd" if tmpfs else "disk", end if size is None else size)
            self.files[key] = file
            if not tmpfs:
                self.machine.core.binfmt.set_resident(file, False)
            self.names[file.inode] = path
        if size is None and file.length < end:
            file.ftruncate(end)
        file.writable = writable
        return file

    def of_call(self, pid, args, where):
        """The file of an mmap call."""
        _, length, prot, flags, fd, offset = args[:6]
        shared = is_shared(flags)
        writable = not shared or prot & PROT_WRITE or (pid, fd) in self.written
        file = self.mapped(where, offset + length, bool(writable))
        self.by_fd[pid, fd] = file if shared else None
        return file

    def truncate(self, pid, fd, length):
        """ftruncate of a file that the process has mapped shared through this descriptor; True if it is known."""
        file = self.by_fd.get((pid, fd))
        if file is not None:
            file.ftruncate(length)
        return file is not None

    def forget(self, pid):
        """The process has exited."""
        for key in [key for key in self.by_fd if key[0] == pid]:
            del self.by_fd[key]

    def close(self):
        """Drop all of them; what is mapped stays."""
        for file in (*self.files.values(), self.code, self.data):
            file.close()


def _written(events):
    # (pid, fd) that were open for writing: a call proves it
    written = set()
    for event in events:
        if event[0] != "c" or event[7] < 0:
            continue
        name, pid, args = event[4], event[2], event[6]
        if name == "mmap" and is_shared(args[3]) and args[2] & PROT_WRITE:
            written.add((pid, args[4]))
        elif name in ("ftruncate", "fallocate"):
            written.add((pid, args[0]))
        elif name == "memfd_create":
            written.add((pid, event[7]))
    return written
