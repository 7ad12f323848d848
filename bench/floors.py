"""The compiled floors, built at first use with the system's C compiler."""
import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("floors.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")

_P, _N, _I, _U = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint64
_SIGNATURES = {
    "alloc": (_P, _N), "free": (None, _P, _N), "record_bytes": (_N,),
    "populate": (None, _P, _P, _N), "fork": (None, _P, _P, _P, _N), "protect": (None, _P, _N),
    "unprotect": (None, _P, _P, _N), "zap": (None, _P, _P, _P, _N), "lock": (None, _P, _P, _N),
    "unlock": (None, _P, _P, _N), "pin": (None, _P, _P, _P, _N), "unpin": (None, _P, _P, _N),
    "populate_large": (None, _P, _P, _N, _I), "fork_large": (None, _P, _P, _P, _N, _I),
    "populate_huge": (None, _P, _P, _P, _N), "fork_huge": (None, _P, _P, _P, _P, _N),
    "unprotect_huge": (None, _P, _P, _N), "zap_huge": (None, _P, _P, _P, _N), "lock_huge": (None, _P, _P, _N),
    "unlock_huge": (None, _P, _P, _N), "pin_huge": (None, _P, _P, _P, _N), "unpin_huge": (None, _P, _P, _N),
    "split_pmd": (None, _P, _P, _P, _N), "split_folio": (None, _P, _P, _N, _I),
    "build_tables": (_N, _P, _N), "walk": (None, _P, _P, _P, _N),
    "translate": (_N, _P, _P, _P, _P, _N),
    "areas": (_P, _N, _U, _U, _U), "areas_free": (None, _P), "find": (_U, _P, _P, _N),
    "split_merge": (None, _P, _P, _N),
}

# Bytes that a floor reads or writes: the unit, and what they are.  A record has 28 bytes, an entry 8.
BYTES = {
    "populate": ("page", {"entry": 8, "record": 28}),
    "fork": ("page", {"parent's entry": 8, "child's entry": 8, "flags, mapcount, refcount": 12}),
    "protect": ("page", {"entry": 8}),
    "unprotect": ("page", {"entry": 8, "flags": 4}),
    "zap": ("page", {"entry": 8, "flags, mapcount, refcount, next": 16, "free list and table": 16 / 512}),
    "lock": ("page", {"entry": 8, "flags, next, prev": 12}),
    "unlock": ("page", {"entry": 8, "flags, next, prev": 12}),
    "pin": ("page", {"entry": 8, "flags, refcount": 8, "list of frames": 4}),
    "unpin": ("page", {"list of frames": 4, "refcount": 4}),
    "fork_large order 4": ("page", {"entries": 16, "of the folio": 28 / 16}),
    "fork_large order 9": ("page", {"entries": 16, "of the folio": 28 / 512}),
    "populate_huge": ("2 MiB", {"entry": 8, "head": 28, "tails": 28 + 28 + 8, "table's record": 28}),
    "fork_huge": ("2 MiB", {"entries": 16, "flags, refcount": 8, "mapcounts, owners": 16, "table's record": 28}),
    "protect (PMD)": ("2 MiB", {"entry": 8}),
    "unprotect_huge": ("2 MiB", {"entry": 8, "flags": 4}),
    "zap_huge": ("2 MiB", {"entry": 8, "flags, refcount, links": 16, "mapcounts, owner": 20, "queue": 8,
                           "table's record": 12}),
    "lock_huge": ("2 MiB", {"entry": 8, "flags, next, prev": 12}),
    "unlock_huge": ("2 MiB", {"entry": 8, "flags, next, prev": 12}),
    "pin_huge": ("2 MiB", {"entry": 8, "flags, refcount, pincount": 12, "list of frames": 2048}),
    "unpin_huge": ("2 MiB", {"refcount, pincount": 8, "list of frames": 2048}),
    "split_pmd": ("2 MiB", {"512 entries": 4096, "PMD": 8, "flags, refcount, mapcounts": 28}),
    "split_folio to order 0": ("2 MiB", {"512 entries": 4096, "512 records": 14336}),
    "split_folio to order 4": ("2 MiB", {"512 entries": 4096, "512 flags": 2048, "32 heads": 768}),
    "walk": ("address", {"address": 8, "4 entries": 32, "result": 14}),
}


class _Library:
    """The functions of floors.c without their prefix."""

    def __init__(self, path):
        library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(library, f"floor_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)


@functools.cache
def library():
    """The floors as functions.

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
    return _Library(target)


class Memory:
    """Arrays for floors: fresh host memory by name, freed together.

    Parameters
    ----------
    **sizes : int
        Bytes of each array; it becomes an attribute, the array's address.
    """

    def __init__(self, **sizes):
        self._arrays = {}
        for name, size in sizes.items():
            at = library().alloc(size)
            if at is None:
                self.close()
                raise MemoryError(f"floor: {name} of {size} bytes")
            self._arrays[name] = (at, size)
            setattr(self, name, at)

    def close(self):
        for at, size in self._arrays.values():
            library().free(at, size)
        self._arrays = {}


class Arrays(Memory):
    """Fresh host memory for the floor of n pages: the parent's entries, the child's, and the records.

    Parameters
    ----------
    n : int
        Pages.
    """

    def __init__(self, n):
        self.lib, self.n = library(), n
        super().__init__(pte=8 * n, child=8 * n, pages=self.lib.record_bytes() * n)

    def populate(self):
        self.lib.populate(self.pte, self.pages, self.n)

    def fork(self):
        self.lib.fork(self.pte, self.child, self.pages, self.n)
