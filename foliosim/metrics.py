"""Named numbers that decide a policy question, computed from a machine through its public interface.

All are counts or bytes, none depends on the host's clock.  The functions that look at pages take the processes whose
memory counts; a page that several of them map counts once.
"""
from dataclasses import dataclass

import numpy as np

from foliosim.flags import (
    KPF_ANON,
    KPF_COMPOUND_HEAD,
    KPF_COMPOUND_TAIL,
    KPF_LRU,
    KPF_MLOCKED,
    KPF_UNEVICTABLE,
    KPF_ZERO_PAGE,
    PM_PFRAME_MASK,
    PM_PRESENT,
)

_PAGE = 4096
_PMD_LEVEL = 1
TLB_MODELS = ("plain",)


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


def mlock_overshoot(pages):
    """Bytes that are unevictable although no VM_LOCKED mapping covers them.

    Parameters
    ----------
    pages : ResidentPages

    Returns
    -------
    int
    """
    return int((pages.unevictable & ~pages.locked).sum()) * _PAGE


def mlock_undershoot(pages):
    """Bytes in VM_LOCKED mappings that are still on a list that reclaim takes from.

    Parameters
    ----------
    pages : ResidentPages

    Returns
    -------
    int
    """
    return int((pages.evictable & pages.locked).sum()) * _PAGE


def mlocked_bytes(pages):
    """Bytes that the kernel would count in ``Mlocked``.

    Parameters
    ----------
    pages : ResidentPages

    Returns
    -------
    int
    """
    return int(((pages.flags & np.uint64(KPF_MLOCKED)) != 0).sum()) * _PAGE


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
               if _can_take(machine.folio(head), count)) * _PAGE


def _can_take(folio, nr_pages):
    # Can so many pages of a folio be had: the whole folio, or those that a split sets free?
    cache = 0 if folio.flags & KPF_ANON else folio.nr_pages  # references of the page cache
    shared = folio.maybe_shared and nr_pages < folio.nr_pages
    return folio.refcount == folio.mapcount + cache and not shared


def tlb_entries(processes, *, model="plain"):
    """TLB entries needed to map what is resident.

    Parameters
    ----------
    processes : iterable of Process
    model : {"plain"}
        ``plain``: an entry maps 4 KiB, or the 2 MiB of a PMD leaf.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        An unknown model.
    """
    if model not in TLB_MODELS:
        raise ValueError(f"TLB model {model!r}: valid are {', '.join(TLB_MODELS)}")
    total = 0
    for process in processes:
        for area in process.maps():
            addrs = np.arange(area["start"], area["end"], _PAGE, dtype=np.uint64)
            walks = process.walk(addrs)
            mapped = walks["error"] == 0
            huge = mapped & (walks["level"] == _PMD_LEVEL)
            total += int((mapped & ~huge).sum()) + np.unique(addrs[huge] >> np.uint64(21)).size
    return total


def split_counts(machine):
    """Folio splits since the machine was made, from its counters.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    dict
        ``splits.ok``, ``splits.failed``, and ``pmd_splits``: page-table splits where the folio stays whole.
    """
    sizes = machine.mthp_stats().values()
    return {
        "splits.ok": sum(stats["split"] for stats in sizes),
        "splits.failed": sum(stats["split_failed"] for stats in sizes),
        "pmd_splits": machine.vmstat()["thp_split_pmd"],
    }


def deferred_counts(machine):
    """State of the deferred split queue, in folios.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    dict
        ``deferred.len``: folios on the queue (a new PMD-sized folio is put there at once, to be found should most of
        it stay unused); ``deferred.partial``: those of them marked as partially mapped, which reclaim will split.
    """
    sizes = machine.mthp_stats().values()
    return {
        "deferred.len": machine.vmstat()["deferred_split_folios"],
        "deferred.partial": sum(stats["nr_anon_partially_mapped"] for stats in sizes),
    }


def mlock_metrics(machine, processes):
    """The numbers by which rules for mlock of large folios are compared.

    Parameters
    ----------
    machine : Machine
    processes : iterable of Process

    Returns
    -------
    dict
        Metric name to int.
    """
    processes = list(processes)
    pages = resident_pages(machine, processes)
    return {
        "mlock_overshoot": mlock_overshoot(pages),
        "mlock_undershoot": mlock_undershoot(pages),
        "acct.Mlocked": mlocked_bytes(pages),
        **split_counts(machine),
        "tlb_entries": tlb_entries(processes),
        "pageout_bytes": pageout_bytes(machine, pages),
        **deferred_counts(machine),
    }
