"""Files that are read whole, and written at once or not at all: what was there stays until the new one is on disk."""
import csv
import errno
import io
import json
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

_PIECE, _ENDLESS = 1 << 20, 1 << 30  # bytes; a pipe or a device may give so many
PICTURES = ("png", "svg", "pdf", "jpg", "jpeg", "webp", "tif", "tiff", "eps", "ps")
_SAME = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}  # what varies is left out


@contextmanager
def named(path):
    """A block whose OSError names `path`; one without a number (matplotlib's) stays as it is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, path) from None


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
    path = os.fsdecode(path)
    with named(path):
        mode = os.stat(path).st_mode if os.path.exists(path) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(path, "wb") as file:
                yield file
            return
        with _replacing(Path(os.path.realpath(path)), mode) as file:
            yield file


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


def read_whole(path):
    """The content of a file, which is opened once: a pipe will do; what gives more than 1 GiB and is no file will not.

    Parameters
    ----------
    path : path

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        With `path` as its file name.
    MemoryError
        It names the file and its size.
    TypeError
        Not a path: an open file's number is none, it would be closed.
    """
    path = os.fsdecode(path)
    try:
        with named(path), open(path, "rb") as file:
            about = os.fstat(file.fileno())
            return file.read() if stat.S_ISREG(about.st_mode) else _read_stream(file)
    except MemoryError:
        raise MemoryError(f"{path}: {about.st_size:,} bytes") from None


def _read_stream(file):
    pieces = []
    while piece := file.read(_PIECE):
        pieces.append(piece)
        if len(pieces) * _PIECE > _ENDLESS:
            raise OSError(errno.EFBIG, f"gives more than {_ENDLESS:,} bytes and is no file")
    return b"".join(pieces)


def check_output(path, *read):
    """OSError if a file that is to be written is one of those that are read: it would be lost."""
    for one in read:
        if os.path.exists(path) and os.path.exists(one) and os.path.samefile(path, one):
            raise OSError(errno.EINVAL, "is what is read; name another file to be written", os.fspath(path))


def write_text(path, text):
    """Write a text, in UTF-8; names of files that are not keep their bytes."""
    with whole_file(path) as file:
        file.write(text.encode(errors="surrogateescape"))


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


def picture_format(path):
    """Format of a picture, which the end of its name says; OSError if it is none.  Ask before the work is done."""
    kind = Path(os.fsdecode(path)).suffix[1:].lower() or "png"
    if kind not in PICTURES:
        raise OSError(errno.EINVAL, f"no picture's format; valid are {', '.join(PICTURES)}", os.fspath(path))
    return kind


def write_picture(path, figure, **how):
    """Write a matplotlib figure, in its `picture_format`; the same bytes for the same picture."""
    kind = picture_format(path)
    _as_written(figure)
    with whole_file(path) as file:
        figure.savefig(file, format=kind, metadata=_SAME.get(kind), **how)


def _as_written(figure):
    # A "$" in a name begins no formula; the numbers of axes are matplotlib's own.
    from matplotlib.text import Text

    numbers = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
               for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
