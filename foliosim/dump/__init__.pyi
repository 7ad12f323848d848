from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from foliosim.machine import Machine
from foliosim.process import Process

__all__ = ["PhysicalDump", "check_format", "dump_physical"]

@dataclass(frozen=True, eq=False)
class PhysicalDump:
    arch: str
    page_size: int
    memory: int
    va_bits: int
    pa_bits: int
    frames: NDArray[np.int64]
    tables: NDArray[np.uint64]
    registers: dict[int, dict[str, int]]
    def runs(self) -> Iterator[tuple[int, memoryview]]: ...
    def image(self) -> NDArray[np.uint8]: ...
    def save(self, path: str | PathLike[str], *, format: str = "lime") -> None: ...

def check_format(name: str) -> None: ...
def dump_physical(machine: Machine, processes: Iterable[Process] | None) -> PhysicalDump: ...
