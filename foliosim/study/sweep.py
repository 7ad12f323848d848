"""Many runs: in this process, in others, or on a cluster; what is finished is kept until all is.

Runs are independent of each other, so any executor with the interface of `concurrent.futures` does, and the result
does not depend on it.  Each finished run is appended to a journal; a sweep that was interrupted reads it and goes on.
"""
import contextlib
import hashlib
import json
import multiprocessing
import os
import pickle
import re
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from foliosim.study.base import Outcome, Run, StudyError, load
from foliosim.study.choose import overrides, parameters, policies
from foliosim.whole import named


@dataclass(frozen=True)
class Task:
    """One run, as it travels to a worker."""

    study: str
    parameters: dict
    label: str
    preset: str
    policy: dict
    seed: int

    @property
    def key(self):
        """Digest of all that the result depends on."""
        import foliosim

        named = json.dumps([foliosim.__version__, self.study, self.parameters, self.seed], sort_keys=True)
        digest = hashlib.sha256(named.encode())
        for point, answer in self.policy.items():
            digest.update(f"{point}={answer}".encode() if isinstance(answer, str) else _pickled(answer))
        return digest.hexdigest()


def _pickled(answer):
    try:
        return pickle.dumps(answer)
    except Exception:  # it cannot be told again in another process: known by its identity
        return f"{os.getpid()} {id(answer)}".encode()


class SweepError(RuntimeError):
    """A sweep that ended before its end; the message says what was kept and how to go on."""


def execute(task):
    """Do one run.

    Parameters
    ----------
    task : Task

    Returns
    -------
    Outcome
    """
    return load(task.study).run(task.parameters, task.policy, task.seed)


def plan(name, settings, sweeps, choices, presets, seed):
    """From the words of a command line to runs.

    Parameters
    ----------
    name : str
        The study's, as `load` takes it.
    settings, sweeps, choices, presets
        See `parameters` and `policies` of foliosim.study.choose.
    seed : int

    Returns
    -------
    tuple
        The study, and a list of Task.

    Raises
    ------
    StudyError
    """
    study = load(name)
    cases = parameters(study, settings, sweeps)
    return study, tasks(name, cases, policies(study, choices, presets), seed)


def tasks(study, cases, chosen, seed):
    """Every policy in every case.

    Parameters
    ----------
    study : str
        Name, as `load` takes it.
    cases : list of dict
    chosen : list of (str, str, dict)
        The policies, as `policies` gives them.
    seed : int

    Returns
    -------
    list of Task
    """
    return [Task(study, case, *one, seed) for case in cases for one in chosen]


class SerialExecutor(Executor):
    """Runs each task when it is submitted, in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _leave_interrupts():
    # Ctrl-C is for the process that collects.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def open_executor(address=None, jobs=1):
    """An executor.

    Parameters
    ----------
    address : str, optional
        ``dask://HOST:PORT``: the scheduler of an existing Dask cluster (extra ``cluster``).
    jobs : int
        Without an address: processes; 1 runs everything in this one.

    Returns
    -------
    concurrent.futures.Executor

    Raises
    ------
    StudyError
        Not such an address, or nobody answers there; the extra is not installed.
    """
    if address is None:
        if jobs == 1:
            return SerialExecutor()
        return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    scheme, separator, place = address.partition("://")
    if scheme != "dask" or not separator or not re.fullmatch(r".+:\d{1,5}", place):
        raise StudyError(f"executor {address!r}: must be written dask://HOST:PORT")
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise StudyError(f"executor {address!r}: dask is not installed; it comes with the extra `cluster`: "
                         "pip install 'foliosim[cluster]'") from None
    try:
        return Client(f"tcp://{place}", timeout="3s", set_as_default=False).get_executor(retries=3)
    except (OSError, ValueError) as error:
        raise StudyError(f"executor {address!r}: {error}") from None


class Journal:
    """Outcomes of finished runs in a file, one line each.

    Parameters
    ----------
    path : pathlib.Path or None
        None: nothing is kept.
    """

    def __init__(self, path):
        self.path = path
        self.found = {}
        self._cut = False            # the last line has no end
        if path is not None and path.exists():
            if not path.is_file():
                raise SweepError(f"{path}: is where finished runs are kept, and is no file")
            content = path.read_bytes()
            self._cut = not content.endswith(b"\n") and content != b""
            for line in content.splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):  # a line may be cut off
                    one = json.loads(line)
                    self.found[one["key"]] = Outcome(one["metrics"], one["detail"])

    def add(self, task, outcome):
        """Keep what a run gave."""
        self.found[task.key] = outcome
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": task.key, "metrics": outcome.metrics, "detail": outcome.detail}) + "\n"
        with named(str(self.path)), self.path.open("ab") as file:
            file.write(b"\n" * self._cut + line.encode())
            self._cut = True
            file.flush()
            os.fsync(file.fileno())
        self._cut = False

    def kept(self, todo):
        """How many of some tasks are done, and how to go on; for messages."""
        done = f"{sum(task.key in self.found for task in todo)} of {len(todo)} runs"
        if self.path is None:
            return f"{done} were done"
        return f"{done} are kept in {self.path}, and the same command goes on from there"

    def remove(self):
        """All is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def run_all(todo, *, executor=None, journal=None, progress=lambda done, total: None):
    """Do all runs.

    Parameters
    ----------
    todo : list of Task
    executor : concurrent.futures.Executor, optional
        Left open.
    journal : Journal, optional
    progress : callable
        Called with (runs done, runs in all).

    Returns
    -------
    list of Run
        In the order of the tasks.

    Raises
    ------
    StudyError
        A policy cannot be sent to another process, or a run refuses its parameters.
    SweepError
        A worker died, and what it ran could not be run elsewhere.
    """
    executor, journal = executor or SerialExecutor(), journal or Journal(None)
    if not isinstance(executor, SerialExecutor):
        for task in todo:
            _check_travels(task)
    done = {i: journal.found[task.key] for i, task in enumerate(todo) if task.key in journal.found}
    progress(len(done), len(todo))
    futures = {}
    try:
        for i, task in enumerate(todo):
            if i in done:
                continue
            futures[executor.submit(execute, task)] = i
            if isinstance(executor, SerialExecutor):
                _collect(futures, todo, done, journal, progress)
        _collect(futures, todo, done, journal, progress)
    except BrokenExecutor:
        raise SweepError(f"a worker process died; {journal.kept(todo)}") from None
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [Run(task.parameters, task.preset, overrides(task.policy, task.preset), task.label, done[i].metrics,
                done[i].detail) for i, task in enumerate(todo)]


def _collect(futures, todo, done, journal, progress):
    for future in as_completed(list(futures)):
        i = futures.pop(future)
        outcome = future.result()
        done[i] = outcome
        journal.add(todo[i], outcome)
        progress(len(done), len(todo))


def _check_travels(task):
    try:
        pickle.loads(pickle.dumps(task.policy))
    except Exception as error:
        raise StudyError(f"policy {task.label!r} cannot be sent to another process: {error}; run it with jobs=1, or "
                         "define it in a module that the workers can import") from None
