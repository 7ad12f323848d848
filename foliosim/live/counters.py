"""Event counters of the kernel, and how they change."""
import contextlib
import os
from pathlib import Path

from foliosim.live.settings import SHMEM_SIZES, THP

VMSTAT = (
    "pgdeactivate", "pglazyfree", "pglazyfreed",
    "unevictable_pgs_culled", "unevictable_pgs_rescued", "unevictable_pgs_mlocked", "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared", "unevictable_pgs_stranded",
    "thp_fault_alloc", "thp_fault_fallback", "thp_collapse_alloc", "thp_collapse_alloc_failed", "thp_file_alloc",
    "thp_file_fallback", "thp_file_mapped", "thp_split_page", "thp_split_page_failed", "thp_deferred_split_page",
    "thp_split_pmd", "thp_split_pud",
)
MTHP = ("anon_fault_alloc", "anon_fault_fallback", "split", "split_failed", "split_deferred", "nr_anon",
        "nr_anon_partially_mapped", "shmem_alloc", "shmem_fallback")


class Counters:
    """Reads /proc/vmstat and the statistics of each folio size."""

    def __init__(self):
        self._vmstat = os.open("/proc/vmstat", os.O_RDONLY | os.O_CLOEXEC)
        self._files = {}
        for size in SHMEM_SIZES:
            for name in MTHP:
                path = Path(THP, f"hugepages-{size}", "stats", name)
                with contextlib.suppress(OSError):
                    self._files[size, name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._lines = self._find_lines()

    def _find_lines(self):
        # Line number of each counter: the order of the lines does not change while the kernel runs.
        names = [line.split()[0].decode() for line in os.pread(self._vmstat, 1 << 16, 0).splitlines()]
        return {name: names.index(name) for name in VMSTAT if name in names}

    def missing(self):
        """Names of the counters that this kernel does not have."""
        return [name for name in VMSTAT if name not in self._lines]

    def read(self):
        """All counters."""
        lines = os.pread(self._vmstat, 1 << 16, 0).split(b"\n")
        vmstat = [int(lines[at].partition(b" ")[2]) for at in self._lines.values()]
        return vmstat, [int(os.pread(fd, 32, 0)) for fd in self._files.values()]

    def changes(self, before, after):
        """``vmstat`` and ``mthp_stats`` of a step: what changed between two readings."""
        vmstat, mthp = {}, {}
        if before[0] != after[0]:
            vmstat = {name: b - a for name, a, b in zip(self._lines, before[0], after[0]) if a != b}
        if before[1] != after[1]:
            for (size, name), a, b in zip(self._files, before[1], after[1]):
                if a != b:
                    mthp.setdefault(size, {})[name] = b - a
        return {"vmstat": vmstat, "mthp_stats": mthp}

    def close(self):
        """Close all files."""
        for fd in (self._vmstat, *self._files.values()):
            os.close(fd)
