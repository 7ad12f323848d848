"""From pictures of processes to a machine in the same state."""
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foliosim._core import restore
from foliosim.attach import proc
from foliosim.attach.anon import Pages, map_anonymous, parents_first
from foliosim.attach.areas import KERNEL_OWN, Files, add_area
from foliosim.attach.proc import HUGE, PAGE
from foliosim.attach.swapped import Devices, map_swapped
from foliosim.flags import KPF_ZERO_PAGE, MADV_GUARD_INSTALL
from foliosim.machine import Machine

_THP = "kernel/mm/transparent_hugepage"


@dataclass
class Attached:
    """A machine in the state of running processes.

    Attributes
    ----------
    machine : Machine
    pictures : dict of int to Picture
        By the pid in the system.
    processes : dict of int to Process
        The same in the machine.
    others : list of Process
        They stand for processes that share anonymous memory and were not read.
    left_out : Counter
        What is not in the machine: text to pages or areas.
    """

    machine: Machine
    pictures: dict
    processes: dict = field(default_factory=dict)
    others: list = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    files: object = field(default=None, repr=False)


def attach(pids, root="/proc"):
    """Read processes into a machine.

    Parameters
    ----------
    pids : sequence of int
        Those that share memory with one another.
    root : str
        Where /proc is; `Machine.write_proc` writes another.

    Returns
    -------
    Attached

    Raises
    ------
    AttachError
        A process cannot be read.
    """
    return build([proc.read(pid, root) for pid in dict.fromkeys(pids)], root)


def build(pictures, root="/proc"):
    """A machine from pictures of processes; frames are read now."""
    devices = Devices(pictures, root)
    attached = Attached(_machine(Path(root), devices.size), {picture.pid: picture for picture in pictures})
    pages = Pages(pictures, root)
    attached.files = Files(attached)
    for picture in parents_first(pictures):
        process = attached.machine.spawn()
        attached.processes[picture.pid] = process
        for area in picture.areas:
            add_area(attached, process, area)
        restore.set_heap(process, *picture.heap)
    map_anonymous(attached, pages)
    map_swapped(attached, devices)
    for picture in pictures:
        process = attached.processes[picture.pid]
        process.prctl_thp_disable(1)  # what is mapped page by page must stay so
        for area in picture.areas:
            _map_rest(attached, process, area, pages)
        process.prctl_thp_disable(0)
    attached.files.done()
    return attached


# ---- the system ----

def _machine(root, swap):
    text = (root / "meminfo").read_text() if (root / "meminfo").exists() else ""
    info = {name: int(value.split()[0]) << 10 for name, _, value in
            (line.partition(":") for line in text.splitlines()) if "kB" in value}
    thp = (Path("/sys") if root == Path("/proc") else root / "sys") / _THP
    sizes = {kind: {folder.name[len("hugepages-"):]: _chosen(folder / kind) for folder in thp.glob("hugepages-*")
                    if (folder / kind).exists()} for kind in ("enabled", "shmem_enabled")}
    return Machine(memory=info.get("MemTotal", "64G"), swap=swap or None,
                   thp=_chosen(thp / "enabled"), mthp=sizes["enabled"], shmem_enabled=_chosen(thp / "shmem_enabled"),
                   mthp_shmem=sizes["shmem_enabled"])


def _chosen(path):
    text = path.read_text() if path.exists() else "never"
    return text[text.find("[") + 1:text.find("]")] if "[" in text else text.strip()


# ---- what is not an anonymous folio ----

def _map_rest(attached, process, area, pages):
    if area.name in ("[vsyscall]", *KERNEL_OWN):
        if area.name == "[vdso]":
            _touch(attached, process, area, area.words & proc.PRESENT != 0)
        return
    words = area.words
    present = words & proc.PRESENT != 0
    guards = (words & proc.GUARD != 0) & ~present
    for start, end in _stretches(area.pages[guards]):
        process.madvise(area.start + start * PAGE, (end - start) * PAGE, MADV_GUARD_INSTALL)
    of_file = words & proc.OF_A_FILE != 0
    attached.left_out["pages of shared memory that are swapped out"] += int(
        ((words & proc.SWAPPED != 0) & ~guards & ~present & of_file).sum())
    if area.anonymous:  # the huge zero page counts as a file's
        for page in area.pages[present & of_file & (_numbers(area) % np.uint64(HUGE) == 0)].tolist():
            restore.map_huge_zero(process, area.start + page * PAGE)
    else:
        _touch(attached, process, area, present & of_file)
    zero = present & ~of_file
    zero[zero] = pages.frames.flags[pages.frames.at(words[zero] & proc.PFN)] & np.uint64(KPF_ZERO_PAGE) != 0
    _touch(attached, process, area, zero)


def _numbers(area):
    """Its pages by number in the address space."""
    return area.pages + np.uint64(area.start // PAGE)


def _touch(attached, process, area, mask):
    if mask.any() and area.perms[0] != "r":
        attached.left_out["pages of files or zero pages in areas that cannot be read"] += int(mask.sum())
        return
    for start, end in _stretches(area.pages[mask]):
        process.touch(area.start + start * PAGE, (end - start) * PAGE)


def _stretches(pages):
    """(first, behind the last) of pages in a row."""
    first = np.flatnonzero(np.diff(pages.astype(np.int64), prepend=-2) != 1)
    last = np.append(first[1:], len(pages)) - 1
    return zip(pages[first].tolist(), (pages[last] + np.uint64(1)).tolist()) if len(pages) else ()
