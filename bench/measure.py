"""Interleaved rounds of engine and floor, and the rows that come out of them."""
import statistics
import time
from dataclasses import asdict, dataclass


def timed(call, *args, **keywords):
    """Seconds of CPU time of this thread, and what the call gave."""
    start = time.thread_time_ns()
    result = call(*args, **keywords)
    return (time.thread_time_ns() - start) * 1e-9, result


@dataclass(frozen=True)
class Part:
    """A row of the table before it is measured.

    Attributes
    ----------
    name, unit : str
        What is done; what the times are divided by: "page", "2 MiB", "folio", "call", ...
    floor : float, optional
        At most so many times the floor.
    kernel : float, optional
        At least so many times faster than the kernel.
    probe : tuple of (str, int), optional
        Operation and folio order for kernel.py.
    judge : str, optional
        Who stands in the kernel's place: a name for judges.py.
    scale : int
        Units of ours per unit of the probe, 512 where the probe counts pages and we count 2 MiB blocks.
    limit : float, optional
        At most so many nanoseconds per unit.
    """

    name: str
    unit: str
    floor: float | None = None
    kernel: float | None = None
    probe: tuple | None = None
    scale: int = 1
    limit: float | None = None
    judge: str | None = None


@dataclass
class Row:
    """A measured row; times in ns per unit, medians over the rounds, quartiles of the ratio within rounds."""

    case: str
    name: str
    unit: str
    ours: float
    floor: float | None = None
    ratio: float | None = None
    quartiles: tuple | None = None
    kernel: float | None = None
    speedup: float | None = None
    skipped: str | None = None
    floor_goal: float | None = None
    kernel_goal: float | None = None
    limit: float | None = None
    judge: str | None = None

    @property
    def goals(self):
        """Pairs of (text, met); met is None if it could not be measured."""
        if self.floor_goal is not None:
            yield f"<= {self.floor_goal:g}x floor", self.ratio <= self.floor_goal
        if self.kernel_goal is not None:
            yield f">= {self.kernel_goal:g}x {self.judge or 'kernel'}", None if self.speedup is None else self.speedup >= self.kernel_goal
        if self.limit is not None:
            yield f"<= {self.limit:g} ns", self.ours <= self.limit

    def as_dict(self):
        return {**asdict(self), "goals": [{"goal": text, "met": met} for text, met in self.goals]}


def run(case, rounds, note=lambda done: None):
    """Measure a case: a checked run, then rounds of A B, and its rows without the kernel's part.

    Parameters
    ----------
    case : object
        ``name``; ``parts``: dict of key to `Part`; ``units``: dict of key to units per run, or one number;
        ``ours(after)`` and ``floor()`` give dicts of key to seconds, ``after()`` is called after each timed step;
        ``validate()``; ``close()``.
    rounds : int
    note : callable
        Called with the number of rounds done.

    Returns
    -------
    list of Row
    """
    case.ours(case.validate)
    case.floor()
    samples = []
    for done in range(rounds):
        samples.append((case.ours(lambda: None), case.floor()))
        note(done + 1)
    return [_row(case, key, part, samples) for key, part in case.parts.items()]


def _row(case, key, part, samples):
    units = case.units[key] if isinstance(case.units, dict) else case.units
    ours = [sample[key] for sample, _ in samples]
    row = Row(case.name, part.name, part.unit, statistics.median(ours) / units * 1e9, floor_goal=part.floor,
              kernel_goal=part.kernel, limit=part.limit, judge=part.judge)
    floors = [floor[key] for _, floor in samples if key in floor]
    if floors:
        ratios = [mine / floor for mine, floor in zip(ours, floors, strict=True)]
        row.floor = statistics.median(floors) / units * 1e9
        row.ratio = statistics.median(ratios)
        row.quartiles = tuple(statistics.quantiles(ratios)[::2]) if len(ratios) > 1 else (row.ratio, row.ratio)
    return row
