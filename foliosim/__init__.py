"""Linux memory management that you can hold in your hand."""
from foliosim.errors import (
    BusError,
    MemoryFault,
    OutOfMemory,
    ReentryError,
    SavedError,
    SegvError,
    SyscallError,
    UnsupportedError,
    ValidationError,
)
from foliosim.file import File
from foliosim.flags import *  # noqa: F403
from foliosim.flags import __all__ as _flag_names
from foliosim.gup import PageReference
from foliosim.machine import Machine
from foliosim.process import Process
from foliosim.tables import Table
from foliosim.views import Area, Folio

__version__ = "0.1.0"
__all__ = [
    "Area",
    "BusError",
    "File",
    "Folio",
    "Machine",
    "MemoryFault",
    "OutOfMemory",
    "PageReference",
    "Process",
    "ReentryError",
    "SavedError",
    "SegvError",
    "SyscallError",
    "Table",
    "UnsupportedError",
    "ValidationError",
    *_flag_names,
]
