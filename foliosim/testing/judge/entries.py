"""What the entries say that addresses lead to: names for the counts, and for what a judge cannot decide.

Tables are read here with numpy, not with the engine's walk.
"""
import numpy as np

_ADDRESS = {"x86_64": 0x000ffffffffff000, "arm64": 0x0000fffffffff000}
_GUARD = {"x86_64": 0xfffffffffffff600, "arm64": 0x47c0}


class Tables:
    """Page tables in an image of physical memory.

    Parameters
    ----------
    dump : PhysicalDump
        Whose tables they are, or were before they were changed.
    image : numpy.ndarray of uint8
    root : int
        Address of the root table.
    """

    def __init__(self, dump, image, root):
        self.arch, self.memory, self.root = dump.arch, dump.memory, root
        self.words = image.view(np.uint64)
        self.shift = dump.page_size.bit_length() - 1
        self.index_bits = self.shift - 3
        self.top = -(-(dump.va_bits - self.shift) // self.index_bits) - 1

    def level_shift(self, level):
        """Bits of an address below those that index tables of a level; 0: PTE."""
        return self.shift + level * self.index_bits

    def entries_at(self, addrs):
        """The entry at which the walk of each address ends, whatever it says.

        Parameters
        ----------
        addrs : numpy.ndarray of uint64

        Returns
        -------
        entry : numpy.ndarray of uint64
        level : numpy.ndarray of int
        table : numpy.ndarray of uint64
            Address of the table that it is in.
        """
        if self.arch == "arm64":
            addrs = addrs & np.uint64((1 << 56) - 1)  # tags
        table = np.full(len(addrs), self.root, np.uint64)
        entry, level = np.zeros(len(addrs), np.uint64), np.full(len(addrs), self.top)
        going = np.ones(len(addrs), bool)
        for at in range(self.top, -1, -1):
            index = addrs[going] >> np.uint64(self.level_shift(at)) & np.uint64((1 << self.index_bits) - 1)
            entry[going] = self.words[(table[going] >> np.uint64(3)) + index]
            level[going] = at
            going &= self._leads_down(entry, at)
            table = np.where(going, self._address(entry), table)
        return entry, level, table

    def place_of(self, addr, level):
        """Where the entry of an address at a level is, a physical address; None: there is no table for it.

        Parameters
        ----------
        addr, level : int

        Returns
        -------
        int or None
        """
        table = self.root
        for at in range(self.top, level - 1, -1):
            place = table + (addr >> self.level_shift(at) & (1 << self.index_bits) - 1) * 8
            entry = self.words[place >> 3]
            if at > level and not self._leads_down(entry, at):
                return None
            table = int(self._address(entry))
        return place

    def used_entries(self):
        """Every entry that says anything and points to no table.

        Returns
        -------
        ranges : numpy.ndarray of uint64, shape (n, 2)
            The addresses that it stands for: start and end.
        entry : numpy.ndarray of uint64
        level : numpy.ndarray of int
        """
        tables, starts, found = np.array([self.root], np.uint64), np.zeros(1, np.uint64), []
        index = np.arange(1 << self.index_bits, dtype=np.uint64)
        for at in range(self.top, -1, -1):
            size = np.uint64(1 << self.level_shift(at))
            rows = self.words[(tables[:, None] >> np.uint64(3)) + index]
            starts = starts[:, None] + index * size
            down = self._leads_down(rows, at)
            used = (rows != 0) & ~down
            found.append((np.stack([starts[used], starts[used] + size], axis=1), rows[used], np.full(used.sum(), at)))
            tables, starts = self._address(rows[down]), starts[down]
        return tuple(np.concatenate(part) for part in zip(*found, strict=True))

    def _address(self, entry):
        return entry & np.uint64(_ADDRESS[self.arch] & -(1 << self.shift))

    def _leads_down(self, entry, level):
        """Which entries point to a table that the image has."""
        mask, table = (0x81, 1) if self.arch == "x86_64" else (3, 3)
        return (level > 0) & (entry & np.uint64(mask) == np.uint64(table)) & (self._address(entry) < self.memory)


def kinds(arch, entry, level):
    """The kind of each entry in words: ``"page, writable"``, ``"swap"``, ``"PROT_NONE"``, ...

    Parameters
    ----------
    arch : str
    entry, level : numpy.ndarray
        From `entries_at`.

    Returns
    -------
    numpy.ndarray of str
    """
    def bit(number):
        return entry >> np.uint64(number) & np.uint64(1) != 0

    there, writable, empty = bit(0), bit(1), entry & ~np.uint64(0x60) == 0
    protnone, contiguous = ~there & bit(8), np.zeros(len(entry), bool)
    if arch == "arm64":
        writable, empty, contiguous, protnone = bit(51), entry == 0, there & bit(52), ~there & bit(11)
    guard = entry == np.uint64(_GUARD[arch])
    where = np.select([level > 1, level == 1, contiguous], ["1G page", "huge page", "contiguous page"], "page")
    names = np.char.add(where, np.where(writable, ", writable", ", read-only"))
    names = np.where(protnone & ~guard, np.char.add(where, ", PROT_NONE"), names)
    names = np.where(~there & ~protnone & ~guard, "swapped", names)
    names = np.where(guard, "guard", names)
    return np.where(empty, np.where(level > 0, "no table", "nothing"), names)
