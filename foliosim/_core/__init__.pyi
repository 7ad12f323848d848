"""The engine, compiled.  Modules without a stub are for the package alone."""
from typing import Any

def __getattr__(name: str) -> Any: ...
