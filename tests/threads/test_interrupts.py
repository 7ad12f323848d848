"""Ctrl-C ends what takes long, and leaves a valid machine and whole files."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import foliosim as fs
from interrupted import WHATS

HERE = Path(__file__).parent
PATIENCE = 20                    # seconds; none of the operations would be over by then


def begun(command, **keywords):
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=HERE, **keywords)
    assert child.stdout.readline() == "begins\n"
    time.sleep(0.3)              # it need not be in the core by then: then it is interrupted before
    return child


@pytest.mark.parametrize("what", WHATS)
def test_an_operation_ends_and_the_machine_is_valid(what):
    child = begun(["interrupted.py", what])
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=PATIENCE)
    assert out == "ended\nvalid\n" and child.returncode == 0


def test_waiting_for_another_thread_ends():
    child = begun(["interrupted.py", "waiting"])
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=PATIENCE)
    assert out == "ended\n"


class Stopped(Exception):
    pass


@pytest.fixture
def alarm():
    """After so much time of the CPU a signal's handler raises."""
    def stop(*_):
        raise Stopped

    before = signal.signal(signal.SIGVTALRM, stop)
    yield lambda seconds: signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def test_validation_ends(alarm):
    machine = fs.Machine(memory="8G", thp="never")
    process = machine.spawn()
    process.touch(process.mmap(2 << 30), 2 << 30, write=True)
    alarm(0.005)
    with pytest.raises(Stopped) as caught:
        machine.validate()
    assert "differences" in [entry.name for entry in caught.traceback] or caught.traceback[-1].name == "stop"
    machine.validate()


def test_filling_a_file_ends(alarm):
    machine = fs.Machine(memory="64M", limit="16M")
    before = machine.vmstat()["nr_free_pages"]
    alarm(0.02)
    with pytest.raises(Stopped):
        machine.create_file("disk", 16 << 30, fill=1)           # its pages are reclaimed: there is room for all
    machine.validate()
    assert machine.vmstat()["nr_free_pages"] == before


def test_a_series_of_accesses_ends(alarm):
    machine = fs.Machine(memory="64M")
    process = machine.spawn()
    area = process.mmap(1 << 20)
    series = machine.core.touch.AccessSeries(machine, 1)
    series.set(0, process)
    n = 4_000_000
    who, addrs, writes = np.zeros(n, np.int32), np.full(n, area, np.uint64), np.ones(n, np.uint8)
    counts, outcome = np.zeros((2, 1), np.int64), np.full(n, 9, np.uint8)
    alarm(0.02)
    with pytest.raises(Stopped):
        series.run(who, addrs, writes, counts[0], counts[1], outcome)
    machine.validate()
    assert outcome[0] == 0 and outcome[-1] == 9 and counts[0, 0] == 1


def test_a_handler_may_not_use_the_machine_that_it_interrupts(alarm):
    machine, errors = fs.Machine(memory="64G", thp="always"), []
    process = machine.spawn()
    process.mmap(32 << 30, addr=1 << 40, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)

    def use(*_):
        try:
            machine.vmstat()
            errors.append(None)
        except fs.ReentryError as error:
            errors.append(error)

    signal.signal(signal.SIGVTALRM, use)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.01, 0.01)
    process.write(1 << 40, 8 << 20, value=1, stride=1)          # each byte on its own
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    machine.validate()
    assert process.read((1 << 40) + (8 << 20) - 1, 1) == b"\1"


def test_a_replay_ends_and_the_file_there_stays(tmp_path):
    """The trace is a pipe that nobody closes, so the replay is in the middle for sure."""
    kept = tmp_path / "run.json"
    kept.write_text("of an earlier run")
    trace = tmp_path / "trace"
    os.mkfifo(trace)
    child = subprocess.Popen([sys.executable, "-m", "foliosim", "replay", str(trace), "--json", str(kept)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with trace.open("w") as pipe:
        pipe.flush()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        child.wait(timeout=PATIENCE)
    assert child.returncode != 0
    assert kept.read_text() == "of an earlier run" and sorted(os.listdir(tmp_path)) == ["run.json", "trace"]
