"""Events a second of a replay: a trace repeated to a million events, snapshots left out.

``python -m bench.replay TRACE``.  Reading (xz, JSON) and replaying are timed apart; each repetition runs whole programs,
from execve to exit, on the same machine.
"""
import json
import lzma
import sys
import tempfile
import time
from pathlib import Path

from foliosim.replay import read_trace
from foliosim.replay.run import replay_trace

EVENTS = 1_000_000


def repeated(path, folder):
    """The trace again and again in one file, until it has a million events."""
    first, *lines = lzma.decompress(Path(path).read_bytes()).decode().splitlines()
    lines = [line for line in lines if not line.startswith('["S"')]
    times = -(-EVENTS // len(lines))
    header = {**json.loads(first), "events": times * len(lines)}
    out = Path(folder) / "trace.jsonl.xz"
    text = "\n".join([json.dumps(header), *lines * times]) + "\n"
    out.write_bytes(lzma.compress(text.encode(), preset=1))
    return out


def main(path):
    with tempfile.TemporaryDirectory() as folder:
        copy = repeated(path, folder)
        start = time.perf_counter()
        trace = read_trace(copy)
        read = time.perf_counter()
        replay_trace(trace)
        done = time.perf_counter()
    print(f"{len(trace):,} events: read in {read - start:.2f} s, replayed in {done - read:.2f} s: "
          f"{len(trace) / (done - read):,.0f} events/s, with reading {len(trace) / (done - start):,.0f} events/s")


if __name__ == "__main__":
    main(sys.argv[1])
