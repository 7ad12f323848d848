"""numpy structured arrays as tables of other libraries."""


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


def to_pandas(array):
    """A structured array as a DataFrame, one column per field.

    Parameters
    ----------
    array : numpy.ndarray
        As `Process.maps`, `Process.smaps` and `Process.walk` return it.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ModuleNotFoundError
        No pandas.
    """
    return import_pandas().DataFrame({name: array[name] for name in array.dtype.names})
