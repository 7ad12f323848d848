"""Lists of sizes as a user writes them."""
from foliosim.sizes import parse_size


def sizes_value(text):
    """Powers of two: ``64K``, ``16K+64K+2M`` (or with commas), ``16K..2M``.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        The shortest way to write it.

    Raises
    ------
    ValueError
        Not such sizes.
    """
    found = set()
    for part in text.replace(",", "+").split("+"):
        first, _, last = part.partition("..")
        least = _power(first)
        most = _power(last) if ".." in part else least
        if least > most:
            raise ValueError(f"sizes {text[:60]!r}: the first is greater than the last")
        while least <= most:
            found.add(least)
            least *= 2
    sizes = sorted(found)
    texts = [_text(size) for size in sizes]
    if len(sizes) > 2 and sizes[-1] == sizes[0] << (len(sizes) - 1):
        return f"{texts[0]}..{texts[-1]}"
    return "+".join(texts)


def sizes_of(text):
    """Bytes of each size that `sizes_value` gave, ascending.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of int
    """
    first, dots, last = text.partition("..")
    if not dots:
        return [parse_size(part) for part in text.split("+")]
    least, most = parse_size(first), parse_size(last)
    return [least << n for n in range((most // least).bit_length())]


def _text(size):
    for shift, unit in ((30, "G"), (20, "M"), (10, "K")):
        if size >= 1 << shift:
            return f"{size >> shift}{unit}"
    return str(size)


def _power(text):
    size = parse_size(text)
    if size < 1 or size & (size - 1):
        raise ValueError(f"size {text[:60]!r}: not a power of two")
    return size
