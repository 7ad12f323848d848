"""What there is to see of a machine at one moment, as plain data."""
from dataclasses import dataclass

import numpy as np

from foliosim import flags

PMD, SHARED, MLOCKED, PINNED, ZERO, FILE, PARTIAL, SWAPPED, GUARD = (1 << bit for bit in range(9))
NAMES = {PMD: "mapped by a PMD", SHARED: "shared", MLOCKED: "mlocked", PINNED: "pinned", ZERO: "zero page",
         FILE: "file or shared memory", PARTIAL: "folio partly unmapped", SWAPPED: "swapped out", GUARD: "guard region"}
_FOLL_PIN = 0x80000
_PRESENT, _SWAP, _FILE, _FRAME = (np.uint64(bit) for bit in (flags.PM_PRESENT, flags.PM_SWAP, flags.PM_FILE,
                                                             flags.PM_PFRAME_MASK))
_GUARD = np.uint64(1 << 58)
_COMPOUND = np.uint64(flags.KPF_COMPOUND_HEAD | flags.KPF_COMPOUND_TAIL)


@dataclass(frozen=True)
class Facts:
    """Per frame: order and first frame of its folio, flags of `NAMES`, mapcount."""

    order: np.ndarray
    head: np.ndarray
    bits: np.ndarray
    count: np.ndarray


def scene(machine, names=None, title=""):
    """A machine, process by process and area by area.

    Parameters
    ----------
    machine : Machine
    names : dict, optional
        Inode to the name of a file.
    title : str

    Returns
    -------
    dict
        ``page_size`` in bytes, ``row``: pages that a PMD maps; ``processes`` with ``areas`` with ``runs``: lists of
        page (from the area's start), pages, order, bits (`NAMES`), frame, page of the folio, mapcount.
        Pages in a row of the same folio make a run, single pages in a
        row that are alike too.
    """
    pinned = _pinned_frames(machine)
    processes = [{"pid": process.pid, "areas": _areas(machine, process, names or {}, pinned)}
                 for process in machine.processes()]
    return {"title": title, "page_size": machine.page_size, "row": 1 << machine.core.pmd_order,
            "processes": processes}


def area_scene(machine, process, row, pinned=None, names=None):
    """One area, a row of `Process.smaps`."""
    start, end = int(row["start"]), int(row["end"])
    if pinned is None:
        pinned = _pinned_frames(machine)
    inode = int(row["inode"])
    return {"start": f"{start:x}", "end": f"{end:x}", "perms": str(row["perms"]), "flags": str(row["VmFlags"]),
            "page_size": machine.page_size, "pages": (end - start) // machine.page_size, "rss": int(row["Rss"]),
            "anon": int(row["Anonymous"]), "locked": int(row["Locked"]),
            "name": (names or {}).get(inode, f"file {inode}" if inode else ""),
            "runs": _runs(machine, process, start, pinned)}


def _areas(machine, process, names, pinned):
    return [area_scene(machine, process, row, pinned, names) for row in process.smaps()]


def _pinned_frames(machine):
    references, frames = machine.core.branch.get_references(machine)
    pins = np.repeat([bool(one["flags"] & _FOLL_PIN) for one in references], [one["pages"] for one in references])
    return np.unique(frames[pins.astype(bool)]) if len(frames) else frames


def _facts(machine, pfns, pinned):
    words, count = machine.kpageflags(pfns), machine.kpagecount(pfns).astype(np.int64)
    order, head = np.zeros(len(pfns), np.int64), pfns.astype(np.int64)
    bits = np.where(words & np.uint64(flags.KPF_ZERO_PAGE), ZERO, 0)
    compound = (words & _COMPOUND != 0) & (bits == 0)
    bits |= np.where((count > 1) & (bits == 0), SHARED, 0)
    bits |= np.where(words & np.uint64(flags.KPF_MLOCKED), MLOCKED, 0) | np.where(np.isin(pfns, pinned), PINNED, 0)
    at = np.flatnonzero(compound)
    while len(at):  # folio by folio: its pages are in the array in any order
        folio = machine.folio(int(pfns[at[0]]))
        mine = at[(pfns[at] >= folio.pfn) & (pfns[at] < folio.pfn + folio.nr_pages)]
        order[mine], head[mine] = folio.order, folio.pfn
        bits[mine] |= PARTIAL if folio.partially_mapped else 0
        at = np.setdiff1d(at, mine, assume_unique=True) if mine[-1] - mine[0] + 1 != len(mine) else at[len(mine):]
    return Facts(order, head, bits, count)


def _runs(machine, process, start, pinned):
    page, words = machine.core.procfs.mapped_pages(process, start)
    present = words & _PRESENT != 0
    away = np.flatnonzero(~present & (words != 0))
    out = [[int(page[at]), 1, 0, GUARD if words[at] & _GUARD else SWAPPED, 0, 0, 0] for at in away.tolist()
           if words[at] & (_GUARD | _SWAP)]
    page, words = page[present], words[present]
    if not len(page):
        return _joined(out)
    pfns = words & _FRAME
    facts = _facts(machine, pfns, pinned)
    level = process.walk(page.astype(np.uint64) * np.uint64(machine.page_size) + np.uint64(start))["level"]
    bits = facts.bits | np.where(level > 0, PMD, 0)
    bits |= np.where((words & _FILE != 0) & (facts.bits & ZERO == 0), FILE, 0)
    first = pfns.astype(np.int64) - facts.head
    same = [np.diff(page) == 1, np.diff(facts.order) == 0, np.diff(bits) == 0, np.diff(facts.count) == 0]
    same.append((facts.order[1:] == 0) | (np.diff(facts.head) == 0) & (np.diff(first) == 1))
    starts = np.flatnonzero(np.append(True, ~np.logical_and.reduce(same)))
    n = np.diff(np.append(starts, len(page)))
    columns = (page[starts], n, facts.order[starts], bits[starts], pfns[starts], first[starts], facts.count[starts])
    out.extend(list(row) for row in zip(*(np.asarray(column).astype(np.int64).tolist() for column in columns)))
    return _joined(sorted(out)) if away.size else out


def _joined(runs):
    out = []
    for run in runs:
        if out and out[-1][0] + out[-1][1] == run[0] and out[-1][3] == run[3] and run[3] & (SWAPPED | GUARD):
            out[-1][1] += 1
        else:
            out.append(run)
    return out


# ---- sums ----

def orders_of(area):
    """Pages by the order of their folio, of anonymous memory that is present."""
    out = {}
    for _, n, order, bits, *_ in area["runs"]:
        if not bits & (ZERO | FILE | SWAPPED | GUARD):
            out[order] = out.get(order, 0) + n
    return dict(sorted(out.items()))


def pages_with(area, bit):
    """Pages of an area that have a flag of `NAMES`."""
    return sum(run[1] for run in area["runs"] if run[3] & bit)
