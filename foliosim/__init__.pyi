from foliosim.errors import (
    BusError as BusError,
    MemoryFault as MemoryFault,
    OutOfMemory as OutOfMemory,
    ReentryError as ReentryError,
    SavedError as SavedError,
    SegvError as SegvError,
    SyscallError as SyscallError,
    UnsupportedError as UnsupportedError,
    ValidationError as ValidationError,
)
from foliosim.file import File as File
from foliosim.flags import *
from foliosim.gup import PageReference as PageReference
from foliosim.machine import Machine as Machine
from foliosim.process import Process as Process
from foliosim.tables import Table as Table
from foliosim.views import Area as Area, Folio as Folio

__version__: str
