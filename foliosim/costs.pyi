from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

DEFAULT: str

@dataclass(frozen=True)
class CostTable:
    name: str
    source: str
    coefficients: dict[str, float]
    held_out_error: float | None = None
    facts: dict[str, Any] = ...
    def time(self, ledger: Mapping[str, float]) -> float: ...
    def write(self, path: str | PathLike[str]) -> None: ...

def names() -> list[str]: ...
def load(table: str | PathLike[str] | CostTable) -> CostTable: ...
