"""The study half-mlock: a large folio, half of it mlocked; which of its pages can be reclaimed?

The folio is made under linux-6.18 and written in every page (a split maps pages that hold only zeros to the zero page).
Then the policy is installed and the first part of the mapping is mlocked.  With ``split_fails`` somebody holds a
short-term reference on each folio while that happens, and drops it before anything is counted.  With ``limit`` memory
becomes scarce before the reference is dropped: the machine, with swap for everything, must do with so much.

The shape merged-maps is a heap of small mappings that merge to one area, and are collapsed by khugepaged.
"""
import numpy as np

import foliosim as fs
from foliosim.policy import POINTS
from foliosim.study import half_mlock_plot
from foliosim.study.base import Key, Outcome, RefusedValue, Study, choice_value, machine_of, size_text, size_value
from foliosim.study.resident import pageout_bytes, resident_pages
from foliosim.study.scene import block_of, check_folio, folio_key
from foliosim.study.words import labels, listed, spread

_LEAST_PAGES = 16  # of a memory limit
_SMALL_MAPS = 8  # to a block that a PMD maps
_START = 1 << 30  # where such a block begins
_RIGHT = "exactly the locked pages"
_NAMED = 3  # policies; more are only counted
REJECTED = ("fail", "retry")  # of P01: mlock itself would fail, or do the same again

# What one page can be; the picture's colours.
LOCKED, UNDERSHOOT, OVERSHOOT, EVICTABLE, RECLAIMED = range(5)


def _locked(text):
    if text == "half":
        return text
    return size_value()(text)


def _limit(text):
    if text == "none":
        return text
    return size_value(1)(text)


KEYS = {
    "size": folio_key(),
    "locked": Key("half", _locked, "half, or whole pages up to size: bytes mlocked from the start"),
    "shape": Key("pmd", choice_value("pmd", "pte", "merged-maps"), "pmd (mapped by a PMD before mlock), pte (mapped by"
                 " PTEs), merged-maps (8 mappings a folio that merge, collapsed by khugepaged)"),
    "limit": Key("none", _limit, "none, or whole pages, at least 16: memory for folios and page tables once the"
                 " mapping is mlocked"),
    "split_fails": Key("both", choice_value("no", "yes", "both"),
                       "no, yes (an extra reference is held during mlock), both"),
}

COLUMNS = {
    "mlock_overshoot": "mlock_\novershoot",
    "mlock_undershoot": "mlock_\nundershoot",
    "pageout_bytes": "PAGEOUT\ncould take",
    "splits.ok": "splits\nok",
    "splits.failed": "splits\nfailed",
    "pmd_splits": "PMD\nsplits",
    "tlb_entries.plain": "TLB\nentries",
    "deferred.len": "deferred\nqueue",
    "deferred.partial": "of these\npartial",
    "swap_bytes": "swapped\nout",
    "oom": "limit\nmissed",
}


def cases(values):
    """The parameters of each block of runs; ``both`` becomes two."""
    size, locked, limit, page = (values[key] for key in ("size", "locked", "limit", "page_size"))
    check_folio(values, "size")
    locked = size // 2 if locked == "half" else locked
    if locked > size or locked % page:
        raise RefusedValue("locked", f"half, or a multiple of {size_text(page)} up to {size_text(size)}")
    if limit != "none" and (limit % page or limit < _LEAST_PAGES * page):
        raise RefusedValue("limit", f"none, or a multiple of {size_text(page)} from "
                           f"{size_text(_LEAST_PAGES * page)} on")
    shape = "pte" if size < block_of(page) else values["shape"]  # smaller folios have no PMD
    fails = ("no", "yes") if values["split_fails"] == "both" else (values["split_fails"],)
    return [{**values, "locked": locked, "shape": shape, "split_fails": answer} for answer in fails]


def _populate(parameters):
    # A machine with one process whose mapping consists of folios as large as can be.
    size, shape, huge = parameters["size"], parameters["shape"], block_of(parameters["page_size"])
    mthp = {} if size >= huge else {f"{size >> 10}kB": "madvise", f"{huge >> 10}kB": "never"}
    machine = machine_of(parameters, memory=max(32 * huge, 4 * size), thp="madvise", mthp=mthp,
                         swap=2 * size if parameters["limit"] != "none" else None)
    process = machine.spawn()
    addr = process.mmap(size, addr=_START, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    if shape == "merged-maps":
        _merge_and_collapse(machine, process, addr, size)
    process.madvise(addr, size, fs.MADV_HUGEPAGE)
    process.write(addr, size, value=1)
    if shape == "pte" and size >= huge:
        for block in range(addr, addr + size, huge):
            process.mprotect(block, huge // 2, fs.PROT_READ)
            process.mprotect(block, huge // 2, fs.PROT_READ | fs.PROT_WRITE)
    return machine, process, addr


def _merge_and_collapse(machine, process, addr, size):
    # The heap grows map by map, each touched before the next is made.
    process.munmap(addr, size)
    small = machine.core.pmd_size // _SMALL_MAPS
    for at in range(addr, addr + size, small):
        process.mmap(small, addr=at, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(at, small, value=1)
    process.madvise(addr, size, fs.MADV_HUGEPAGE)
    machine.khugepaged_scan(process)


def run(parameters, policy, seed):
    """One policy in one case."""
    size = parameters["size"]
    machine, process, addr = _populate(parameters)
    held = []
    if parameters["split_fails"] == "yes":
        held = [process.get_user_pages(block, machine.page_size)
                for block in range(addr, addr + size, machine.core.pmd_size)]
    machine.set_policy(policy)
    before = machine.ledger()  # what making the shape cost does not count
    process.mlock(addr, parameters["locked"])
    if parameters["limit"] != "none":
        machine.limit = parameters["limit"]
    for reference in held:
        reference.release()
    machine.validate()
    pages = resident_pages(machine, [process])
    numbers = {**(machine.ledger() - before), "pageout_bytes": pageout_bytes(machine, pages), **_pressure(machine)}
    return Outcome(numbers, _page_states(pages, process, addr, size))


def _pressure(machine):
    # What is still there, what went to swap, and whether the limit is kept (else Linux would kill somebody).
    usage, limit = machine.usage, machine.limit
    return {"rss_bytes": machine.ledger()["acct.Rss"], "swap_bytes": machine.swap_usage()[0] * machine.page_size,
            "oom": int(limit is not None and usage > limit)}


def _page_states(pages, process, addr, size):
    # Spans [state, folio, pages] of the mapping, in the order of addresses.
    words = process.pagemap(addr, size)
    pfns = words & np.uint64(fs.PM_PFRAME_MASK)
    gone = (words & np.uint64(fs.PM_PRESENT)) == 0
    at = np.minimum(np.searchsorted(pages.pfn, pfns), max(len(pages.pfn) - 1, 0))
    states = np.select(
        [pages.locked & pages.unevictable, pages.locked, pages.unevictable],
        [LOCKED, UNDERSHOOT, OVERSHOOT], EVICTABLE)
    if len(states) == 0:  # nothing is left
        states, heads = np.full(len(at), RECLAIMED), np.zeros(len(at), dtype=np.uint64)
    else:
        states, heads = np.where(gone, RECLAIMED, states[at]), np.where(gone, np.uint64(0), pages.head[at])
    edges = [0, *(np.flatnonzero((np.diff(states) != 0) | (np.diff(heads) != 0)) + 1).tolist(), len(at)]
    return [[int(states[start]), int(heads[start]), end - start] for start, end in zip(edges, edges[1:])]


def _exact(one):
    return one.metrics["mlock_overshoot"] == 0 and one.metrics["mlock_undershoot"] == 0


def _leaves(one):
    # "leaves 1 MiB of it on a list that reclaim takes from"
    over, under = one.metrics["mlock_overshoot"], one.metrics["mlock_undershoot"]
    parts = [f"leaves {size_text(under)} of it on a list that reclaim takes from"] if under else []
    parts += [f"makes {size_text(over)} unevictable that nobody locked"] if over else []
    return listed(parts or [f"keeps {_RIGHT}"])


def _who(exact, group):
    # "2 of 13 policies keep exactly the locked pages (a and b; 512 TLB entries)"
    if len(group) == 1:
        return f"{group[0].label} {'keeps' if exact else 'does not keep'} {_RIGHT}"
    what = "policies" if len({one.label for one in group}) == len(group) else "runs"
    if not exact:
        return f"none of {len(group)} {what} keeps {_RIGHT}"
    share = f"all {len(group)}" if len(exact) == len(group) else f"{len(exact)} of {len(group)}"
    notes = [labels(exact)] if len(exact) <= _NAMED else []
    notes.append(f"{spread(exact, 'tlb_entries.plain', str)} TLB entries")
    return f"{share} {what} keep {_RIGHT} ({'; '.join(notes)})"


def _under_pressure(group):
    limit = group[0].parameters["limit"]
    if limit == "none":
        return ""
    missed = [one for one in group if one.metrics["oom"]]
    if not missed:
        return f"; all {len(group)} keep to a limit of {size_text(limit)}"
    named = f": {labels(missed)}" if len(missed) <= _NAMED else ""
    return f"; {len(missed)} of {len(group)} cannot keep to a limit of {size_text(limit)}{named}"


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    size, locked = (size_text(first.parameters[name]) for name in ("size", "locked"))
    out = [f"With {locked} of {size} mlocked, {first.label} {_leaves(first)}."]
    for fails, when in (("no", "When nothing hinders a split"), ("yes", "When a reference makes splits fail")):
        group = [one for one in runs if one.parameters["split_fails"] == fails]
        if group:
            exact = [one for one in group if _exact(one)]
            out.append(f"{when}, {_who(exact, group)}{_under_pressure(group)}.")
    return " ".join(out)


STUDY = Study(
    name="half-mlock",
    question="Half of a large folio is mlocked: which policy keeps exactly the locked pages, and at what price?",
    keys=KEYS,
    points={point: tuple(name for name in POINTS[point].names if name not in REJECTED)
            for point in ("mlock_rule", "vma_split")},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=half_mlock_plot.picture,
)
