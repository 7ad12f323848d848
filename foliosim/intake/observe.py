"""What the kernel says of processes at one moment, as a truth holds it."""
import os
import re
from pathlib import Path

import numpy as np

from foliosim import flags
from foliosim.attach import proc
from foliosim.replay import truth

_STATUS = re.compile(r"^(Vm\w+|Rss\w+|HugetlbPages|Threads|THP_enabled|Tgid|PPid):\s+(\d+)", re.M)
_NAME = re.compile(r"Name:\s+(.*)")
_FIELD = re.compile(r"^(\w+):\s+(\d+)", re.M)
_MINFLT, _MAJFLT = 7, 9  # of stat, behind the name
_KPF_HUGE, _KPF_KSM = 1 << 17, 1 << 21
# Bit of a page word to where it comes from: pagemap, or kpageflags.
_PAGEMAP = {truth.PRESENT: flags.PM_PRESENT, truth.SWAPPED: flags.PM_SWAP, truth.EXCLUSIVE: flags.PM_MMAP_EXCLUSIVE,
            truth.FILE: flags.PM_FILE}
_KPAGEFLAGS = {truth.ANON: flags.KPF_ANON, truth.THP: flags.KPF_THP, truth.ZERO: flags.KPF_ZERO_PAGE,
               truth.MLOCKED: flags.KPF_MLOCKED, truth.HUGETLB: _KPF_HUGE, truth.KSM: _KPF_KSM}
_OF_ANONYMOUS = {truth.HEAD: flags.KPF_COMPOUND_HEAD, truth.TAIL: flags.KPF_COMPOUND_TAIL}


def process(pid):
    """One process.

    Parameters
    ----------
    pid : int

    Returns
    -------
    dict
        ``exe``, ``status``, ``rollup``, ``smaps``; without memory: ``exe`` and ``status`` only.
    """
    folder = Path(f"/proc/{pid}")
    stat = (folder / "stat").read_text().rpartition(")")[2].split()
    text = (folder / "status").read_text()
    status = {"Name": _NAME.match(text)[1], **{name: int(value) for name, value in _STATUS.findall(text)},
              "minflt": int(stat[_MINFLT]), "majflt": int(stat[_MAJFLT])}
    out = {"exe": _exe(folder), "status": status}
    try:
        areas = proc.areas_of(pid)
        rollup = {name: int(value) for name, value in _FIELD.findall((folder / "smaps_rollup").read_text())}
    except ProcessLookupError:  # it has given its memory back
        areas = []
    if not areas:
        return out
    return out | {"rollup": rollup, "smaps": [_area(area) for area in areas]}


def _exe(folder):
    try:
        return os.readlink(folder / "exe")
    except OSError:
        return ""


def _area(area):
    return {"start": area.start, "end": area.end, "perms": area.perms, "offset": area.offset, "dev": area.device,
            "inode": area.inode, "name": area.name, **area.fields, "VmFlags": area.flags, "pages": _runs(area)}


def _runs(area):
    """Runs ``[first page, count, word]``."""
    words = _gathered(area.words, _PAGEMAP)
    there = words & truth.PRESENT != 0
    words[there] |= _of_frames(area.words[there] & proc.PFN)
    first = np.flatnonzero((np.diff(area.pages.astype(np.int64), prepend=-2) != 1) | (np.diff(words, prepend=-1) != 0))
    return [[int(area.pages[at]), int(n), int(words[at])]
            for at, n in zip(first, np.diff(np.append(first, len(words))))]


def _of_frames(pfns):
    blocks, inverse = np.unique(pfns // np.uint64(proc.HUGE), return_inverse=True)
    found = proc.by_block("/proc/kpageflags", blocks)[inverse * proc.HUGE + (pfns % np.uint64(proc.HUGE)).astype(int)]
    words = _gathered(found, _KPAGEFLAGS)
    return words | np.where(words & truth.ANON, _gathered(found, _OF_ANONYMOUS), 0)


def _gathered(source, bits):
    words = np.zeros(len(source), np.int64)
    for to, bit in bits.items():
        words[source & np.uint64(bit) != 0] |= to
    return words
