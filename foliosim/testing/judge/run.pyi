from collections.abc import Callable, Iterable
from typing import Any

from foliosim.testing.judge.verdict import Verdict

JUDGES: tuple[str, ...]
PER_MACHINE: int

def missing(judge: str) -> str | None: ...
def run(arch: str, addresses: int, seed: int = 0, judges: Iterable[str] = ..., note: Callable[[int], object] = ...,
        per_machine: int = ..., **machine: Any) -> list[Verdict]: ...
