"""Read-only pictures of core objects, taken at one moment."""
from dataclasses import dataclass

from foliosim import flags as _flags
from foliosim.show.scene import area_scene, orders_of, pages_with
from foliosim.show.scene import MLOCKED, PINNED, PMD, SHARED

_KPF_NAMES = {value: name[4:].lower() for name, value in vars(_flags).items() if name.startswith("KPF_")}


@dataclass(frozen=True, repr=False)
class Folio:
    """A folio.

    Attributes
    ----------
    pfn : int
        Frame number of its first page.
    order : int
        It has ``2**order`` pages.
    refcount, mapcount : int
        All references; page-table mappings of any of its pages (large folios: ``large_mapcount``).
    entire_mapcount, nr_pages_mapped, pincount : int
        PMD mappings; pages mapped by PTEs; FOLL_PIN references.
    mm_ids, mm_mapcounts : tuple of int
        Owner slots: the mm ids (0: free) and their shares of the mapcount.
    maybe_shared, partially_mapped, deferred, anon_exclusive : bool
        Flags; ``deferred``: on the deferred split queue.
    index : int
        Page offset in its mapping.
    flags : int
        Its /proc/kpageflags word.
    """

    pfn: int
    order: int
    refcount: int
    mapcount: int
    entire_mapcount: int
    nr_pages_mapped: int
    pincount: int
    mm_ids: tuple
    mm_mapcounts: tuple
    maybe_shared: bool
    partially_mapped: bool
    deferred: bool
    anon_exclusive: bool
    index: int
    flags: int

    @property
    def nr_pages(self):
        """Pages of the folio."""
        return 1 << self.order

    @property
    def flag_names(self):
        """Names of the kpageflags bits that are set."""
        return [name for bit, name in _KPF_NAMES.items() if self.flags & bit]

    def __repr__(self):
        return (f"<Folio pfn={self.pfn:#x} order={self.order} refcount={self.refcount} mapcount={self.mapcount} "
                f"{' '.join(self.flag_names)}>")

    def _repr_html_(self):
        from foliosim.show import inline
        return inline.folio_html(self)


class Area:
    """An area of a process, as it was when it was looked at; from `Process.areas`.

    Attributes
    ----------
    start, end : int
        Bytes.
    perms, flags : str
        As maps and VmFlags have them.
    scene : dict
        What is mapped in it; see `foliosim.show.scene.scene`.
    """

    def __init__(self, process, row):
        self.start, self.end = int(row["start"]), int(row["end"])
        self.perms, self.flags = str(row["perms"]), str(row["VmFlags"])
        self.scene = area_scene(process.machine, process, row)

    def __repr__(self):
        marks = ((PMD, "mapped by PMDs"), (SHARED, "shared"), (MLOCKED, "mlocked"), (PINNED, "pinned"))
        words = [f"{pages} pages of order {order}" for order, pages in orders_of(self.scene).items()]
        words += [f"{pages_with(self.scene, bit)} {name}" for bit, name in marks if pages_with(self.scene, bit)]
        return f"<Area {self.start:#x}-{self.end:#x} {self.perms}: {', '.join(words) or 'no anonymous memory'}>"

    def _repr_html_(self):
        from foliosim.show import inline
        return inline.area_html(self.scene)
