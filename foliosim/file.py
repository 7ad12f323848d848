"""Files that processes map: memfds, files on tmpfs and on disk, memory of devices."""
from foliosim._core.file_handle import DEVICE, KINDS
from foliosim.cores import Tied
from foliosim.sizes import index


class File(Tied):
    """An open file of a machine; made by `Machine.create_file` or `Machine.create_device`.  A context manager that
    closes it.

    Attributes
    ----------
    length : int
        Bytes.
    inode : int
        Its number, as `Process.maps` shows it.
    cached_pages : int
        Pages in its page cache.
    physical : int or None
        Physical address of a device's memory; None: it is no device.
    """

    _core_class = ("file_handle", "CoreFile")

    def __repr__(self):
        try:
            return f"<File inode={self.inode} length={self.length} cached_pages={self.cached_pages}>"
        except ValueError:
            return "<File closed>"

    def __reduce__(self):
        return _of_machine, (self.machine, self.inode)

    def ftruncate(self, length):
        """Set the length, as ftruncate(2).  Mapped pages behind the new end go, private copies of them too.

        Raises
        ------
        SyscallError
            EINVAL: negative, or a device; EFBIG: more than the file system can hold.
        """
        self.sys_ftruncate(length)

    def punch(self, offset, length):
        """Make a hole, as fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.

        Raises
        ------
        SyscallError
            EINVAL: offset negative or length not positive; ENODEV: a device; EFBIG.
        """
        self.sys_punch(offset, length)

    def close(self):
        """Close the file; mappings of it stay.  Nothing if that was done."""
        self.drop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _of_machine(machine, inode):
    """For copies of objects that hold files: that of the machine's copy."""
    return machine.core.branch.open_files(machine)[inode]


def check_device(machine, physical, length):
    """The frame where a device's memory begins; ValueError if it cannot be there, TypeError if it is no integer."""
    page, (frames, _) = machine.page_size, machine.core.procfs.frames(machine)
    limit = page << 32                       # frame numbers have 32 bits here, and the last one is no frame
    physical, length = index("physical", physical), index("length", length)
    if physical % page or not frames * page <= physical < limit:
        raise ValueError(f"device at {physical:#x}: must be a multiple of {page:#x}, from {frames * page:#x}, where "
                         f"memory ends, to {limit:#x}")
    if length % page or not 0 < length < limit - physical:
        raise ValueError(f"device of {length:#x} bytes: must be a multiple of {page:#x}, and end before {limit:#x}")
    return physical // page


def check_kind(kind):
    """ValueError if there is no such kind of file."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind {kind!r}: valid are {', '.join(KINDS)}")
    return kind
