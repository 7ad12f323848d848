"""Kernel settings that a scenario depends on: applied while a lock is held, and written back however the run ends."""
import contextlib
import fcntl
import os
import subprocess
import time
from pathlib import Path

from foliosim.live.build import program
from foliosim.live.errors import LiveError

THP = Path("/sys/kernel/mm/transparent_hugepage")
MIN_FREE = Path("/proc/sys/vm/min_free_kbytes")  # the kernel changes it when transparent_hugepage/enabled changes
LOCK = Path(os.environ.get("FOLIOSIM_THP_LOCK", "/tmp/thp-sysfs.lock"))  # held by whoever changes these settings
SIZES = tuple(f"{4 << order}kB" for order in range(2, 10))
SHMEM_SIZES = ("8kB", *SIZES)
KEYS = ("thp_enabled", "shmem_enabled", "mthp", "mthp_shmem")

# The same for every scenario.  khugepaged sleeps for an hour: it must not collapse anything during a step.
FIXED = {
    THP / "khugepaged/scan_sleep_millisecs": "4000000",
    THP / "khugepaged/max_ptes_none": "511",
    THP / "khugepaged/max_ptes_swap": "64",
    THP / "khugepaged/max_ptes_shared": "256",
    THP / "use_zero_page": "1",
    THP / "defrag": "madvise",
}
SETTLE = 0.01  # seconds that khugepaged gets for the pass that a change wakes it for


def default():
    """The settings that most recordings were made with."""
    return {
        "thp_enabled": "madvise", "shmem_enabled": "never",
        "mthp": {**dict.fromkeys(SIZES, "never"), "2048kB": "inherit"},
        "mthp_shmem": {**dict.fromkeys(SHMEM_SIZES, "never"), "2048kB": "inherit"},
    }


def complete(changes):
    """The default settings with some entries replaced.

    Raises
    ------
    LiveError
        An entry is not one of the settings.
    """
    result = default()
    for key, value in changes.items():
        if key not in result:
            raise LiveError(f"no setting {key!r}; there are {', '.join(result)}")
        if isinstance(value, dict):
            unknown = value.keys() - result[key].keys()
            if unknown:
                raise LiveError(f"no size {min(unknown)} in {key}")
            result[key].update(value)
        else:
            result[key] = value
    return result


def of_scenario(scenario):
    """The settings that a scenario asks for: its "settings", else those among its "machine", else the default."""
    changes = scenario.get("settings")
    if changes is None:
        changes = {key: value for key, value in scenario.get("machine", {}).items() if key in KEYS}
    return complete(changes)


def files_of(settings):
    """Pairs of a file and the word that these settings want in it."""
    yield THP / "enabled", settings["thp_enabled"]
    yield THP / "shmem_enabled", settings["shmem_enabled"]
    for size, word in settings["mthp"].items():
        yield THP / f"hugepages-{size}/enabled", word
    for size, word in settings["mthp_shmem"].items():
        yield THP / f"hugepages-{size}/shmem_enabled", word


def read(path):
    """The value in a settings file; of a list of choices the one in brackets."""
    text = path.read_text().strip()
    return text.partition("[")[2].partition("]")[0] if "[" in text else text


class Turn:
    """The right to change the settings, from `begin` (which waits for it) to `end` (which restores them).

    A guard process of its own keeps the values that were found.  It writes them back when this process closes its
    pipe or dies, and keeps the lock until then.
    """

    def __init__(self, lock=LOCK, waiting=None):
        self._path, self._waiting = lock, waiting
        self._lock = self._guard = None
        self._found = {}

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *exception):
        self.end()

    def begin(self):
        """Wait for the lock, remember what is set, and set what is the same for every scenario."""
        guard = program("guard")
        self._lock = self._take_lock()
        try:
            paths = [path for path, _ in files_of(default())] + list(FIXED) + [MIN_FREE]
            self._found = {path: read(path) for path in paths if path.exists()}
            self._guard = subprocess.Popen([guard], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                                           pass_fds=(self._lock,), start_new_session=True)
            kept = "".join(f"= {path} {value}\n" for path, value in self._found.items())
            self._guard.stdin.write(kept.encode())
            self._write({THP / "enabled": "madvise", **FIXED})
            self._guard.stdin.write(b"h\n")
            if self._guard.stdout.read(1) != b"h":
                raise LiveError("the process that keeps the settings has ended")
            time.sleep(SETTLE)
        except BaseException:
            self.end()
            raise

    def _take_lock(self):
        try:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise LiveError(f"cannot open the lock {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._waiting is not None:
                self._waiting(self._path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def apply(self, settings):
        """Set all settings of a scenario."""
        if self._write(dict(files_of(settings))):
            time.sleep(SETTLE)

    def _write(self, wanted):
        # Only what differs is written: each write may wake khugepaged.
        changed = False
        for path, word in wanted.items():
            if path in self._found and read(path) != word:
                try:
                    path.write_text(word)
                except OSError as error:
                    raise LiveError(f"cannot set {path} to {word!r}: {error.strerror}") from None
                changed = True
        return changed

    @staticmethod
    def holds(settings):
        """Is everything still as these settings want it?  Another program may not know of the lock."""
        return all(read(path) == word for path, word in files_of(settings) if path.exists())

    def end(self):
        """Restore all settings and let the lock go."""
        if self._guard is not None:
            self._guard.stdin.close()
            self._guard.wait()
            self._guard.stdout.close()
            self._guard = None
        for path, value in self._found.items():  # nothing is left to do unless the guard was killed
            with contextlib.suppress(OSError):
                if read(path) != value:
                    path.write_text(value)
        self._found = {}
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
