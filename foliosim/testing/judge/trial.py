"""A machine that is put before judges: a dump of it, and the addresses to be asked."""
import numpy as np

from foliosim.dump.registers import processor_of
from foliosim.testing.judge.addresses import random_addresses
from foliosim.testing.judge.entries import Tables, kinds

_SET_ACCESSED = 0x2000  # of the core's walk


class Trial:
    """A machine, a dump of its tables, and how its processor is set up for each process.

    Parameters
    ----------
    machine : Machine
    rng : numpy.random.Generator

    Attributes
    ----------
    dump : PhysicalDump
    processors : dict of Process to Processor
    """

    def __init__(self, machine, rng):
        self.machine, self.rng = machine, rng
        self.dump, self._names = machine.dump_physical(), machine.core.machine.WALK_FLAGS
        self.processors = {process: processor_of(process) for process in machine.processes()}

    def __str__(self):
        return f"{self.dump.arch} {self.dump.page_size >> 10}K {self.dump.va_bits} bits"

    def spaces(self, image, n, new=()):
        """Addresses for each process.

        Parameters
        ----------
        image : numpy.ndarray of uint8
            The tables, as in the dump or changed since.
        n : int
            Addresses, for all processes together; rounded up.
        new : array_like of int
            Entries that are not as Linux wrote them, to be asked about more often.

        Yields
        ------
        process : Process
        processor : Processor
        tables : Tables
        addrs : numpy.ndarray of uint64
        """
        for process, processor in self.processors.items():
            tables = Tables(self.dump, image, processor.root)
            ranges, entry, level = tables.used_entries()
            names = np.where(np.isin(entry, new), "changed", kinds(self.dump.arch, entry, level))
            maps = process.maps()
            areas = np.stack([maps["start"], maps["end"]], axis=1)
            addrs = random_addresses(self.rng, areas, ranges, names, -(-n // len(self.processors)), self.dump.page_size,
                                     self.dump.va_bits)
            yield process, processor, tables, addrs

    def walk(self, process, processor, addrs, access):
        """The engine's walk in the machine, by a processor that may be set up in another way than Linux does."""
        on = self._flags(processor.on)
        return process.walk_array(addrs, access, on, ~on & self._flags(self._names), processor.pa_bits)

    def walk_in(self, image, processor, addrs, access, *, set_accessed=False):
        """The engine's walk in an image."""
        flags = self._flags(processor.on) | (_SET_ACCESSED if set_accessed else 0)
        return self.machine.core.image.walk_in(image, processor.root, addrs, access, flags=flags,
                                               pa_bits=processor.pa_bits, va_bits=processor.va_bits)

    def _flags(self, names):
        return sum(self._names[name] for name in names)
