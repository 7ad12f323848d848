"""Reading a process through /proc, without stopping or changing it."""
import ctypes
import fcntl
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

PAGE = os.sysconf("SC_PAGESIZE")
PFN = np.uint64((1 << 55) - 1)
PRESENT, SWAPPED, OF_A_FILE, GUARD = (np.uint64(1 << bit) for bit in (63, 62, 61, 58))
HEAD, TAIL = np.uint64(1 << 15), np.uint64(1 << 16)
HUGE = 512
_TRIES = 3
_PAGEMAP_SCAN, _REGIONS = 0xC0606610, 1024
_PAGE_IS_PRESENT, _PAGE_IS_SWAPPED, _PAGE_IS_HUGE = 1 << 3, 1 << 4, 1 << 6
_CHUNK = 1 << 16  # pages
_HEADER = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+) *(.*)$", re.M)
_FIELD = re.compile(r"^(\w+): +(\d+)(?: kB)?$", re.M)


class AttachError(Exception):
    """The process cannot be read."""


@dataclass
class Area:
    """One area of a process, as smaps and pagemap show it.

    Attributes
    ----------
    start, end, offset : int
        Bytes.
    perms, device, name : str
    inode : int
    flags : str
        The codes of VmFlags.
    fields : dict of str to int
        The other lines of smaps.
    pages, words : numpy.ndarray of uint64
        Pagemap where it is not empty: page from the start of the area, ascending, and its word.
    huge : set of int or None
        Addresses that PMDs map; None: this kernel does not tell (PAGEMAP_SCAN came with 6.7).
    """

    start: int
    end: int
    perms: str
    offset: int
    device: str
    inode: int
    name: str
    flags: str
    fields: dict
    pages: np.ndarray = field(repr=False, default=None)
    words: np.ndarray = field(repr=False, default=None)
    huge: set = field(repr=False, default=None)

    @property
    def anonymous(self):
        """Private anonymous memory: no file, and not memory that the kernel provides."""
        return self.inode == 0 and self.perms[3] == "p" and self.name not in ("[vdso]", "[vvar]", "[vvar_vclock]",
                                                                             "[vsyscall]")


@dataclass
class Picture:
    """A process at one moment, or nearly.

    Attributes
    ----------
    pid, parent : int
    name : str
    areas : list of Area
    heap : tuple of int
        Start and end of the heap, (0, 0): none.
    changed : int
        Areas that changed while they were read, at the last try.
    """

    pid: int
    parent: int
    name: str
    areas: list
    heap: tuple
    changed: int


class Frames:
    """kpageflags and kpagecount of the frames that processes map.

    Attributes
    ----------
    pfns : numpy.ndarray of uint64
        Ascending: all frames of each 2 MiB block of which a frame is mapped.
    flags, counts : numpy.ndarray of uint64
    heads : numpy.ndarray of uint64
        By frame: the first frame of its folio.
    orders : numpy.ndarray of uint8
        By frame: of its folio.
    """

    def __init__(self, mapped, root="/proc"):
        blocks = np.unique(mapped // np.uint64(HUGE))
        self.pfns = (blocks[:, None] * np.uint64(HUGE) + np.arange(HUGE, dtype=np.uint64)).ravel()
        self.flags, self.counts = (by_block(f"{root}/{name}", blocks) for name in ("kpageflags", "kpagecount"))
        at = np.arange(len(self.pfns))
        starts = self.flags & TAIL == 0
        first = np.maximum.accumulate(np.where(starts, at, 0))
        size = np.diff(np.append(np.flatnonzero(starts), len(at)))
        self.heads = self.pfns[first] if len(at) else self.pfns
        self.orders = np.log2(size[np.cumsum(starts) - 1]).astype(np.uint8) if len(at) else np.zeros(0, np.uint8)

    def at(self, pfns):
        """Positions of frames in the arrays."""
        return np.searchsorted(self.pfns, pfns)


def by_block(path, blocks):
    """Words of whole blocks of `HUGE` frames; neighbouring blocks are read at once."""
    out = np.zeros(len(blocks) * HUGE, np.uint64)
    cuts = np.flatnonzero(np.diff(blocks) != 1) + 1
    with open(path, "rb", buffering=0) as file:
        for part in np.split(np.arange(len(blocks)), cuts):
            if len(part):
                data = os.pread(file.fileno(), len(part) * HUGE * 8, int(blocks[part[0]]) * HUGE * 8)
                words = np.frombuffer(data, np.uint64)
                out[part[0] * HUGE:part[0] * HUGE + len(words)] = words
    return out


def check(pid, root="/proc"):
    """AttachError if this process cannot be read by this user."""
    if not Path(f"{root}/kpageflags").exists():
        raise AttachError("this system has no /proc/kpageflags: attach needs Linux with CONFIG_PROC_PAGE_MONITOR")
    if os.geteuid() != 0 and root == "/proc":
        raise AttachError("attach needs root: /proc/kpageflags and the frames in pagemap are shown to nobody else")
    if not Path(f"{root}/{pid}").exists():
        raise AttachError(f"no process {pid}")
    if not Path(f"{root}/{pid}/smaps").read_text():
        raise AttachError(f"process {pid} has no memory: a thread of the kernel, or a process that has ended")


def read(pid, root="/proc"):
    """Read a process; again if it changes meanwhile, a few times.

    Parameters
    ----------
    pid : int
    root : str
        Where /proc is; `Machine.write_proc` writes another.

    Returns
    -------
    Picture

    Raises
    ------
    AttachError
        It cannot be read: the message says why.
    """
    check(pid, root)
    try:
        for _ in range(_TRIES):
            areas = areas_of(pid, root)
            changed = _differing(areas, _areas(pid, root))
            if not changed:
                break
        status = Path(f"{root}/{pid}/status").read_text()
        heap = next(((area.start, area.end) for area in areas if area.name == "[heap]"), (0, 0))
        return Picture(pid, int(re.search(r"^PPid:\s+(\d+)", status, re.M)[1]),
                       re.search(r"^Name:\s+(.*)", status, re.M)[1], areas, heap, changed)
    except (FileNotFoundError, ProcessLookupError):
        raise AttachError(f"process {pid} ended while it was read") from None


def areas_of(pid, root="/proc"):
    """The areas of a process with their pages, read once.

    Returns
    -------
    list of Area
    """
    areas = _areas(pid, root)
    _read_pagemap(pid, areas, root)
    return areas


def _areas(pid, root):
    text = Path(f"{root}/{pid}/smaps").read_text()
    headers = list(_HEADER.finditer(text))
    out = []
    for header, end in zip(headers, [*(one.start() for one in headers[1:]), len(text)]):
        body = text[header.end():end]
        fields = {name: int(value) for name, value in _FIELD.findall(body)}
        flags = re.search(r"^VmFlags: (.*)$", body, re.M)
        out.append(Area(int(header[1], 16), int(header[2], 16), header[3], int(header[4], 16), header[5],
                        int(header[6]), header[7], flags[1].strip() if flags else "", fields))
    return out


def _read_pagemap(pid, areas, root):
    with open(f"{root}/{pid}/pagemap", "rb", buffering=0) as file:
        fd, live = file.fileno(), root == "/proc"
        for area in areas:
            found = None
            if live:
                found = _scan(fd, area.start, area.end, any_of=_PAGE_IS_PRESENT | _PAGE_IS_SWAPPED)
            area.pages, area.words = _words(fd, area, [(area.start, area.end)] if found is None else found)
            if area.fields.get("AnonHugePages") and live:
                huge = _scan(fd, area.start, area.end, all_of=_PAGE_IS_HUGE)
                area.huge = None if huge is None else {at for one in huge for at in range(*one, PAGE * HUGE)}


def _words(fd, area, ranges):
    """Pages and words of pagemap in ranges of addresses; those that say nothing are left out."""
    pages, words = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for start, end in ranges if area.name != "[vsyscall]" else ():
        for at in range(start // PAGE, end // PAGE, _CHUNK):
            data = os.pread(fd, (min(end // PAGE, at + _CHUNK) - at) * 8, at * 8)
            some = np.frombuffer(data, np.uint64)
            where = np.flatnonzero(some & (PRESENT | SWAPPED | GUARD))
            pages.append((where + (at - area.start // PAGE)).astype(np.uint64))
            words.append(some[where])
    return np.concatenate(pages), np.concatenate(words)


def _scan(fd, start, end, *, all_of=0, any_of=0):
    """Ranges of pages of some kinds, by PAGEMAP_SCAN (fs/proc/task_mmu.c); None: there is no such ioctl."""
    regions = (ctypes.c_uint64 * (3 * _REGIONS))()
    out = []
    while start < end:
        argument = bytearray(struct.pack("<12Q", 96, 0, start, end, 0, ctypes.addressof(regions), _REGIONS, 0, 0,
                                         all_of, any_of, _PAGE_IS_PRESENT))
        try:
            found = fcntl.ioctl(fd, _PAGEMAP_SCAN, argument)
        except OSError:
            return None
        for at in range(0, 3 * found, 3):
            if out and out[-1][1] == regions[at]:
                out[-1] = out[-1][0], regions[at + 1]
            else:
                out.append((regions[at], regions[at + 1]))
        start = struct.unpack_from("<Q", argument, 32)[0]
    return out


def _differing(before, after):
    first = {(area.start, area.end): (area.perms, area.flags, area.fields) for area in before}
    then = {(area.start, area.end): (area.perms, area.flags, area.fields) for area in after}
    return sum(then.get(key) != value for key, value in first.items()) + len(then.keys() - first.keys())
