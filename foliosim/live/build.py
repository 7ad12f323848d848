"""Compiles the small programs that the live kernel is observed with, once for each state of their sources."""
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from foliosim.live.errors import LiveError

SOURCES = Path(__file__).parent
FLAGS = ("-O2",)
# Linked statically a process has few pages and areas of its own; without a static C library the other way does too.
LINKAGES = (("-static",), ())


def compiler():
    """Path of the C compiler: $CC, else cc, gcc or clang.

    Raises
    ------
    LiveError
        There is none.
    """
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        path = shutil.which(name)
        if path is not None:
            return path
    raise LiveError("no C compiler: the live kernel is observed by a small C program; install one (cc, gcc or clang) "
                    "or name it in CC")


def _cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(base) / "foliosim"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="foliosim-"))


def program(name):
    """Path of a program, compiled if this was not done before.

    Parameters
    ----------
    name : str or path
        "puppet", "guard", or another source file.

    Raises
    ------
    LiveError
        There is no compiler, or it failed.
    """
    source = name if isinstance(name, Path) else SOURCES / f"{name}.c"
    text = source.read_bytes()
    machine = os.uname().machine
    digest = hashlib.sha256(text + repr((FLAGS, machine)).encode()).hexdigest()[:16]
    target = _cache() / f"{source.stem}-{digest}"
    if not target.exists():
        _compile(source, target)
    return target


def _compile(source, target):
    cc = compiler()
    part = target.with_name(f"{target.name}.{os.getpid()}")
    for linkage in LINKAGES:
        done = subprocess.run([cc, *FLAGS, *linkage, "-o", part, source], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            os.replace(part, target)  # at once: another run may be doing the same
            return
    raise LiveError(f"{cc} cannot compile {source.name}:\n{done.stderr.strip()}")
