"""Lines that could not be used: counted by kind, and the first ones named."""
from collections import Counter

_KEPT = 20
_SHOWN = 60  # characters of a line


class Complaints:
    """What was wrong with the lines of a file.

    Attributes
    ----------
    counts : Counter
        Kind to number of lines.
    named : list of str
        The first ones: ``line 17: truncated: mmap(...``.
    """

    def __init__(self):
        self.counts = Counter()
        self.named = []

    def add(self, line, kind, text=""):
        """Count a line, and name it if it is among the first of its kind."""
        self.counts[kind] += 1
        if self.counts[kind] <= _KEPT:
            text = text.strip()
            text = text if text.isprintable() else repr(text)[1:-1]         # \r would begin another line
            cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
            self.named.append(f"line {line}: {kind}" + (f": {cut}" if cut else ""))
