"""A study from Python: one call, and a result that notebooks show."""
from dataclasses import dataclass

from foliosim.study import report, sweep
from foliosim.study.base import Study


@dataclass(frozen=True, eq=False)
class Result:
    """What a study found.

    Attributes
    ----------
    study : Study
    runs : list of Run
    seed : int
    """

    study: Study
    runs: list
    seed: int

    @property
    def conclusion(self):
        """Two or three sentences, computed from the numbers."""
        return self.study.conclude(self.runs)

    def as_dict(self):
        """The result in the shape of ``--json``."""
        return report.as_dict(self.study, self.runs, self.seed)

    def to_pandas(self):
        """One row per run: parameters, preset, policy points, metrics.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ModuleNotFoundError
            No pandas; it comes with the extra ``tables``.
        """
        from foliosim.tables import import_pandas

        return import_pandas().DataFrame(report.rows(self.study, self.runs))

    def picture(self, path):
        """Write the picture, a PNG.

        Parameters
        ----------
        path : pathlib.Path

        Raises
        ------
        ModuleNotFoundError
            No matplotlib; it comes with the extra ``plot``.
        """
        self.study.picture(self.runs, path)

    def __repr__(self):
        return f"<Result of {self.study.name}: {len(self.runs)} runs>"

    def _repr_html_(self):
        from rich.console import Console

        console = Console(record=True, width=160, file=_Nowhere())
        for table in report.tables(self.study, self.runs):
            console.print(table)
        console.print(self.conclusion)
        return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.2'>{code}</pre>")


class _Nowhere:
    def write(self, text):
        return len(text)

    def flush(self):
        pass


def run_study(name, settings=None, *, sweeps=None, policy=(), preset="linux-6.18", seed=0, jobs=1, executor=None,
              journal=None, progress=lambda done, total: None):
    """Put a question to several policies.

    Parameters
    ----------
    name : str
    settings : dict, optional
        Key to value, as after ``--set``: ``{"size": "64K"}``.
    sweeps : dict, optional
        Key to values; all combinations are run.
    policy : iterable of str, or object
        ``point=alternative`` each, all combinations; an object with methods named like points is one policy.  None:
        each alternative of the study's points, or the presets as they are if there are several.
    preset : str or iterable of str
        What the other points do; several presets, all for each.
    seed : int
        Decides everything random.
    jobs : int
        Processes.
    executor : concurrent.futures.Executor, optional
        Takes the place of processes; it is left open.
    journal : pathlib.Path, optional
        Finished runs are kept here until all are; a file that is there already is gone on with.
    progress : callable
        Called with (runs done, runs in all).

    Returns
    -------
    Result
        The same for any number of jobs and any executor.

    Raises
    ------
    StudyError
        An unknown study, key, value, point or alternative; or a policy that cannot be sent to another process.
    SweepError
        A worker died.

    Examples
    --------
    >>> from foliosim.study import run_study
    >>> result = run_study("half-mlock", {"split_fails": "no"}, policy=["mlock_rule=whole"])
    >>> result.runs[0].metrics["mlock_overshoot"]
    1048576
    """
    study, todo = sweep.plan(name, [f"{key}={value}" for key, value in (settings or {}).items()],
                             [f"{key}={','.join(map(str, values))}" for key, values in (sweeps or {}).items()],
                             policy, [preset] if isinstance(preset, str) else preset, seed)
    book = sweep.Journal(journal)
    if executor is not None:
        runs = sweep.run_all(todo, executor=executor, journal=book, progress=progress)
    else:
        with sweep.open_executor(jobs=jobs) as own:
            runs = sweep.run_all(todo, executor=own, journal=book, progress=progress)
    book.remove()
    return Result(study, runs, seed)
