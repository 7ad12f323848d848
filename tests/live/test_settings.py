"""Settings are changed while the lock is held, and found again afterwards however the holder ended."""
import fcntl
import signal
import subprocess
import sys
import time

import pytest

from foliosim.live import settings

pytestmark = pytest.mark.live

HOLDER = """
import sys, time
from foliosim.live import settings
turn = settings.Turn(sys.argv[1])
turn.begin()
turn.apply(settings.complete({"thp_enabled": "never", "mthp": {"64kB": "always"}}))
print("set", flush=True)
time.sleep(60)
"""


def found():
    paths = [path for path, _ in settings.files_of(settings.default())] + list(settings.FIXED) + [settings.MIN_FREE]
    return {path: settings.read(path) for path in paths if path.exists()}


@pytest.fixture(scope="module", autouse=True)
def lock():
    """Nobody else changes settings while these tests look at them."""
    with open(settings.LOCK, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_settings_are_applied_and_restored(tmp_path):
    before = found()
    wanted = settings.complete({"thp_enabled": "always", "shmem_enabled": "advise"})
    with settings.Turn(tmp_path / "lock") as turn:
        turn.apply(wanted)
        assert turn.holds(wanted)
        assert not turn.holds(settings.default())
        assert settings.read(settings.THP / "khugepaged/scan_sleep_millisecs") == "4000000"
    assert found() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_settings_are_restored_when_the_holder_is_ended(number, tmp_path):
    before = found()
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as holder:
        assert holder.stdout.readline() == b"set\n"
        assert found() != before
        holder.send_signal(number)
    with open(tmp_path / "lock", "a") as file:  # the guard lets go when it has written everything back
        fcntl.flock(file, fcntl.LOCK_EX)
    assert found() == before


def test_the_lock_is_waited_for(tmp_path):
    waited = []
    with settings.Turn(tmp_path / "lock"), pytest.raises(TimeoutError):
        def interrupt(number, frame):
            raise TimeoutError
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        settings.Turn(tmp_path / "lock", waited.append).begin()
    assert waited == [tmp_path / "lock"]
    time.sleep(0)
