from dataclasses import dataclass

from foliosim.process import Process

@dataclass(frozen=True)
class Processor:
    arch: str
    page_size: int
    root: int
    va_bits: int
    pa_bits: int
    on: frozenset[str]
    def registers(self) -> dict[str, int]: ...

def processor_of(process: Process) -> Processor: ...
