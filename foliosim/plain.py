"""Text of strangers (labels, names, reasons in files), as people can be shown it."""
MOST = 160    # characters


def plain(text, most=MOST):
    """One line: what cannot be printed is escaped, and what is too long is cut.

    Parameters
    ----------
    text : object
    most : int
        Characters.

    Returns
    -------
    str
    """
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)[:most + 1])
    return text if len(text) <= most else text[:most - 3] + "..."
