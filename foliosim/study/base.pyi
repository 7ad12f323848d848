from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foliosim.machine import Machine

GROUP: str
STUDIES: dict[str, str]
MACHINE_KEYS: dict[str, Key]

class StudyError(ValueError): ...

class RefusedValue(StudyError):
    key: str
    valid: str
    def __init__(self, key: str, valid: str) -> None: ...

@dataclass(frozen=True)
class Key:
    default: str
    parse: Callable[[str], Any]
    valid: str

@dataclass(frozen=True)
class Study:
    name: str
    question: str
    keys: dict[str, Key]
    points: dict[str, tuple[str, ...]]
    columns: dict[str, str]
    run: Callable[[dict[str, Any], dict[str, Any], int], Outcome]
    conclude: Callable[[list[Run]], str]
    picture: Callable[[list[Run], Path], None]
    cases: Callable[[dict[str, Any]], list[dict[str, Any]]] = ...

@dataclass(frozen=True)
class Outcome:
    metrics: dict[str, int | float]
    detail: Any = None

@dataclass(frozen=True)
class Run:
    parameters: dict[str, Any]
    preset: str
    policy: dict[str, str]
    label: str
    metrics: dict[str, int | float] = ...
    detail: Any = None

def names() -> list[str]: ...
def load(name: str) -> Study: ...
def size_value(least: int = 0, most: int = ..., multiple: int = 1) -> Callable[[str], int]: ...
def int_value(least: int, most: int) -> Callable[[str], int]: ...
def share_value(text: str) -> float: ...
def choice_value(*valid: str) -> Callable[[str], str]: ...
def keys_of(study: Study) -> dict[str, Key]: ...
def machine_of(parameters: dict[str, Any], **settings: Any) -> Machine: ...
def size_text(nr_bytes: float) -> str: ...
