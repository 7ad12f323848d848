"""What the studies around max_ptes_none share: its key, and the values at which an answer can change."""
from foliosim.study.base import Key, RefusedValue, choice_value, int_value
from foliosim.study.scene import block_of

RANGE = "range"
_MOST = 1 << 16  # more than any page size allows; `check_limit` knows better

THP = Key("always", choice_value("always", "madvise", "never"),
          "always, madvise (the program advises all of it), never: transparent_hugepage/enabled")


def limit_key(what, default=RANGE):
    """The key of a number of pages in a block, from 0 to all but one; or `RANGE`.

    Parameters
    ----------
    what : str
        For messages.
    default : str

    Returns
    -------
    Key
    """
    number = int_value(0, _MOST)
    return Key(default, lambda text: text if text == RANGE else number(text),
               f"0 to 511 (of the 512 pages of 2 MiB), or {RANGE} (the values around which the answer changes): {what}")


def ptes_of(parameters):
    """Entries of a page table: pages of a block."""
    page = parameters["page_size"]
    return block_of(page) // page


def limits(values, key, edges, quarters=True):
    """What a `limit_key` stands for.

    Parameters
    ----------
    values : dict
        Parameters.
    key : str
    edges : iterable of int
        Numbers of pages at which the answer may change.
    quarters : bool
        With quarters of a block.

    Returns
    -------
    list of int
        The one that was given, or ascending: none, quarters, all but one, each edge and what is one less.

    Raises
    ------
    RefusedValue
        More than all but one.
    """
    most = ptes_of(values) - 1
    if values[key] == RANGE:
        wanted = {0, most} | {at - back for at in edges for back in (0, 1)}
        wanted |= {(most + 1) * part // 4 for part in (1, 2, 3)} if quarters else set()
        return sorted(one for one in wanted if 0 <= one <= most)
    if values[key] > most:
        raise RefusedValue(key, f"0 to {most}, or {RANGE}")
    return [values[key]]
