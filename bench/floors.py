"""The compiled floors, built at first use with the system's C compiler."""
import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("floors.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")


@functools.cache
def library():
    """The floors as a ctypes library.

    Raises
    ------
    RuntimeError
        There is no C compiler, or it failed.
    """
    target = Path(tempfile.mkdtemp(prefix="foliosim-floors-")) / "floors.so"
    try:
        subprocess.run(["cc", *FLAGS, "-o", str(target), str(_SOURCE)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError("floors need a C compiler named cc") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"cc failed on {_SOURCE.name}: {error.stderr}") from None
    lib = ctypes.CDLL(str(target))
    lib.floor_alloc.restype = ctypes.c_void_p
    lib.floor_record_bytes.restype = ctypes.c_size_t
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    lib.floor_alloc.argtypes = [size]
    lib.floor_free.argtypes = [pointer, size]
    lib.floor_populate.argtypes = [pointer, pointer, size]
    lib.floor_fork.argtypes = [pointer, pointer, pointer, size]
    return lib


class Arrays:
    """Fresh host memory for the floor of n pages: the parent's entries, the child's, and the records.

    Parameters
    ----------
    n : int
        Pages.
    """

    def __init__(self, n):
        self.lib, self.n = library(), n
        self.sizes = (8 * n, 8 * n, self.lib.floor_record_bytes() * n)
        self.pte, self.child, self.pages = (self.lib.floor_alloc(size) for size in self.sizes)
        if not all((self.pte, self.child, self.pages)):
            raise MemoryError(f"floor of {n} pages")

    def populate(self):
        self.lib.floor_populate(self.pte, self.pages, self.n)

    def fork(self):
        self.lib.floor_fork(self.pte, self.child, self.pages, self.n)

    def close(self):
        for at, size in zip((self.pte, self.child, self.pages), self.sizes):
            self.lib.floor_free(at, size)
