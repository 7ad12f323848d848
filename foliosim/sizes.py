"""Sizes as people write them: ``"64G"``, ``"2048kB"``, ``4096``."""
import re

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_size(size):
    """Bytes of a size.

    Parameters
    ----------
    size : int or str
        Bytes, or a number with a unit K, M, G or T (powers of 1024; an ``iB`` or ``B`` after it is ignored).

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Not a size; the message names it.
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f"size {size!r}: must be an int (bytes) or a string such as '64G'")
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"size {size}: must not be negative")
        return size
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", size, re.IGNORECASE)
    if match is None:
        raise ValueError(f"size {size!r}: not a number with a unit K, M, G or T")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))
