from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foliosim.study.base import Outcome, Run, Study

@dataclass(frozen=True)
class Task:
    study: str
    parameters: dict[str, Any]
    label: str
    preset: str
    policy: dict[str, Any]
    seed: int
    @property
    def key(self) -> str: ...

class SweepError(RuntimeError): ...

class SerialExecutor(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]: ...

class Journal:
    path: Path | None
    found: dict[str, Outcome]
    def __init__(self, path: Path | None) -> None: ...
    def add(self, task: Task, outcome: Outcome) -> None: ...
    def kept(self, todo: list[Task]) -> str: ...
    def remove(self) -> None: ...

def execute(task: Task) -> Outcome: ...
def plan(name: str, settings: Iterable[str], sweeps: Iterable[str], choices: object, presets: Iterable[str],
         seed: int) -> tuple[Study, list[Task]]: ...
def tasks(study: str, cases: list[dict[str, Any]], chosen: list[tuple[str, str, dict[str, Any]]],
          seed: int) -> list[Task]: ...
def open_executor(address: str | None = None, jobs: int = 1) -> Executor: ...
def run_all(todo: list[Task], *, executor: Executor | None = None, journal: Journal | None = None,
            progress: Callable[[int, int], object] = ...) -> list[Run]: ...
