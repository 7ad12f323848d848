"""Numbers from users: sizes as people write them (``"64G"``, ``"2048kB"``, ``4096``), and integers in a range."""
import operator
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
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d{1,20})(?:\.(\d{1,20}))?\s*([kmgt]?)(?:i?b)?\s*", size, re.IGNORECASE | re.ASCII)
        if match is None:
            raise ValueError(f"size {size[:60]!r}: not a number with a unit K, M, G or T")
        whole, decimals, unit = match[1], match[2] or "", match[3].lower()
        number = (int(whole + decimals) << _UNITS[unit]) // 10 ** len(decimals)
    elif isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"size {size!r}: must be an int (bytes) or a string such as '64G'")
    else:
        number = operator.index(size)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"size {size!r}: must be at least 0, and below 2^64 bytes")
    return number


def index(what, value):
    """The int that a value stands for (``__index__``); TypeError, which names it, if it is none, or a bool."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{what} {value!r}: must be an integer")


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
    number = index(what, value)
    if number < least or most is not None and number > most:
        valid = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{what} {value!r}: must be {valid}")
    return number
