"""Run-length forms of an observation, as scenario files write them."""
import numpy as np


def data_runs(data):
    """Bytes as runs [first, count, delta]."""
    if not data:
        return []
    values = np.frombuffer(data, np.uint8)
    step = np.diff(values)  # modulo 256
    return [[int(values[start]), stop - start, int(step[start]) if stop - start > 1 else 0]
            for start, stop in _greedy(np.where(step <= 1, step.astype(np.int64), -1))]


def _greedy(link):
    """Yield (start, stop) of runs of items, greedily from the left.

    ``link[i]`` says how item i+1 follows item i; -1: not at all.  A run is of one kind of link, and an item belongs
    to one run only.
    """
    n = len(link) + 1
    # Where the stretch of equal links that holds link i ends: the last item that it reaches.
    changes = np.flatnonzero(np.diff(link)) + 1
    ends = np.append(changes, len(link))
    start, at = 0, 0
    while start < n:
        while at < len(ends) and ends[at] <= start:
            at += 1
        linked = start < n - 1 and link[start] >= 0
        stop = int(ends[at]) + 1 if linked else start + 1
        yield start, stop
        start = stop


def page_runs(addresses, bits, frames):
    """Pages as runs [address, count, bits, frame, step]; `frames` holds -1 where a page has no frame."""
    if not len(addresses):
        return []
    ahead = np.diff(frames)
    none = frames < 0
    follows = (np.diff(addresses) == 4096) & (bits[1:] == bits[:-1]) & (none[1:] == none[:-1])
    link = np.where(follows & (ahead == 0), 0, np.where(follows & (ahead == 1) & ~none[1:], 1, -1))
    runs = []
    for start, stop in _greedy(link):
        frame = int(frames[start])
        step = 0 if frame < 0 else int(link[start]) if stop - start > 1 else 1
        runs.append([hex(addresses[start]), stop - start, hex(bits[start]), None if frame < 0 else frame, step])
    return runs


def address_runs(addresses):
    """Addresses of pages as runs [address, count]."""
    return [[hex(addresses[start]), stop - start] for start, stop in _stretches(np.diff(addresses) == 4096)]


def frame_runs(flags, mapcounts):
    """Frames from 0 on as runs [first, count, flags, mapcount]."""
    if not len(flags):
        return []
    alike = (flags[1:] == flags[:-1]) & (mapcounts[1:] == mapcounts[:-1])
    return [[start, stop - start, hex(flags[start]), int(mapcounts[start])] for start, stop in _stretches(alike)]


def _stretches(alike):
    # (start, stop) of the stretches of items that are alike.
    bounds = [0, *(np.flatnonzero(~alike) + 1).tolist(), len(alike) + 1]
    return zip(bounds, bounds[1:])
