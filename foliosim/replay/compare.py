"""Comparing the emulated processes with what the kernel said of them, field by field."""
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from foliosim._core.machine import SMAPS_NAMES
from foliosim.flags import (
    KPF_ANON,
    KPF_COMPOUND_HEAD,
    KPF_COMPOUND_TAIL,
    KPF_MLOCKED,
    KPF_THP,
    KPF_ZERO_PAGE,
    PM_FILE,
    PM_MMAP_EXCLUSIVE,
    PM_PFRAME_MASK,
    PM_PRESENT,
)
from foliosim.procfs.status import kinds
from foliosim.replay import truth as _truth

# Field to what one value of it is, in the order of the report.
FIELDS = {
    "areas": "areas: start and end", "perms": "areas", "VmFlags": "areas", "offset": "areas of files",
    "present": "anonymous pages", "words": "anonymous pages: all bits", "exclusive": "anonymous pages",
    "zero pages": "pages", "Anonymous": "areas", "AnonHugePages": "areas", "Rss": "anonymous areas",
    "Pss": "anonymous areas", "Private": "anonymous areas", "Shared": "anonymous areas", "Locked": "anonymous areas",
    "THPeligible": "areas", "VmSize": "processes", "VmLck": "processes", "VmData": "processes", "VmStk": "processes",
    "VmPTE": "processes", "RssAnon": "processes", "minflt+majflt": "processes, since execve",
    "RssFile": "processes", "RssShmem": "processes", "file Rss": "areas of files",
}
# The state of the page cache takes part in these.
CACHE = {"RssFile", "RssShmem", "file Rss"}
# What must follow: in the mode that was recorded, and in another one.  Two runs of a program differ in when its
# processes do what, and so in what they share at a moment; threads may map other areas.
SAME_MODE = set(FIELDS) - CACHE
# A fault that the kernel gave up and took again may count once or twice; a trace does not tell.
TOLERANCE = {"minflt+majflt": 0.002}
OTHER_MODE = {"perms", "offset", "present", "Anonymous", "AnonHugePages", "zero pages"}
_GATE = "[vsyscall]"
_PFNMAP = "pf"
_PAGE_KB = 4
_KEPT = 50


@dataclass
class Tally:
    """One field over all snapshots.

    Attributes
    ----------
    values, equal : int
        Values compared, and those that were equal.
    off, total : int
        Sum of the differences, and of the truth's values (kB or faults), where the values are numbers.
    """

    values: int = 0
    equal: int = 0
    off: int = 0
    total: int = 0

    def add(self, got, want):
        """Compare two values."""
        self.values += 1
        self.equal += got == want
        if isinstance(want, int):
            self.off += abs(got - want)
            self.total += want
        return got == want


@dataclass
class Comparison:
    """The outcome of all comparisons so far.

    Attributes
    ----------
    must : set of str
        Fields that must be equal.
    fields : dict of str to Tally
    differences : list of str
        The first ones, in words.
    left_out : Counter
        Processes in the truth that could not be compared, by reason.
    """

    must: set = field(default_factory=lambda: SAME_MODE)
    fields: dict = field(default_factory=lambda: {name: Tally() for name in FIELDS})
    differences: list = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    snapshots: int = 0
    processes: int = 0

    @property
    def follows(self):
        """Is everything equal that must be?"""
        return self.processes > 0 and all(self.holds(name) for name in self.must)

    def holds(self, name):
        """Is this field equal, or as near as `TOLERANCE` says?"""
        tally = self.fields[name]
        return tally.equal == tally.values or tally.off < TOLERANCE.get(name, 0) * tally.total

    def check(self, name, where, got, want):
        """Compare one value; a difference is written down."""
        if not self.fields[name].add(got, want):
            self.explain(name, f"{where}: {name} {got}, recorded {want}")

    def explain(self, name, text):
        """Keep the words for a difference, if it is one that must not be."""
        if name in self.must and len(self.differences) < _KEPT:
            self.differences.append(text)


def anonymous_words(process, start):
    """Pages of one area in the bits of a truth: (page, word) of anonymous and zero pages that are there."""
    at, pagemap = process.machine.core.procfs.mapped_pages(process, start)
    present = (pagemap & np.uint64(PM_PRESENT)) != 0
    at, pagemap = at[present], pagemap[present]
    flags = process.machine.kpageflags(pagemap & np.uint64(PM_PFRAME_MASK))
    words = np.full(len(at), _truth.PRESENT, np.int64)
    for source, bit, to in (
        (pagemap, PM_MMAP_EXCLUSIVE, _truth.EXCLUSIVE), (pagemap, PM_FILE, _truth.FILE), (flags, KPF_ANON, _truth.ANON),
        (flags, KPF_COMPOUND_HEAD, _truth.HEAD), (flags, KPF_COMPOUND_TAIL, _truth.TAIL), (flags, KPF_THP, _truth.THP),
        (flags, KPF_ZERO_PAGE, _truth.ZERO), (flags, KPF_MLOCKED, _truth.MLOCKED),
    ):
        words[(source & np.uint64(bit)) != 0] |= to
    return keep_anonymous(at, words)


def keep_anonymous(at, words):
    """Those pages that are anonymous or a zero page; of a zero page a truth does not say head or tail."""
    words = np.where(words & _truth.ANON, words, words & ~(_truth.HEAD | _truth.TAIL))
    wanted = (words & (_truth.ANON | _truth.ZERO)) != 0
    return at[wanted], words[wanted]


def compare_process(out, where, process, want):
    """Compare one process.

    Parameters
    ----------
    out : Comparison
    where : str
        Snapshot and process, for messages.
    process : Process
    want : dict
        The process in the truth.
    """
    areas = {area[0]: area for area in process.machine.core.procfs.areas(process)}
    wanted = {area["start"]: area for area in want["smaps"] if area["name"] != _GATE}
    for start in sorted(areas.keys() | wanted.keys()):
        got, area = areas.get(start), wanted.get(start)
        out.check("areas", where, _bounds(start, got and got[1]), _bounds(start, area and area["end"]))
        if got is not None and area is not None:
            _compare_area(out, f"{where} {start:#x}-{got[1]:#x}", process, got, area)
        elif area is not None and "areas" in out.must:
            out.fields["present"].values += len(keep_anonymous(*_truth.words_of(area))[0])
    _compare_status(out, where, process, want["status"])


def _bounds(start, end):
    return f"{start:#x}-{end:#x}" if end else f"no area at {start:#x}"


def _compare_area(out, where, process, got, want):
    start, _, vm_flags, text, offset, _, kind, values = got
    smaps = dict(zip(SMAPS_NAMES, values))
    is_file = kind != 0
    perms = "".join(letter if vm_flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
    out.check("perms", where, perms + ("s" if vm_flags & 0x80 else "p"), want["perms"])
    out.check("VmFlags", where, " ".join(text.split()), " ".join(want["VmFlags"].split()))
    out.check("THPeligible", where, smaps["THPeligible"], want.get("THPeligible", 0))
    for name in ("Anonymous", "AnonHugePages"):
        out.check(name, where, smaps[name], want.get(name, 0))
    if is_file:
        if want["offset"] or offset:
            out.check("offset", where, offset, want["offset"])
        out.check("file Rss", where, smaps["Rss"], want.get("Rss", 0))
    else:
        for name in ("Rss", "Pss", "Locked"):
            out.check(name, where, smaps[name], want.get(name, 0))
        for name in ("Private", "Shared"):
            parts = (f"{name}_Clean", f"{name}_Dirty")
            out.check(name, where, sum(smaps[part] for part in parts), sum(want.get(part, 0) for part in parts))
    if _PFNMAP not in text.split():
        _compare_pages(out, where, anonymous_words(process, start), keep_anonymous(*_truth.words_of(want)))


def _compare_pages(out, where, got, want):
    pages = np.union1d(got[0], want[0])
    words = [np.zeros(len(pages), np.int64) for _ in range(2)]
    for word, (at, values) in zip(words, (got, want)):
        word[np.searchsorted(pages, at)] = values
    both = (words[0] != 0) & (words[1] != 0)
    _count_pages(out, "present", where, pages, *(word & _truth.PRESENT for word in words))
    _count_pages(out, "words", where, pages[both], words[0][both], words[1][both])
    exclusive = [word[both] & _truth.EXCLUSIVE for word in words]
    _count_pages(out, "exclusive", where, pages[both], *exclusive)
    zero = ((words[0] | words[1]) & _truth.ZERO) != 0
    _count_pages(out, "zero pages", where, pages[zero], words[0][zero], words[1][zero])


def _count_pages(out, name, where, pages, got, want):
    tally = out.fields[name]
    different = np.nonzero(got != want)[0]
    tally.values += len(pages)
    tally.equal += len(pages) - len(different)
    if len(different):
        first = different[0]
        out.explain(name, f"{where}: {name}: {len(different):,} of {len(pages):,} pages, first page {pages[first]}: "
                          f"{words_text(int(got[first]))}, recorded {words_text(int(want[first]))}")


_BITS = ("present", "swapped", "exclusive", "file", "anon", "head", "tail", "thp", "zero", "mlocked", "hugetlb")


def words_text(word):
    """A page word for people."""
    return "+".join(name for bit, name in enumerate(_BITS) if word >> bit & 1) or "nothing"


def _compare_status(out, where, process, status):
    counts = process.counts()
    data, stack, _ = kinds(process)
    tables = counts["nr_ptes"] + counts["nr_pmds"] + counts["nr_puds"]
    pages = {"VmSize": counts["total_vm"], "VmLck": counts["locked_vm"], "VmData": data, "VmStk": stack,
             "VmPTE": tables, "RssAnon": counts["rss_anon"], "RssFile": counts["rss_file"],
             "RssShmem": counts["rss_shmem"]}
    for name, number in pages.items():
        if name in status:
            out.check(name, where, number * _PAGE_KB, status[name])
