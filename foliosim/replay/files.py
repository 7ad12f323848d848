"""The files that a trace maps, as files of the machine: of the size the trace gives, and read before."""
from foliosim.replay.descriptors import file_key, is_shared, open_files

_TMPFS = ("/memfd:", "/dev/shm/", "/SYSV", "/dev/zero", "/anon_hugepage")


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
        self.open_files = open_files(trace.events)
        self.code, self.data = (machine.create_file("disk", 16 * machine.page_size) for _ in range(2))
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
        key = file_key(where)
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

    def of_mmap(self, event):
        """The file of an mmap call."""
        _, length, _, flags, _, offset = event[6][:6]
        found = self.open_files.get((event[1], event[3]))
        return self.mapped(event[8], offset + length, not is_shared(flags) or found is not None and found.writable)

    def of_descriptor(self, event):
        """The file that ftruncate or fallocate is on; None: it is not known, or nobody has mapped it yet."""
        found = self.open_files.get((event[1], event[3]))
        return self.files.get(found.key) if found is not None else None

    def close(self):
        """Drop all of them; what is mapped stays."""
        for file in (*self.files.values(), self.code, self.data):
            file.close()

