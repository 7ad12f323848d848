from dataclasses import dataclass
from typing import Any

from foliosim.machine import Machine
from foliosim.process import Process
from foliosim.tables import Table

QUESTIONS: dict[str, tuple[str, ...]]

@dataclass
class Answer:
    question: str
    error: str
    numbers: dict[str, int]
    branch: Machine
    process: Process
    child: Process | None
    areas: list[tuple[int, int, str, Any, Any]]

def parse(text: str) -> tuple[Any, ...]: ...
def ask(machine: Machine, process: Process, text: str) -> Answer: ...
def changed(before: Table, after: Table) -> list[tuple[int, int, str, Any, Any]]: ...
