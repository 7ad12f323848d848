"""Anonymous folios: which pages of which folio each entry maps, and how the areas that share them are related."""
from collections import Counter

import numpy as np

from foliosim._core import restore
from foliosim.attach import proc
from foliosim.attach.areas import add_area
from foliosim.attach.proc import PAGE
from foliosim.errors import RestoreError
from foliosim.flags import KPF_ACTIVE, KPF_DIRTY, KPF_MLOCKED, KPF_REFERENCED, KPF_ZERO_PAGE

HUGE = 9  # order
_MOST_OTHERS = 8


def parents_first(pictures):
    """Pictures of processes, children behind their parents."""
    by_pid = {picture.pid: picture for picture in pictures}

    def depth(picture):
        above = by_pid.get(picture.parent)
        return 0 if above is None or above is picture else 1 + depth(above)

    return sorted(pictures, key=depth)


class Pages:
    """All anonymous pages that are mapped: arrays by page, sorted by process and address."""

    def __init__(self, pictures, root):
        columns = []
        for number, picture in enumerate(pictures):
            for where, area in enumerate(picture.areas):
                mine = (area.words & proc.PRESENT != 0) & (area.words & proc.OF_A_FILE == 0)
                pages = area.pages[mine]
                columns.append((np.full(len(pages), number), np.full(len(pages), where), pages,
                                area.words[mine] & proc.PFN))
        self.pictures = pictures
        self.process, self.area, self.page, self.pfn = (np.concatenate(column) for column in zip(*columns))
        self.frames = proc.Frames(self.pfn, root)
        at = self.frames.at(self.pfn)
        self.zero = self.frames.flags[at] & np.uint64(KPF_ZERO_PAGE) != 0
        self.head, self.order = self.frames.heads[at], self.frames.orders[at]
        self.count = self.frames.counts[at].astype(np.int64)
        starts = np.array([[area.start for area in picture.areas] + [0] * (max(len(p.areas) for p in pictures)
                          - len(picture.areas)) for picture in pictures], np.uint64)
        self.addr = starts[self.process, self.area] + self.page * np.uint64(PAGE)

    def select(self, mask):
        """The same of some pages."""
        out = object.__new__(Pages)
        out.pictures, out.frames = self.pictures, self.frames
        for name in ("process", "area", "page", "pfn", "zero", "head", "order", "count", "addr"):
            setattr(out, name, getattr(self, name)[mask])
        return out


def map_anonymous(attached, every):
    pages = every.select(~every.zero & (every.order <= HUGE))
    attached.left_out["anonymous pages of folios larger than 2 MiB"] += int((every.order > HUGE).sum())
    heads, folio = np.unique(pages.head, return_inverse=True)
    at = pages.frames.at(heads)
    orders = pages.frames.orders[at]
    known = _mappings_known(pages)
    first = (pages.pfn - pages.head).astype(np.int64)
    frames = restore.make_folios(attached.machine, orders)
    runs, of_process, of_area, excess = _runs(pages, folio, first, known)
    relations = _Relations(pages.pictures, of_process, of_area, runs["folio"])
    for picture in parents_first(pages.pictures):
        process, number = attached.processes[picture.pid], pages.pictures.index(picture)
        for area in np.unique(of_area[of_process == number]).tolist():
            here = runs[(of_process == number) & (of_area == area)]
            _bits(here, picture.areas[area], pages.frames.flags[at])
            relations.relate(attached, number, area)
            _map_area(attached, process, picture.areas[area], frames, here)
    _map_others(attached, frames, runs, of_process, of_area, excess, pages.pictures)
    restore.finish(attached.machine, frames, _folio_bits(pages.frames.flags[at], orders, folio, first))


def _mappings_known(pages):
    """By page: how many of all pages read are the same frame."""
    _, inverse, counts = np.unique(pages.pfn, return_inverse=True, return_counts=True)
    return counts[inverse]


def _runs(pages, folio, first, known):
    """Pages in a row of one folio, area and page table, alike in who maps them."""
    excess = np.clip(pages.count - known, 0, _MOST_OTHERS)
    alone = (pages.count <= 1) & (known == 1)
    n, huge = len(folio), _mapped_huge(pages, first)
    if n == 0:
        return np.zeros(0, restore.RUN_DTYPE), *(np.zeros(0, np.int64) for _ in range(3))
    same = [np.diff(column) == 0 for column in (pages.process, pages.area, folio)]
    same += [(np.diff(column) == 0) | huge[1:] for column in (excess, alone)]
    same += [np.diff(pages.addr) == PAGE, np.diff(first) == 1, np.diff(pages.addr >> np.uint64(21)) == 0]
    start = np.flatnonzero(np.append(True, ~np.logical_and.reduce(same)))
    runs = np.zeros(len(start), restore.RUN_DTYPE)
    runs["addr"], runs["folio"], runs["first"] = pages.addr[start], folio[start], first[start]
    runs["n"] = np.diff(np.append(start, n))
    runs["bits"] = np.where(alone[start], restore.EXCLUSIVE, restore.SHARED) | np.where(huge[start], restore.PMD, 0)
    return runs, pages.process[start], pages.area[start], excess[start]


def _mapped_huge(pages, first):
    """By page: does a PMD map it?  Where the kernel does not say which blocks, the first ones that can be."""
    out = np.zeros(len(first), bool)
    starts = np.flatnonzero((first == 0) & (pages.order == HUGE) & (pages.addr % np.uint64(PAGE << HUGE) == 0))
    taken = Counter()
    for start in starts.tolist():
        end = start + (1 << HUGE)
        if end > len(first) or pages.head[end - 1] != pages.head[start] or first[end - 1] != (1 << HUGE) - 1 \
                or pages.addr[end - 1] - pages.addr[start] != (PAGE << HUGE) - PAGE:
            continue
        number, at = int(pages.process[start]), int(pages.area[start])
        area = pages.pictures[number].areas[at]
        if area.huge is not None:
            out[start:end] = int(pages.addr[start]) in area.huge
        elif taken[number, at] < area.fields.get("AnonHugePages", 0) // (PAGE << HUGE >> 10):
            out[start:end] = True
            taken[number, at] += 1
    return out


def _bits(runs, area, flags):
    """What the entries of an area's runs say, as far as it can be told."""
    word, fields = flags[runs["folio"]], area.fields
    dirty = fields.get("Private_Dirty", 0) + fields.get("Shared_Dirty", 0)
    if dirty >= fields.get("Anonymous", 0):
        runs["bits"] |= restore.DIRTY
    else:
        runs["bits"] |= np.where(word & np.uint64(KPF_DIRTY), restore.DIRTY, 0).astype(np.uint32)
    if fields.get("Referenced") == fields.get("Rss"):
        runs["bits"] |= restore.YOUNG
    elif fields.get("Referenced"):
        runs["bits"] |= np.where(_referenced(runs, word, fields["Referenced"]), restore.YOUNG, 0).astype(np.uint32)
    if area.perms[1] == "w":
        runs["bits"] |= np.where(runs["bits"] & restore.EXCLUSIVE, restore.WRITE, 0).astype(np.uint32)


def _map_area(attached, process, area, frames, runs):
    try:
        restore.map_runs(process, frames, runs)
    except RestoreError:  # what can be mapped of it is
        for at in range(len(runs)):
            _map_one(attached, process, frames, runs[at:at + 1])


def _map_one(attached, process, frames, run):
    try:
        restore.map_runs(process, frames, run)
    except RestoreError as error:
        text = str(error).partition(": ")[2]
        if "something is mapped there" not in text:
            attached.left_out[f"pages: {text}"] += int(run["n"][0])


class _Relations:
    """Which areas were one when their folios were made: those that share a folio, and neighbours that differ in rights.

    Such areas of one process have one anon_vma, those of a child one that has inherited from the parent's.
    """

    def __init__(self, pictures, of_process, of_area, folio):
        self.pictures, self.above, self.first = pictures, {}, {}
        owner, several = {}, _in_several(of_process * (1 << 32) + of_area, folio)
        for number, area, one in zip(*(column[several].tolist() for column in (of_process, of_area, folio))):
            self._unite((number, area), owner.setdefault(one, (number, area)))
        areas = sorted(set(zip(of_process.tolist(), of_area.tolist())))
        for (number, before), (other, after) in zip(areas, areas[1:]):
            if number == other and _were_one(pictures[number].areas[before], pictures[number].areas[after]):
                self._unite((number, before), (number, after))

    def _root(self, area):
        while area in self.above:
            area = self.above[area]
        return area

    def _unite(self, one, other):
        one, other = sorted((self._root(one), self._root(other)))
        if one != other:
            self.above[other] = one

    def relate(self, attached, number, at):
        """Give an area its anon_vma, if one that was mapped before has it; process by process, parents first."""
        picture = self.pictures[number]
        process, start = attached.processes[picture.pid], picture.areas[at].start
        first = self.first.setdefault(self._root((number, at)), {})
        if picture.pid in first:
            restore.join(process, start, first[picture.pid])
        elif first:
            parent = picture.parent if picture.parent in first else next(iter(first))
            restore.inherit(process, start, attached.processes[parent], first[parent])
        first.setdefault(picture.pid, start)


def _in_several(areas, folio):
    """Which runs are of folios that several areas map."""
    least, most = (np.full(int(folio.max(initial=0)) + 1, start) for start in (np.iinfo(np.int64).max, -1))
    np.minimum.at(least, folio, areas)
    np.maximum.at(most, folio, areas)
    return least[folio] != most[folio]


def _were_one(before, after):
    """Areas side by side that differ in rights only share an anon_vma (anon_vma_compatible)."""
    rights = {"rd", "wr", "ex"}
    one, other = set(before.flags.split()), set(after.flags.split())
    return before.end == after.start and before.anonymous and after.anonymous and one != other \
        and one - rights == other - rights


def _map_others(attached, frames, runs, of_process, of_area, excess, pictures):
    """Processes that were not read and map the same pages: they are given the areas, at the same addresses."""
    for level in range(1, int(excess.max(initial=0)) + 1):
        other = attached.machine.spawn()
        attached.others.append(other)
        seen = set()
        for number, picture in enumerate(pictures):
            process = attached.processes[picture.pid]
            for at in np.unique(of_area[(of_process == number) & (excess >= level)]).tolist():
                area = picture.areas[at]
                here = runs[(of_process == number) & (of_area == at) & (excess >= level)].copy()
                here = here[[int(run["folio"]) not in seen for run in here]]
                seen.update(here["folio"].tolist())
                _give(attached, other, process, area, frames, here)


def _give(attached, other, process, area, frames, runs):
    try:
        add_area(attached, other, area, "lo lf")
        restore.inherit(other, area.start, process, area.start)
    except RestoreError:
        attached.left_out["pages shared with processes that were not read"] += int(runs["n"].sum())
        return
    runs["bits"] &= ~np.uint32(restore.WRITE | restore.EXCLUSIVE)
    for at in range(len(runs)):
        _map_one(attached, other, frames, runs[at:at + 1])


def _referenced(runs, word, kib):
    """So many as the area's sum says: those whose folio has the flag, then those that nobody else maps."""
    rank = np.where(word & np.uint64(KPF_REFERENCED), 0, np.where(runs["bits"] & restore.EXCLUSIVE, 1, 2))
    order = np.argsort(rank, kind="stable")
    out = np.zeros(len(runs), bool)
    out[order] = np.cumsum(runs["n"][order]) <= kib * 1024 // PAGE
    return out


def _folio_bits(flags, orders, folio, first):
    bits = np.zeros(len(flags), np.uint8)
    for flag, bit in ((KPF_MLOCKED, restore.MLOCKED), (KPF_ACTIVE, restore.ACTIVE),
                      (KPF_REFERENCED, restore.REFERENCED), (KPF_DIRTY, restore.PAGE_DIRTY)):
        bits |= np.where(flags & np.uint64(flag), bit, 0).astype(np.uint8)
    mapped = np.bincount(np.unique(folio * 1024 + first) // 1024, minlength=len(flags))
    bits |= np.where((mapped < 1 << orders.astype(np.int64)) & (orders > 1), restore.PARTIAL, 0).astype(np.uint8)
    return bits
