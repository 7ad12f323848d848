"""The emulator in a process of its own: it replays while the kernel runs the next scenario, and may crash."""
import multiprocessing
import os
import signal
from collections import deque

from foliosim.errors import UnsupportedError
from foliosim.verify import numbers
from foliosim.verify.engine import MachineEngine
from foliosim.verify.recording import Scenario
from foliosim.verify.replay import Outcome, replay

TIMEOUT = 120.0  # seconds that one scenario may take

_AREA = {"proc": "p0", "addr": hex(numbers.ARENA), "length": 4 * numbers.PAGE_SIZE}
_FILE = {"op": "file", "proc": "p0", "file": "f0", "kind": "memfd", "length": 16384, "fill": 1}
_MMAP = {"op": "mmap", **_AREA, "prot": "rw", "flags": ["private", "anonymous", "fixed"]}
# Steps that show whether an op is emulated at all.
_PROBES = {
    "mmap": [_MMAP],
    "munmap": [{"op": "munmap", **_AREA}],
    "mprotect": [{"op": "mprotect", **_AREA, "prot": "r"}],
    "madvise": [],
    "mlock": [{"op": "mlock", **_AREA}],
    "munlock": [{"op": "munlock", **_AREA}],
    "mlock2": [{"op": "mlock2", **_AREA, "flags": ["onfault"]}],
    "mremap": [{"op": "mremap", "proc": "p0", "addr": _AREA["addr"], "old_length": 16384, "new_length": 16384,
                "flags": ["maymove", "fixed"], "new_addr": hex(numbers.ARENA + (4 << 20))}],
    "msync": [{"op": "msync", **_AREA, "flags": ["sync"]}],
    "mseal": [{"op": "mseal", **_AREA}],
    "mincore": [{"op": "mincore", **_AREA}],
    "write": [{"op": "write", **_AREA, "value": 1}],
    "read": [{"op": "read", **_AREA}],
    "fork": [{"op": "fork", "proc": "p0", "child": "p1"}],
    "exit": [{"op": "fork", "proc": "p0", "child": "p1"}, {"op": "exit", "proc": "p1"}],
    "get": [{"op": "get", **_AREA, "id": "g0"}],
    "peek": [{"op": "get", **_AREA, "id": "g0"}, {"op": "peek", "proc": "p0", "id": "g0"}],
    "put": [{"op": "put", "proc": "p0", "id": "g0"}],
    "pin": [{"op": "pin", **_AREA, "id": "b0"}],
    "unpin": [{"op": "unpin", "proc": "p0", "id": "b0"}],
    "file": [_FILE, {**_MMAP, "flags": ["private", "fixed"], "file": "f0"}, {"op": "read", **_AREA}],
    "ftruncate": [_FILE, {"op": "ftruncate", "proc": "p0", "file": "f0", "length": 8192}],
    "punch": [_FILE, {"op": "punch", "proc": "p0", "file": "f0", "offset": 0, "length": 4096}],
    "clear_refs": [{"op": "clear_refs", "proc": "p0", "value": 1}],
    "thp_disable": [{"op": "thp_disable", "proc": "p0", "value": 1}],
}


def _performs(machine, steps, make_engine):
    # Other failures than "unsupported" are for the fuzzer to find.
    try:
        engine = make_engine(Scenario("probe", (), machine, [], []))
        for step in [_MMAP, {"op": "write", **_AREA, "value": 1}, *steps]:
            engine.perform(step)
    except UnsupportedError:
        return False
    except Exception:
        return True
    return True


def supported(machine, make_engine=MachineEngine):
    """Ops and advices that the emulator has: two frozensets of names."""
    ops = {op for op, steps in _PROBES.items() if _performs(machine, steps, make_engine)}
    shared = {**_MMAP, "flags": ["shared", "anonymous", "fixed"]}
    if _performs(machine, [shared, {"op": "write", **_AREA, "value": 1}], make_engine):
        ops.add("shared memory")
    advices = {name for name in numbers.MADV
               if _performs(machine, [{"op": "madvise", **_AREA, "advice": name}], make_engine)}
    return frozenset(ops), frozenset(advices)


def _serve(pipe, cpus, make_engine):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when to end
    os.sched_setaffinity(0, cpus)
    while (task := pipe.recv()) is not None:
        what, argument, validate = task
        if what == "supported":
            pipe.send(supported(argument, make_engine))
        else:
            pipe.send(replay(argument, make_engine, validate=validate, details=True))


class Emulator:
    """Replays recorded scenarios, in the order in which they are submitted; use it as a context.

    Parameters
    ----------
    cpus : set of int
        Processors to run on.
    validate : bool
        Check all invariants after every step.
    make_engine : callable
        Takes a scenario and returns the engine to replay it on.
    """

    def __init__(self, cpus, validate=True, make_engine=MachineEngine):
        self._arguments = cpus, make_engine
        self._validate = validate
        self._process = self._pipe = None
        self._running = None
        self._done = deque()
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()

    def close(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def supported(self, machine):
        """See `supported`."""
        self._pipe.send(("supported", machine, False))
        return self._pipe.recv()

    def submit(self, scenario):
        """Begin to replay a recorded scenario."""
        if self._running is not None:
            self._done.append(self._wait())
        self._pipe.send(("replay", scenario, self._validate))
        self._running = scenario

    def collect(self):
        """The scenario and the outcome of the first one submitted that was not yet collected."""
        return self._done.popleft() if self._done else self._wait()

    def replay(self, scenario):
        """Replay a scenario at once; those submitted before can still be collected."""
        self.submit(scenario)
        return self._wait()[1]

    def _wait(self):
        scenario, self._running = self._running, None
        try:
            if self._pipe.poll(TIMEOUT):
                return scenario, self._pipe.recv()
            reason = f"the emulator gave no answer in {TIMEOUT:.0f} s"
        except (EOFError, ConnectionResetError):
            self._process.join()
            reason = f"the emulator's process died (exit status {self._process.exitcode})"
        self.close()
        self._start()
        last = len(scenario.steps) - 1
        return scenario, Outcome(scenario.id, scenario.theme, error=reason, first_step=last)
