"""The bar that long work shows."""
from rich.console import Console
from rich.progress import Progress


def progress(*columns):
    """A `rich.progress.Progress` on standard error that is gone at its end; where that is no terminal, nothing."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
