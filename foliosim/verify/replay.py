"""Replays one scenario on an engine and counts what was compared and what differs."""
import traceback
from dataclasses import dataclass, field

from foliosim.errors import UnsupportedError
from foliosim.verify import leaves
from foliosim.verify.compare import Differences, compare

KEPT = 50_000  # differences kept of the step that is shown


@dataclass
class Outcome:
    """What replaying one scenario gave.

    Attributes
    ----------
    steps, values, masked : int
        Steps compared; leaves of their expected entries that were compared, and that the contract masks.
    mismatched_values : int
        Values that are not as recorded.
    unsupported : str or None
        What the engine does not implement; nothing from this step on was compared.
    error : str or None
        The engine failed: an exception, a crash, or `validate()` found a broken invariant.
    first_step : int or None
        The first step with a mismatch, an error or an unsupported op.
    first : list of Difference
        The differences of that step, if they were asked for.
    details : str
        The traceback of an exception.
    path, line : Path, int
        Where the scenario was read.
    """

    id: str
    theme: str
    steps: int = 0
    values: int = 0
    masked: int = 0
    mismatched_values: int = 0
    unsupported: str | None = None
    error: str | None = None
    first_step: int | None = None
    first: list = field(default_factory=list)
    details: str = ""
    path: object = None
    line: int = 0

    @property
    def mismatched(self):
        return self.mismatched_values > 0 or self.error is not None


def _fail(outcome, number, error):
    outcome.error = f"{type(error).__name__}: {error}"
    outcome.details = "".join(traceback.format_exception(error))
    if outcome.first_step is None:
        outcome.first_step = number


def replay(scenario, make_engine, *, validate=False, details=False):
    """Replay a scenario step by step, to its end or to the first step that the engine cannot do.

    Parameters
    ----------
    scenario : Scenario
    make_engine : callable
        Takes the scenario and returns its `Engine`.
    validate : bool
        Call the engine's `validate()` after each step.
    details : bool
        Keep the differences of the first mismatching step.

    Returns
    -------
    Outcome
        Exceptions of the engine are part of it; none is raised.
    """
    outcome = Outcome(scenario.id, scenario.theme)
    number = 0
    try:
        engine = make_engine(scenario)
        for number, (step, expected) in enumerate(zip(scenario.steps, scenario.expect)):
            _replay_step(outcome, scenario, number, step, expected, engine, details)
            if validate:
                engine.validate()
    except UnsupportedError as error:
        outcome.unsupported = str(error)
        if outcome.first_step is None:
            outcome.first_step = number
    except Exception as error:  # an engine that fails is a finding, not the end of the run
        _fail(outcome, number, error)
    return outcome


def _replay_step(outcome, scenario, number, step, expected, engine, details):
    got = engine.perform(step)
    out = Differences(KEPT if details and outcome.first_step is None else 0, scenario.page_size)
    compare(expected, got, step, scenario.noisy, out)
    masked = leaves.masked(expected, step, scenario.noisy)
    outcome.steps += 1
    outcome.masked += masked
    outcome.values += leaves.count(expected) - masked
    outcome.mismatched_values += out.count
    if out.count and outcome.first_step is None:
        outcome.first_step, outcome.first = number, out.kept
