"""The pages that some processes have in memory, one by one, and what MADV_PAGEOUT could take of them."""
from dataclasses import dataclass

import numpy as np

from foliosim.flags import (
    KPF_ANON,
    KPF_COMPOUND_HEAD,
    KPF_COMPOUND_TAIL,
    KPF_LRU,
    KPF_UNEVICTABLE,
    KPF_ZERO_PAGE,
    PM_PFRAME_MASK,
    PM_PRESENT,
)


@dataclass(frozen=True, eq=False)
class ResidentPages:
    """Every page of the folios that some processes map, as it is at one moment; arrays with one element per page.

    Attributes
    ----------
    pfn : numpy.ndarray of uint64
        Frame numbers, ascending.  Zero pages are left out.
    head : numpy.ndarray of uint64
        Frame number of the first page of its folio.
    flags : numpy.ndarray of uint64
        Words of /proc/kpageflags.
    locked : numpy.ndarray of bool
        Some VM_LOCKED VMA maps it.
    advisable : numpy.ndarray of bool
        Some VMA without VM_LOCKED maps it, so that MADV_PAGEOUT may be called on it.
    """

    pfn: np.ndarray
    head: np.ndarray
    flags: np.ndarray
    locked: np.ndarray
    advisable: np.ndarray

    @property
    def unevictable(self):
        """Its folio is on the unevictable list."""
        return (self.flags & np.uint64(KPF_UNEVICTABLE)) != 0

    @property
    def evictable(self):
        """Its folio is on a list that reclaim takes from."""
        return ((self.flags & np.uint64(KPF_LRU)) != 0) & ~self.unevictable


def resident_pages(machine, processes):
    """The pages of the folios that processes map.

    Parameters
    ----------
    machine : Machine
    processes : iterable of Process

    Returns
    -------
    ResidentPages
        Pages of a folio that nothing maps any more are included if another page of the folio is mapped.
    """
    mapped = {True: [np.empty(0, np.uint64)], False: [np.empty(0, np.uint64)]}
    for process in processes:
        for area in process.smaps():
            words = process.pagemap(int(area["start"]), int(area["end"] - area["start"]))
            present = words[(words & np.uint64(PM_PRESENT)) != 0]
            mapped["lo" in area["VmFlags"].split()].append(present & np.uint64(PM_PFRAME_MASK))
    locked, advisable = np.concatenate(mapped[True]), np.concatenate(mapped[False])
    pfn, head, flags = _whole_folios(machine, np.unique(np.concatenate([locked, advisable])))
    return ResidentPages(pfn, head, flags, np.isin(pfn, locked), np.isin(pfn, advisable))


def _whole_folios(machine, pfns):
    # All pages of the folios of these pages: frame numbers, heads, flags.
    flags = machine.kpageflags(pfns)
    nonzero = (flags & np.uint64(KPF_ZERO_PAGE)) == 0
    pfns, flags = pfns[nonzero], flags[nonzero]
    compound = (flags & np.uint64(KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL)) != 0
    pieces, heads = [pfns[~compound]], [pfns[~compound]]
    end = 0
    for pfn in pfns[compound].tolist():
        if pfn < end:
            continue
        folio = machine.folio(pfn)
        end = folio.pfn + folio.nr_pages
        pieces.append(np.arange(folio.pfn, end, dtype=np.uint64))
        heads.append(np.full(folio.nr_pages, folio.pfn, dtype=np.uint64))
    pfn, head = np.concatenate(pieces), np.concatenate(heads)
    order = np.argsort(pfn)
    return pfn[order], head[order], machine.kpageflags(pfn[order])


def pageout_bytes(machine, pages):
    """Bytes that MADV_PAGEOUT could take if it were called now on every VMA without VM_LOCKED.

    Parameters
    ----------
    machine : Machine
    pages : ResidentPages

    Returns
    -------
    int

    Notes
    -----
    Follows madvise_cold_or_pageout_pte_range and shrink_folio_list, with swap space taken for granted.  A page counts
    if all of this holds:

    - a VMA without VM_LOCKED maps it (on a locked one the call is EINVAL), and nothing else does;
    - its folio is on a list that reclaim takes from;
    - nobody but page tables holds a reference to its folio: a folio that reaches into a locked VMA must be split
      first, one that does not must be freed in the end, and an extra reference or a pin prevents both;
    - if the folio has to be split, one process alone maps it.
    """
    wanted = pages.advisable & ~pages.locked & pages.evictable
    wanted &= machine.kpagecount(pages.pfn) == 1
    heads, counts = np.unique(pages.head[wanted], return_counts=True)
    return sum(count for head, count in zip(heads.tolist(), counts.tolist())
               if _can_take(machine.folio(head), count)) * machine.page_size


def _can_take(folio, nr_pages):
    # Can so many pages of a folio be had: the whole folio, or those that a split sets free?
    cache = 0 if folio.flags & KPF_ANON else folio.nr_pages  # references of the page cache
    shared = folio.maybe_shared and nr_pages < folio.nr_pages
    return folio.refcount == folio.mapcount + cache and not shared
