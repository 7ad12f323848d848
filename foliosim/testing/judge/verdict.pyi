from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN: int

@dataclass
class Verdict:
    judge: str
    tables: str
    machines: int = 0
    addresses: int = 0
    answers: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    undecided: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    shown: list[str] = field(default_factory=list)
    @property
    def done(self) -> int: ...
    def count(self, addrs: NDArray[np.uint64], names: NDArray[np.str_]) -> None: ...
    def compare(self, what: str, addrs: NDArray[np.uint64], ours: NDArray[np.void], theirs: NDArray[np.void],
                bits: int = 0xffffffff) -> None: ...
    def compare_entries(self, what: str, frames: NDArray[Any], ours: NDArray[np.uint64],
                        theirs: NDArray[np.uint64]) -> None: ...
