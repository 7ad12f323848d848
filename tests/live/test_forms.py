"""Run-length forms are those of the scenario format."""
import random

import numpy as np
import pytest

from foliosim.live import runs
from foliosim.verify import compare


def greedy_data(data):
    """The contract's text, word for word."""
    found, i = [], 0
    while i < len(data):
        delta = (data[i + 1] - data[i]) % 256 if i + 1 < len(data) else 2
        if delta > 1:
            found.append([data[i], 1, 0])
            i += 1
            continue
        j = i + 1
        while j < len(data) and (data[j] - data[j - 1]) % 256 == delta:
            j += 1
        found.append([data[i], j - i, delta])
        i = j
    return found


@pytest.mark.parametrize("seed", range(20))
def test_data(seed):
    rng = random.Random(seed)
    for _ in range(100):
        data = bytes(rng.choice((0, 0, 1, 1, 2, 3, 254, 255)) for _ in range(rng.randrange(16)))
        assert runs.data_runs(data) == greedy_data(data)
        assert compare.expand_data(runs.data_runs(data)) == data


def test_pages():
    pages = [(0, 0x102, 0), (1, 0x102, 1), (2, 0x100, 2), (3, 0x100, 2), (4, 0x88, -1), (5, 0x88, -1), (7, 0x88, -1),
             (8, 0x102, 3), (9, 0x102, 3), (10, 0x102, 4)]
    at, bits, frames = (np.array(column) for column in zip(*pages))
    assert runs.page_runs(at * 4096, bits, frames) == [
        ["0x0", 2, "0x102", 0, 1], ["0x2000", 2, "0x100", 2, 0], ["0x4000", 2, "0x88", None, 0],
        ["0x7000", 1, "0x88", None, 0], ["0x8000", 2, "0x102", 3, 0], ["0xa000", 1, "0x102", 4, 1]]
    assert runs.page_runs(at[:0], bits[:0], frames[:0]) == []


def test_frames_and_addresses():
    assert runs.frame_runs(np.array([5, 5, 5, 7]), np.array([1, 1, 2, 2])) == [
        [0, 2, "0x5", 1], [2, 1, "0x5", 2], [3, 1, "0x7", 2]]
    assert runs.frame_runs(np.array([], int), np.array([], int)) == []
    assert runs.address_runs(np.array([4096, 8192, 20480])) == [["0x1000", 2], ["0x5000", 1]]
