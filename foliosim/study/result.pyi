from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foliosim.study.base import Run, Study

@dataclass(frozen=True, eq=False)
class Result:
    study: Study
    runs: list[Run]
    seed: int
    @property
    def conclusion(self) -> str: ...
    def as_dict(self) -> dict[str, Any]: ...
    def to_pandas(self) -> Any: ...
    def picture(self, path: Path) -> None: ...
    def _repr_html_(self) -> str: ...

def run_study(name: str, settings: Mapping[str, object] | None = None, *,
              sweeps: Mapping[str, Iterable[object]] | None = None, policy: object = (),
              preset: str | Iterable[str] = "linux-6.18", seed: int = 0, jobs: int = 1,
              executor: Executor | None = None, journal: Path | None = None,
              progress: Callable[[int, int], object] = ...) -> Result: ...
