"""How far the state of a machine is that of the processes: compared with smaps, and what /proc does not show."""
from collections import Counter

from foliosim._core.machine import SMAPS_NAMES

HIDDEN = (
    "whether an entry may be written, and whether a page is AnonExclusive: taken from the mapcount, which may have "
    "been higher before",
    "accessed and dirty bits entry by entry: taken from the sums of each area and the flags of each folio",
    "pins and other references, and who waits on the deferred split queue: only folios that are partly unmapped are "
    "put there",
    "the order of the LRU lists",
    "other processes that map the same files: their shares of Pss are missing",
)
FIELDS = tuple(name for name in SMAPS_NAMES if name not in ("KSM", "Shared_Hugetlb", "Private_Hugetlb"))
OF_FILES = ("Size", "KernelPageSize", "MMUPageSize", "Rss", "Anonymous", "AnonHugePages", "Swap", "THPeligible")


def compare(attached):
    """Every field of smaps, in every area, as read and as the machine has it.

    Parameters
    ----------
    attached : Attached

    Returns
    -------
    counts : Counter
        ``"areas"``, ``"fields"``: compared.
    differences : list of tuple
        (pid, start, field, read, in the machine).
    """
    counts, differences = Counter(), []
    for pid, picture in attached.pictures.items():
        rows = {int(row["start"]): row for row in attached.processes[pid].smaps()}
        for area in picture.areas:
            if area.name == "[vsyscall]":
                continue
            counts["areas"] += 1
            row = rows.pop(area.start, None)
            if row is None or int(row["end"]) != area.end:
                differences.append((pid, area.start, "area", f"to {area.end:#x}", "none like it"))
                continue
            got = {**{name: int(row[name]) for name in SMAPS_NAMES}, "perms": str(row["perms"]),
                   "VmFlags": _codes(str(row["VmFlags"]))}
            want = {**area.fields, "perms": area.perms, "VmFlags": _codes(area.flags)}
            for name in ("perms", "VmFlags", *(FIELDS if area.anonymous else OF_FILES)):
                if name in want:
                    counts["fields"] += 1
                    if got[name] != want[name]:
                        differences.append((pid, area.start, name, want[name], got[name]))
        differences.extend((pid, start, "area", "none", "one") for start in rows)
    return counts, differences


def _codes(text):
    return " ".join(code for code in text.split() if code != "sd")
