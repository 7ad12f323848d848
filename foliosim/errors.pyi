from typing import Any, ClassVar

__all__ = [
    "BusError",
    "MemoryFault",
    "OutOfMemory",
    "ReentryError",
    "RestoreError",
    "SavedError",
    "SegvError",
    "SyscallError",
    "UnsupportedError",
    "ValidationError",
    "out_of_memory",
    "syscall_error",
]

class SyscallError(OSError):
    errno: int
    strerror: str
    syscall: str | None
    syscall_args: tuple[Any, ...]

class OutOfMemory(SyscallError):
    report: dict[str, Any]

class MemoryFault(Exception):
    signal: ClassVar[str | None]
    addr: int
    si_code: str
    access: str | None
    vma: object
    def __init__(self, addr: int, si_code: str, access: str | None = None, vma: object = None) -> None: ...

class SegvError(MemoryFault): ...
class BusError(MemoryFault): ...
class UnsupportedError(Exception): ...
class ReentryError(RuntimeError): ...
class RestoreError(ValueError): ...
class SavedError(ValueError): ...

class ValidationError(Exception):
    differences: list[tuple[str, str, int, int]]
    def __init__(self, differences: list[tuple[str, str, int, int]]) -> None: ...

def syscall_error(number: int, syscall: str | None = None, args: tuple[Any, ...] = ()) -> SyscallError: ...
def out_of_memory(syscall: str, args: tuple[Any, ...], report: dict[str, Any]) -> OutOfMemory: ...
