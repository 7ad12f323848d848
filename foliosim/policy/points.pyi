from dataclasses import dataclass

@dataclass(frozen=True)
class Alternative:
    name: str
    what: str
    source: str
    number: tuple[()] | tuple[str, int, int] = ()
    optional: bool = False
    also: str = ""
    @property
    def written(self) -> str: ...

@dataclass(frozen=True)
class Point:
    id: str
    name: str
    question: str
    arguments: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    @property
    def names(self) -> tuple[str, ...]: ...
    def parse(self, text: str) -> tuple[str, int]: ...

POINTS: dict[str, Point]
PRESETS: dict[str, dict[str, str]]
RELEASES: dict[str, dict[str, tuple[str, str]]]
