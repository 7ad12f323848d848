"""Structured arrays that other libraries take as tables."""
import numpy as np


class Table(np.ndarray):
    """A numpy structured array, one record per thing, that can become a DataFrame.

    `Process.maps`, `Process.smaps` and `Process.walk` return it.  It is an array in every way.

    Examples
    --------
    >>> import foliosim as fs
    >>> p = fs.Machine(memory="64M").spawn()
    >>> a = p.mmap(8192)
    >>> p.maps().to_pandas()["perms"].tolist()
    ['rw-p']
    """

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return found.view(np.ndarray) if isinstance(key, str) else found  # a column is a plain array

    def to_pandas(self):
        """One row per record, one column per field; fields whose name begins with ``_`` are left out.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ModuleNotFoundError
            No pandas; it comes with the extra ``tables``.
        """
        records = np.atleast_1d(self)
        if self.dtype.names is None:
            return import_pandas().DataFrame(records.view(np.ndarray))
        return import_pandas().DataFrame({name: records[name] for name in records.dtype.names
                                          if not name.startswith("_")})

    def _repr_html_(self):
        from html import escape

        if self.ndim != 1 or self.dtype.names is None:
            return f"<pre>{escape(repr(self))}</pre>"
        fields = [name for name in self.dtype.names if not name.startswith("_") and _shown(self[name])]
        head = "".join(f"<th>{escape(name)}</th>" for name in fields)
        rows = "".join("<tr>" + "".join(f"<td>{escape(_text(name, row[name]))}</td>" for name in fields) + "</tr>"
                       for row in self[:_MAX_ROWS])
        more = len(self) - _MAX_ROWS
        rest = f"<p>and {more:,} more</p>" if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"


_MAX_ROWS = 60
_ADDRESSES = ("start", "end", "pa")


def _shown(column):
    # A column of zeros says nothing.
    return bool(np.any(column != np.zeros(1, column.dtype)))


def _text(name, value):
    return f"{value:016x}" if name in _ADDRESSES else str(value)


def import_pandas():
    """pandas, or an error that says how to get it.

    Raises
    ------
    ModuleNotFoundError
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pandas is not installed; it comes with the extra `tables`: "
                                  "pip install 'foliosim[tables]'", name=error.name) from None
    return pandas
