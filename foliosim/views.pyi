from dataclasses import dataclass
from typing import Any

import numpy as np

from foliosim.process import Process

@dataclass(frozen=True, repr=False)
class Folio:
    pfn: int
    order: int
    refcount: int
    mapcount: int
    entire_mapcount: int
    nr_pages_mapped: int
    pincount: int
    mm_ids: tuple[int, ...]
    mm_mapcounts: tuple[int, ...]
    maybe_shared: bool
    partially_mapped: bool
    deferred: bool
    anon_exclusive: bool
    index: int
    flags: int
    @property
    def nr_pages(self) -> int: ...
    @property
    def flag_names(self) -> list[str]: ...
    def _repr_html_(self) -> str: ...

class Area:
    start: int
    end: int
    perms: str
    flags: str
    scene: dict[str, Any]
    def __init__(self, process: Process, row: np.void) -> None: ...
    def _repr_html_(self) -> str: ...
