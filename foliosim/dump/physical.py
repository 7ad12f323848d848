"""Physical memory for others to read: the frames that hold page tables, and the registers that lead to them.

A file is in the format of LiME, a header and the bytes of each run of frames, which says what was dumped and is no
larger than that; volatility3, crash and others read it.  Or it is raw: a byte of the file for each of the memory, with
holes where nothing was dumped.
"""
import mmap
import struct
from dataclasses import dataclass

import numpy as np

from foliosim._core.image import NORESERVE
from foliosim.dump.registers import processor_of
from foliosim.whole import whole_file

FORMATS = ("lime", "raw")
_LIME = struct.Struct("<IIQQQ")  # magic, version, first and last address, reserved
_LIME_MAGIC, _LIME_VERSION = 0x4c694d45, 1


@dataclass(frozen=True, eq=False)
class PhysicalDump:
    """What `Machine.dump_physical` read.  It is a copy: the machine goes on without it.

    Attributes
    ----------
    arch : str
    page_size, memory : int
        Bytes of a page, and of the machine's physical memory.
    va_bits, pa_bits : int
        Bits of a virtual and of a physical address.
    frames : numpy.ndarray of uint64, shape (n,)
        Numbers of the frames that were read, ascending.
    tables : numpy.ndarray of uint64, shape (n, page_size // 8)
        Their entries.
    registers : dict of int to dict of str to int
        By pid, what a processor's registers hold while the process runs: see
        `foliosim.dump.registers.Processor`.
    """

    arch: str
    page_size: int
    memory: int
    va_bits: int
    pa_bits: int
    frames: np.ndarray
    tables: np.ndarray
    registers: dict

    def __repr__(self):
        return f"<PhysicalDump {self.arch} frames={len(self.frames)} processes={list(self.registers)}>"

    def runs(self):
        """The runs of frames that follow one another, ascending.

        Yields
        ------
        int
            Physical address of the first byte.
        memoryview
            The bytes.
        """
        edges = np.flatnonzero(np.diff(self.frames) != 1) + 1
        for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(self.frames)], strict=True):
            yield int(self.frames[first]) * self.page_size, self.tables[first:end].reshape(-1).view(np.uint8).data

    def image(self):
        """The physical memory from address 0 on: zeros but for the tables.

        Returns
        -------
        numpy.ndarray of uint8, shape (memory,)
            Its own copy; it takes host memory only where tables are, or where it is written to.
        """
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
        out = np.frombuffer(mmap.mmap(-1, self.memory, flags=flags), np.uint8)
        for start, content in self.runs():
            out[start:start + len(content)] = content
        return out

    def save(self, path, *, format="lime"):
        """Write a file, at once or not at all.

        Parameters
        ----------
        path : path
        format : {"lime", "raw"}
            See `Machine.dump_physical`.

        Raises
        ------
        ValueError
            An unknown format.
        OSError
            The file cannot be written.
        """
        check_format(format)
        with whole_file(path) as file:
            for start, content in self.runs():
                if format == "raw":
                    file.seek(start)
                else:
                    file.write(_LIME.pack(_LIME_MAGIC, _LIME_VERSION, start, start + len(content) - 1, 0))
                file.write(content)
            if format == "raw":
                file.truncate(self.memory)


def check_format(name):
    """ValueError if a file format is not known."""
    if name not in FORMATS:
        raise ValueError(f"format {name!r}: valid are {', '.join(FORMATS)}")


def dump_physical(machine, processes):
    """See `Machine.dump_physical`."""
    processes = machine.processes() if processes is None else list(processes)
    if not processes:
        raise ValueError("dump_physical of no process: nothing leads to a page table")
    for process in processes:
        if getattr(process, "machine", None) is not machine:
            raise ValueError(f"{process!r} belongs to another machine, or is no process")
    core = machine.core.image
    processors = {process.pid: processor_of(process) for process in processes}
    frames = np.unique(np.concatenate([core.table_frames(process) for process in processes]))
    total, _ = machine.core.procfs.frames(machine)
    one = processors[processes[0].pid]
    return PhysicalDump(machine.arch, machine.page_size, total * machine.page_size, one.va_bits, one.pa_bits, frames,
                        core.contents(machine, frames), {pid: one.registers() for pid, one in processors.items()})
