from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self, TypeAlias

from foliosim.machine import Machine
from foliosim.process import Process

__all__ = ["Program", "Schedule", "ScheduleError", "play", "search"]

_Ops: TypeAlias = Mapping[str, Callable[[Any, dict[str, Any]], dict[str, Any]]]

class ScheduleError(ValueError): ...

@dataclass(frozen=True)
class Program:
    actors: dict[str, list[dict[str, Any]]]
    daemons: dict[str, dict[str, Any]] = ...
    setup: list[dict[str, Any]] = ...
    machine: dict[str, Any] = ...
    def __post_init__(self) -> None: ...
    def check(self, more: Iterable[str] = ()) -> None: ...
    def as_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self: ...
    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self: ...

@dataclass
class Schedule:
    program: Program
    order: list[str]
    why: str = ""
    value: int | float | None = None
    step: int | None = None
    results: list[Any] = ...
    def steps(self) -> list[tuple[str, dict[str, Any]]]: ...
    def write(self, path: str | PathLike[str]) -> None: ...
    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self: ...

class _Player:
    machine: Machine
    procs: dict[str, Process]

def play(schedule: Schedule, *, metric: str | None = None, more: _Ops | None = None,
         validate: bool = True) -> _Player: ...
def search(program: Program, *, metric: str | None = None, tries: int = 200, seed: int = 0, placements: int = 4,
           more: _Ops | None = None,
           progress: Callable[[int, Schedule | None], object] | None = None) -> Schedule | None: ...
