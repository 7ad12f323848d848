"""Replays the scenarios of many files on all cores.

Each worker process replays one scenario at a time, so that an engine that crashes or hangs costs one scenario and is
named; the worker is then started anew.
"""
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait

from foliosim.verify import recording
from foliosim.verify.engine import MachineEngine
from foliosim.verify.recording import RecordingError
from foliosim.verify.replay import Outcome, replay


@dataclass
class Totals:
    """Sums over scenarios."""

    scenarios: int = 0
    steps: int = 0
    values: int = 0
    masked: int = 0
    mismatched_scenarios: list = field(default_factory=list)
    mismatched_values: int = 0
    unsupported: list = field(default_factory=list)

    def add(self, outcome):
        self.scenarios += 1
        self.steps += outcome.steps
        self.values += outcome.values
        self.masked += outcome.masked
        self.mismatched_values += outcome.mismatched_values
        if outcome.mismatched:
            self.mismatched_scenarios.append(outcome.id)
        if outcome.unsupported is not None:
            self.unsupported.append(outcome.id)

    @property
    def matched(self):
        """Scenarios that were replayed to their end without a mismatch."""
        return self.scenarios - len({*self.mismatched_scenarios, *self.unsupported})

    def as_dict(self):
        return {
            "scenarios": self.scenarios, "steps": self.steps, "values": self.values, "masked": self.masked,
            "mismatched_scenarios": list(self.mismatched_scenarios), "mismatched_values": self.mismatched_values,
            "unsupported": list(self.unsupported),
        }


class Summary:
    """Totals of a run, all and by theme, and the outcomes that did not match."""

    def __init__(self):
        self.total = Totals()
        self.by_theme = {}
        self.ids = set()
        self.failed = []

    def add(self, outcome):
        self.total.add(outcome)
        self.ids.add(outcome.id)
        self.by_theme.setdefault(outcome.theme, Totals()).add(outcome)
        if outcome.mismatched or outcome.unsupported is not None:
            self.failed.append(outcome)

    @property
    def ok(self):
        return self.total.matched == self.total.scenarios

    def as_dict(self):
        """The content of ``--json``."""
        themes = {theme: totals.as_dict() for theme, totals in sorted(self.by_theme.items())}
        return {**self.total.as_dict(), "by_theme": themes}


@dataclass(frozen=True)
class Job:
    """What to do with each line: which scenarios, on what, how thoroughly."""

    make_engine: object = MachineEngine
    ids: frozenset = frozenset()
    themes: frozenset = frozenset()
    validate: bool = False
    details: bool = False

    def run(self, path, number, line):
        """The outcome of one line, or None where the scenario is not asked for."""
        scenario = recording.parse(path, number, line)
        if (self.ids and scenario.id not in self.ids) or (self.themes and scenario.theme not in self.themes):
            return None
        outcome = replay(scenario, self.make_engine, validate=self.validate, details=self.details)
        outcome.path, outcome.line = path, number
        return outcome


def _lines(paths):
    for path in paths:
        for number, line, share in recording.read_lines(path):
            yield path, number, line, share


def run(paths, job, *, jobs=1, timeout=120.0, progress=None):
    """Replay the scenarios of some files.

    Parameters
    ----------
    paths : list of Path
        Files.
    job : Job
    jobs : int
        Worker processes; 1 replays in this process, where nothing guards against a crash.
    timeout : float
        Seconds after which a worker that still replays one scenario is given up.
    progress : callable, optional
        Called with (path, share of the file read, outcome or None) after each scenario.

    Returns
    -------
    Summary
        Scenarios in the order of the files.

    Raises
    ------
    RecordingError
        A file is broken.  The run ends there.
    """
    results = _in_process(paths, job) if jobs == 1 else _in_workers(paths, job, jobs, timeout)
    outcomes = []
    for order, path, share, outcome in results:
        if outcome is not None:
            outcomes.append((order, outcome))
        if progress is not None:
            progress(path, share, outcome)
    summary = Summary()
    for _, outcome in sorted(outcomes, key=lambda pair: pair[0]):
        summary.add(outcome)
    return summary


def _in_process(paths, job):
    for order, (path, number, line, share) in enumerate(_lines(paths)):
        yield order, path, share, job.run(path, number, line)


# ---- workers ----

def _serve(pipe, job):
    # A worker: lines in, outcomes (or what is wrong with the line) out.
    while (task := pipe.recv()) is not None:
        try:
            pipe.send(job.run(*task))
        except RecordingError as error:
            pipe.send(error)


class _Worker:
    """One worker process and what it is doing."""

    def __init__(self, job):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=partial(_serve, theirs, job), daemon=True)
        self._process.start()
        theirs.close()
        self.task = None
        self.since = 0.0

    def send(self, task):
        self.task, self.since = task, time.monotonic()
        _, path, number, line, _ = task
        self.pipe.send((path, number, line))

    def close(self, kill=False):
        """End the process; returns its exit code."""
        if kill:
            self._process.kill()
        else:
            try:
                self.pipe.send(None)
            except OSError:
                pass
        self.pipe.close()
        self._process.join()
        return self._process.exitcode


def _lost(task, reason):
    # The outcome of a scenario whose worker gave none.
    _, path, number, line, _ = task
    scenario = recording.parse(path, number, line)
    return Outcome(scenario.id, scenario.theme, error=reason, first_step=0, path=path, line=number)


def _poll(worker, job, timeout):
    # (has it ended its task?, its answer, the worker for the next task: another one where this one is lost)
    try:
        if worker.pipe.poll():
            return True, worker.pipe.recv(), worker
        if time.monotonic() - worker.since < timeout:
            return False, None, worker
        worker.close(kill=True)
        reason = f"the engine gave no answer in {timeout:.0f} s"
    except (EOFError, ConnectionResetError):
        reason = f"the engine's process died (exit status {worker.close()})"
    return True, _lost(worker.task, reason), _Worker(job)


def _in_workers(paths, job, jobs, timeout):
    tasks = ((order, *line) for order, line in enumerate(_lines(paths)))
    workers = [_Worker(job) for _ in range(jobs)]
    try:
        idle, busy = list(workers), []
        while True:
            while idle and (task := next(tasks, None)) is not None:
                idle[-1].send(task)
                busy.append(idle.pop())
            if not busy:
                return
            wait([worker.pipe for worker in busy], timeout=min(timeout, 1.0))
            for worker in list(busy):
                done, answer, heir = _poll(worker, job, timeout)
                if not done:
                    continue
                busy.remove(worker)
                idle.append(heir)
                workers[workers.index(worker)] = heir
                if isinstance(answer, RecordingError):
                    raise answer
                order, path, _, _, share = worker.task
                yield order, path, share, answer
    finally:
        for worker in workers:
            worker.close(kill=True)


def default_jobs():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
