from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from foliosim.machine import Machine
from foliosim.process import Process

@dataclass
class Attached:
    machine: Machine
    pictures: dict[int, Any]
    processes: dict[int, Process] = field(default_factory=dict)
    others: list[Process] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    files: Any = field(default=None, repr=False)

def attach(pids: Sequence[int], root: str = "/proc") -> Attached: ...
def build(pictures: list[Any], root: str = "/proc") -> Attached: ...
