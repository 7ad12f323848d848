"""Numbers from users: sizes as people write them (``"64G"``, ``"2048kB"``, ``4096``), and integers in a range."""
import operator
import re
from fractions import Fraction

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
    match = re.fullmatch(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([kmgt]?)(?:i?b)?\s*", size, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"size {size[:60]!r}: not a number with a unit K, M, G or T")
    return int(Fraction(match[1]) * (1 << _UNITS[match[2].lower()]))


def integer(what, value, least=0, most=None):
    """An integer in a range.

    Parameters
    ----------
    what : str
        Its name, for the message.
    value : int
        Or what can stand for one (``__index__``), as numpy's integers can.
    least, most : int, optional

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        Not an integer; out of range.  The message names the value.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} {value!r}: must be an integer") from None
    if number < least or most is not None and number > most:
        valid = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{what} {value!r}: must be {valid}")
    return number
