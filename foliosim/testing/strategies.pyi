from collections.abc import Sequence
from typing import Any

from hypothesis.strategies import SearchStrategy

from foliosim.machine import Machine

ARENA: int
LENGTH: int
BLOCK: int
PAGE: int
ADVICES: tuple[str, ...]
OPS: tuple[str, ...]

def addresses(start: int = ..., length: int = ..., *, page_size: int = 4096,
              block: int = ...) -> SearchStrategy[int]: ...
def spans(start: int = ..., length: int = ..., *, page_size: int = 4096,
          block: int = ...) -> SearchStrategy[tuple[int, int]]: ...
def scripts(start: int = ..., length: int = ..., *, ops: Sequence[str] = ..., advices: Sequence[str] = ...,
            max_steps: int = 12, page_size: int = 4096,
            block: int = ...) -> SearchStrategy[list[dict[str, Any]]]: ...
def perform(machine: Machine, script: Sequence[dict[str, Any]]) -> list[dict[str, Any]]: ...
