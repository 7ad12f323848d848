"""Pages that are swapped out: pagemap says which slot of which device holds each."""
from pathlib import Path

import numpy as np

from foliosim._core import restore
from foliosim.attach import proc
from foliosim.attach.proc import PAGE
from foliosim.errors import RestoreError

_DEVICE_BITS, _SLOT_BITS = 5, 50


def in_area(area):
    """Which of an area's words are of swapped anonymous pages."""
    return (area.words & proc.SWAPPED != 0) & (area.words & (proc.PRESENT | proc.GUARD | proc.OF_A_FILE) == 0)


class Devices:
    """The system's swap devices as one: the slots of each behind those of the one before.

    Attributes
    ----------
    size : int
        Bytes; at least what the pages read need.
    """

    def __init__(self, pictures, root):
        path = Path(root, "swaps")
        rows = path.read_text().splitlines()[1:] if path.exists() else ()
        sizes = [int(row.split()[-3]) * 1024 // PAGE for row in rows]
        self._first = np.cumsum([0, *sizes]).astype(np.uint64)
        most = max((int(self.slots(area.words[in_area(area)]).max(initial=0)) for picture in pictures
                    for area in picture.areas), default=0)
        self.size = max(sum(sizes), most) * PAGE

    def slots(self, words):
        """The slots that words of pagemap name."""
        device = np.minimum(words & np.uint64((1 << _DEVICE_BITS) - 1), np.uint64(len(self._first) - 1))
        offset = words >> np.uint64(_DEVICE_BITS) & np.uint64((1 << _SLOT_BITS) - 1)
        return self._first[device.astype(int)] + offset


def map_swapped(attached, devices):
    """Put the swap entries in their places; a slot that one entry holds is the page's own."""
    found = [(process, area, in_area(area)) for pid, process in attached.processes.items()
             for area in attached.pictures[pid].areas]
    slots = [devices.slots(area.words[mask]) for _, area, mask in found]
    _, inverse, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *slots]), return_inverse=True,
                                   return_counts=True)
    alone = np.split(counts[inverse] == 1, np.cumsum([len(some) for some in slots])[:-1]) if slots else ()
    for (process, area, mask), some, exclusive in zip(found, slots, alone):
        if not len(some):
            continue
        addrs = area.pages[mask] * np.uint64(PAGE) + np.uint64(area.start)
        try:
            restore.map_swapped(process, addrs, some.astype(np.uint32), exclusive.astype(np.uint8))
        except RestoreError:
            attached.left_out["areas with pages that are swapped out"] += 1
