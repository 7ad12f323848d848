"""Tables of what operations cost, for a linear model of time.

A file's format is imported by what reads or writes one: `import foliosim` takes as long as its imports.
"""
import math
import os
from dataclasses import asdict, dataclass, field

DEFAULT = "zen2-guest-6.18"


@dataclass(frozen=True)
class CostTable:
    """Coefficients of a linear model of time over ``ops.*``.

    Attributes
    ----------
    name : str
    source : str
        Where the numbers come from: the machine, the kernel, the method.
    coefficients : dict of str to float
        Name of an operation, without ``ops.``, to ns.  Operations left out cost nothing.
    held_out_error : float, optional
        Median relative error of cases that were not used in the fit.
    facts : dict
        Of the machine that was measured.
    """

    name: str
    source: str
    coefficients: dict
    held_out_error: float | None = None
    facts: dict = field(default_factory=dict)

    def time(self, ledger):
        """Nanoseconds for the operations of a ledger, or of a difference of two.

        Parameters
        ----------
        ledger : mapping
            With ``ops.*``.

        Returns
        -------
        float
        """
        return sum(ns * ledger[f"ops.{name}"] for name, ns in self.coefficients.items())

    def write(self, path):
        """Write it as JSON, whole or not at all."""
        from foliosim.whole import write_json

        write_json(path, asdict(self))


def names():
    """Names of the built-in tables.

    Returns
    -------
    list of str
    """
    folder = _folder()
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir()) if folder.is_dir() else []


def load(table):
    """A table.

    Parameters
    ----------
    table : str, path or CostTable
        A built-in table's name, or a JSON file.

    Returns
    -------
    CostTable

    Raises
    ------
    ValueError
        No such table, or not a table in the file; the message says what is valid.
    TypeError
        Neither a table nor a name: an open file's number is none.
    """
    import json

    from foliosim.whole import read_whole

    if isinstance(table, CostTable):
        return table
    table = os.fspath(table)
    if table in names():
        text = (_folder() / f"{table}.json").read_text()
    elif os.path.exists(table) and not os.path.isdir(table):
        text = read_whole(table)
    else:
        raise ValueError(f"cost table {str(table)!r}: valid are {', '.join(names())}, or a JSON file")
    try:
        return _checked(json.loads(text))
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"cost table {str(table)!r}: {error}") from None


def _checked(data):
    if not isinstance(data, dict) or not isinstance(data.get("coefficients"), dict):
        raise ValueError("no object with coefficients")
    for name, ns in data["coefficients"].items():
        if type(ns) not in (int, float) or not math.isfinite(ns):
            raise ValueError(f"coefficient {name} is {str(ns)[:40]!r}, not a number")
        data["coefficients"][name] = float(ns)
    return CostTable(**data)


def _folder():
    from importlib import resources

    return resources.files("foliosim") / "cost_tables"
