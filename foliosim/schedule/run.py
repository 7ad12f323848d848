"""One order of steps, performed; and what came of it, written down so that it can be done again."""
import inspect
from dataclasses import dataclass, field

import foliosim
from foliosim.errors import UnsupportedError, ValidationError
from foliosim.plain import plain
from foliosim.schedule.player import Player
from foliosim.schedule.program import Program, ScheduleError, program_of, read_json
from foliosim.whole import write_json


@dataclass
class Schedule:
    """A program and an order of its steps.

    Attributes
    ----------
    program : Program
    order : list of str
        Whose turn it is: names of actors and daemons.
    why : str
        What it is kept for: a metric's name, or what broke.
    value : number or None
        The metric's.
    step : int or None
        The step (of ``order``, from 0) at which that was so.
    results : list
        What each step gave when it was last played.
    """

    program: Program
    order: list
    why: str = ""
    value: object = None
    step: int | None = None
    results: list = field(default_factory=list, repr=False)

    def steps(self):
        """The steps in their order.

        Returns
        -------
        list of (str, dict)
            Actor and step record.
        """
        left = {name: iter(steps) for name, steps in self.program.actors.items()}
        out = []
        for name in self.order:
            step = self.program.daemons.get(name) or next(left.get(name, iter(())), None)
            if step is None:
                raise ScheduleError(f"order: {name!r} has no further step; valid are {', '.join([*left])} as often as"
                                    f" they have steps, and {', '.join(self.program.daemons) or 'no daemons'}")
            out.append((name, step))
        return out

    def write(self, path):
        """Write it as JSON."""
        data = {**self.program.as_dict(), "order": self.order, "why": self.why, "value": self.value, "step": self.step}
        write_json(path, data)

    @classmethod
    def read(cls, path):
        """Read what `write` wrote."""
        data = read_json(path)
        program = program_of(path, data)
        if not isinstance(data.get("order"), list) or not all(isinstance(name, str) for name in data["order"]):
            raise ScheduleError(f"{path}: no order, a list of names of actors and daemons")
        why, value, step = data.get("why", ""), data.get("value"), data.get("step")
        if not isinstance(why, str) or not isinstance(value, int | float | None) or not isinstance(step, int | None):
            raise ScheduleError(f"{path}: why must be a word, value a number, step a number of a step")
        return cls(program, data["order"], why, value, step)

    def __str__(self):
        why = plain(self.why)
        lines = [f"{why}: {self.value}" if self.value is not None else why]
        for number, (name, step) in enumerate(self.steps()):
            result = self.results[number] if number < len(self.results) else ""
            words = " ".join(f"{key}={value}" for key, value in step.items() if key != "op")
            mark = "*" if number == self.step else " "
            lines.append(f"{mark}{number:3} {name:12} {step['op']} {words}  {result}".rstrip())
        return "\n".join(lines)


class Broken(Exception):
    """An invariant does not hold, or the engine failed; ``step``: after which step."""

    def __init__(self, step, error):
        super().__init__(f"{type(error).__name__}: {error}")
        self.step, self.error = step, error


def play(schedule, *, metric=None, more=None, validate=True):
    """Perform a schedule from the beginning.

    Parameters
    ----------
    schedule : Schedule
        Its ``results`` are filled in; with a metric also ``value`` and ``step``: the greatest value, and where.
    metric : str, optional
        A name of the ledger, looked at after every step.
    more : dict of str to callable, optional
        Further ops: ``call(player, step)``.
    validate : bool
        Check every invariant after each step.

    Returns
    -------
    Player
        With the machine as it is at the end.

    Raises
    ------
    Broken
        An invariant did not hold after a step, or a step raised what no system call raises.
    ScheduleError
        An order or a step that cannot be, or an unknown metric.
    """
    schedule.program.check(more or ())
    player = _player(schedule.program, more)
    for step in schedule.program.setup:
        _do(player, step, "setup")
    schedule.results = []
    best = None
    for number, (_, step) in enumerate(schedule.steps()):
        _perform(player, schedule, number, step, validate)
        if metric is not None:
            value = _look(player, metric)
            if best is None or value > best[0]:
                best = value, number
    if best is not None:
        schedule.why, (schedule.value, schedule.step) = metric, best
    return player


def _player(program, more):
    try:
        return Player(foliosim.Machine(**program.machine), more)
    except (TypeError, ValueError) as error:
        valid = list(inspect.signature(foliosim.Machine.__new__).parameters)[1:]
        raise ScheduleError(f"machine {program.machine}: {error}; it may have {', '.join(valid)}") from error


def _do(player, step, where):
    """What a step gave; `ScheduleError` if it is not written as it must be."""
    try:
        return player.do(step)
    except UnsupportedError as error:
        raise ScheduleError(f"step {where}, {step}: {error}") from error
    except KeyError as error:
        if error.args[0] in step or not isinstance(error.args[0], str):
            raise
        raise ScheduleError(f"step {where}, {step}: has no {error}, or there is none such") from error
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise ScheduleError(f"step {where}, {step}: {error}") from error


def _perform(player, schedule, number, step, validate):
    if not player.ready(step):
        raise ScheduleError(f"step {number}, {step['op']}: there is no process {step.get('proc')} yet, or any more,"
                            f" or no file {step.get('file')}")
    try:
        schedule.results.append(shown(_do(player, step, number)))
        if validate:
            player.validate()
    except (ValidationError, ArithmeticError, AssertionError, LookupError, MemoryError, TypeError) as error:
        raise Broken(number, error) from error


def _look(player, metric):
    ledger = player.machine.ledger()
    if metric not in ledger:
        raise ScheduleError(f"metric {metric!r}: valid are {', '.join(ledger)}")
    return ledger[metric]


def shown(result):
    """The result of a step in a word."""
    for name in ("errno", "signal"):
        if name in result:
            return result[name]
    return "" if result.get("ret") in (0, None) else str(result["ret"])
