"""Files that are written at once or not at all: what was there stays whole until the new one is on disk."""
import csv
import errno
import io
import json
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

_SAME = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}  # what varies is left out


@contextmanager
def whole_file(path):
    """A binary file that takes the place of `path` when the block is left, unless by an exception.

    A new file has the mode that the umask leaves, and one that was there keeps its own.  A symbolic link stays, and
    what it leads to is replaced; what is no regular file (a terminal, a pipe) is written to as it is.

    Parameters
    ----------
    path : path

    Yields
    ------
    file object

    Raises
    ------
    OSError
        With `path` as its file name.
    TypeError
        Not a path: an open file's number is none, it would be closed.
    """
    path = os.fspath(path)
    try:
        mode = os.stat(path).st_mode if os.path.exists(path) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(path, "wb") as file:
                yield file
            return
        with _replacing(Path(os.path.realpath(path)), mode) as file:
            yield file
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, path) from None


@contextmanager
def _replacing(target, mode):
    part = target.with_name(f".{target.name[:200]}.{os.urandom(4).hex()}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb") as file:
            if mode is not None:
                os.fchmod(fd, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(fd)
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path, text):
    """Write a text, in UTF-8."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_json(path, data):
    """Write JSON, as the ``--json`` of all commands has it."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_csv(path, names, rows):
    """Write a line of names and the rows: sequences, or dicts by name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] if isinstance(row, dict) else row for row in rows)
    write_text(path, out.getvalue())


def write_picture(path, figure, **how):
    """Write a matplotlib figure; the same bytes for the same picture.  The end of the name says in which format."""
    kind = Path(path).suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise OSError(errno.EINVAL, f"no picture's format; valid are {', '.join(sorted(known))}", os.fspath(path))
    with whole_file(path) as file:
        figure.savefig(file, format=kind, metadata=_SAME.get(kind), **how)
