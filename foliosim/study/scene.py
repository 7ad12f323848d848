"""What studies share: a machine with folios of a wanted size, areas at huge-page boundaries, and the metrics of a run.

A page has the machine's size, and a block is what one PMD entry maps: 2 MiB with pages of 4 KiB.
"""
import foliosim as fs
from foliosim.study.base import Key, Outcome, RefusedValue, machine_of, size_text, size_value

_ALIGN = 2 << 20  # of every area, at least
_FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED_NOREPLACE


def block_of(page_size):
    """Bytes that one PMD entry maps: a table of 8-byte entries has one page."""
    return page_size * (page_size // 8)


def check_multiple(values, key, unit, least=1):
    """A size among the parameters must be a multiple of ``unit``, at least ``least`` of them.

    Parameters
    ----------
    values : dict
        Parameters.
    key : str
    unit, least : int

    Raises
    ------
    RefusedValue
    """
    if values[key] % unit or values[key] < least * unit:
        raise RefusedValue(key, f"multiples of {size_text(unit)}, at least {size_text(least * unit)}")


def folio_key(default="2M", also=""):
    """The key of a size that is made of folios as large as can be; `check_folio` knows the page size.

    Parameters
    ----------
    default : str
    also : str
        What else may be written, for messages.

    Returns
    -------
    Key
    """
    return Key(default, _folio_size,
               f"{also}that of one folio from 16K to 2M, or a multiple of 2M up to 1G (with pages of 4K)")


def _folio_size(text):
    size = size_value(1, 1 << 30)(text)
    if size & (size - 1) and size % (2 << 20):
        raise ValueError(text)
    return size


def check_folio(values, key, also=""):
    """A size among the parameters must be that of one folio, or a multiple of the largest folio's.

    Parameters
    ----------
    values : dict
        Parameters.
    key : str
    also : str
        What else may be written, for the message.

    Raises
    ------
    RefusedValue
    """
    size, page = values[key], values["page_size"]
    block = block_of(page)
    one = 4 * page <= size <= block and size & (size - 1) == 0
    if not one and (size == 0 or size % block):
        raise RefusedValue(key, f"powers of two from {size_text(4 * page)} to {size_text(block)} (one folio), and "
                           f"multiples of {size_text(block)}{also}")


def folio_settings(size, page_size, mode="madvise"):
    """Arguments of `Machine` for folios of one size.

    Parameters
    ----------
    size : int
        Bytes of a folio; above a block: a block.  A page, or less than four: single pages.
    page_size : int
    mode : {"madvise", "always"}
        Where they are made.

    Returns
    -------
    dict
    """
    if size >= block_of(page_size):
        return {"thp": mode}
    if size < 4 * page_size:
        return {"thp": "never"}
    huge = f"{block_of(page_size) >> 10}kB"
    return {"thp": mode, "mthp": {f"{size >> 10}kB": mode, huge: "never"}}


class Scene:
    """One machine, and what a run of a study does with it.

    Parameters
    ----------
    parameters : dict
        Of the run; ``arch`` and ``page_size`` are used.
    policy : dict
        Installed from the start; `Scene.machine` has ``set_policy`` for studies that begin under another.
    folio : int, optional
        Bytes of the folios that `Scene.map` leads to where it advises huge pages; a block if left out.
    **settings
        Arguments of `Machine`.

    Attributes
    ----------
    machine : Machine
    page : int
        Bytes of a page.
    block : int
        Bytes that a PMD entry maps.
    """

    def __init__(self, parameters, policy, *, folio=None, **settings):
        page = parameters["page_size"]
        settings = {**folio_settings(folio or block_of(page), page), **settings}
        self.machine = machine_of(parameters, policy=policy, **settings)
        self.page = self.machine.page_size
        self.block = block_of(self.page)
        self._next = self.align = max(self.block, _ALIGN)
        self._peak = 0
        self.begin()

    def spawn(self):
        """A new process."""
        return self.machine.spawn()

    def place(self, size):
        """An address where nothing is yet: at a 2 MiB boundary or a block's, whichever is larger, with room around it.

        Parameters
        ----------
        size : int
            Bytes to come there.

        Returns
        -------
        int
        """
        addr = self._next
        self._next += -(-size // self.align) * self.align + self.align
        return addr

    def map(self, process, size, *, huge=True, prot=fs.PROT_READ | fs.PROT_WRITE):
        """Map anonymous memory where `place` says.

        Parameters
        ----------
        process : Process
        size : int
            Bytes.
        huge : bool
            Advise huge pages.
        prot : int

        Returns
        -------
        int
            Its address.
        """
        addr = process.mmap(size, addr=self.place(size), prot=prot, flags=_FIXED)
        if huge:
            process.madvise(addr, size, fs.MADV_HUGEPAGE)
        return addr

    def fill(self, process, addr, size, value=1):
        """Write one byte to each page of a range, so that none holds only zeros."""
        if size:
            process.write(addr, size, value=value, stride=self.page)

    def filled(self, process, size, **options):
        """`map` and `fill`.

        Returns
        -------
        int
            The address.
        """
        addr = self.map(process, size, **options)
        self.fill(process, addr, size)
        return addr

    def tlb_entries(self, process, addr, size):
        """Entries that map a range of a process: one for each page or PMD leaf."""
        levels = process.walk(range(addr, addr + size, self.page))["level"]
        return int((levels > 0).sum()) * self.page // self.block + int((levels == 0).sum())

    def begin(self):
        """What was counted until now does not count: it made the scene."""
        self._before = self.machine.ledger()
        self._peak = used_bytes(self._before)

    def look(self):
        """Note how much memory is used now, for ``peak_bytes``.

        Returns
        -------
        int
        """
        used = used_bytes(self.machine.ledger())
        self._peak = max(self._peak, used)
        return used

    def metrics(self, **own):
        """All numbers of the run, after a check of the machine.

        Parameters
        ----------
        **own
            The study's own metrics, beside those of the ledger (growth since `begin`), ``rss_bytes``, ``used_bytes``
            (what is mapped, each page once, and what folios keep though nothing maps it), ``peak_bytes`` (its largest
            value at `begin`, each `look` and now) and ``oom`` (0 or 1: the limit could not be kept).

        Returns
        -------
        dict
        """
        machine = self.machine
        machine.validate()
        now = machine.ledger()
        used = used_bytes(now)
        limit = machine.limit
        return {**(now - self._before), "rss_bytes": now["acct.Rss"], "used_bytes": used,
                "peak_bytes": max(self._peak, used), "oom": int(limit is not None and machine.usage > limit), **own}

    def outcome(self, detail=None, **own):
        """`metrics` as a run gives them.

        Parameters
        ----------
        detail : object
            For the picture.
        **own

        Returns
        -------
        Outcome
        """
        return Outcome(self.metrics(**own), detail)


def used_bytes(ledger):
    """Memory that folios occupy: what is mapped, each page once, and what is stranded."""
    return ledger["true.Pss"] + ledger["stranded_bytes"]
