"""Who does what: the steps of each actor, whose order among themselves is fixed."""
import json
from dataclasses import dataclass, field

from foliosim.schedule.player import known, names
from foliosim.whole import read_whole


class ScheduleError(ValueError):
    """A program or schedule that cannot be; the message names what is wrong and what is valid."""


@dataclass(frozen=True)
class Program:
    """Actors and daemons on a machine.

    Attributes
    ----------
    actors : dict of str to list of dict
        Steps of each actor: records as in recorded scenarios (``{"op": "munmap", "proc": "p0", "addr": "0x...",
        "length": 4096}``), or of daemons and trouble: ``khugepaged`` (proc, pages: both optional), ``reclaim`` (pages),
        ``shrink_deferred`` (folios), ``limit`` (bytes), ``split`` (proc, addr), ``hold`` (id, what, proc, addr),
        ``fail`` (nth, times, kinds, min_order, steps) and ``put_right`` (id; ``"fail"`` for the failures).  An actor
        waits while the process of its next step does not exist.
    daemons : dict of str to dict
        Steps that may be placed anywhere, any number of times.
    setup : list of dict
        Performed first, in this order.
    machine : dict
        Keywords of `Machine`, as JSON can hold them.
    """

    actors: dict
    daemons: dict = field(default_factory=dict)
    setup: list = field(default_factory=list)
    machine: dict = field(default_factory=lambda: {"memory": "64M", "thp": "always"})

    def __post_init__(self):
        both = set(self.actors) & set(self.daemons)
        if not self.actors or both:
            raise ScheduleError(f"actors {sorted(self.actors)}, daemons {sorted(self.daemons)}: at least one actor, and"
                                " no name twice")

    def check(self, more=()):
        """Raise `ScheduleError` if a step is of no known op, or its process or file has no name."""
        steps = [step for actor in self.actors.values() for step in actor]
        for step in [*self.setup, *steps, *self.daemons.values()]:
            op = step.get("op") if isinstance(step, dict) else None
            if not isinstance(op, str) or not (known(op) or op in more):
                raise ScheduleError(f"step {step!r}: no such op; valid are {', '.join([*names(), *more])}")
            for name in ("proc", "file", "child"):
                if not isinstance(step.get(name, ""), str):
                    raise ScheduleError(f"step {step!r}: {name} must be a name")

    def as_dict(self):
        """As JSON can hold it."""
        return {"machine": self.machine, "setup": self.setup, "actors": self.actors, "daemons": self.daemons}

    @classmethod
    def from_dict(cls, data):
        """The program of `as_dict`."""
        if not isinstance(data, dict) or not isinstance(data.get("actors"), dict):
            raise ScheduleError("no program: must have actors, a dict of name to list of steps")
        unknown = set(data) - {"machine", "setup", "actors", "daemons", "order", "why", "value", "step"}
        if unknown:
            raise ScheduleError(f"program: unknown {', '.join(map(repr, sorted(unknown)))}")
        parts = {name: data[name] for name in ("machine", "setup", "actors", "daemons") if name in data}
        for name, part in parts.items():
            if not isinstance(part, list if name == "setup" else dict):
                raise ScheduleError(f"program: {name} must be {'a list' if name == 'setup' else 'an object'}")
        for name, steps in parts["actors"].items():
            if not isinstance(steps, list):
                raise ScheduleError(f"program: actor {name!r} must be a list of steps")
        return cls(**parts)

    @classmethod
    def read(cls, path):
        """Read a program, or the program of a schedule, from a JSON file; `ScheduleError` names the file."""
        return program_of(path, read_json(path))


def program_of(path, data):
    """The program of a file's `read_json`; `ScheduleError` names the file."""
    try:
        return Program.from_dict(data)
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None


def read_json(path):
    """The content of a JSON file; `ScheduleError` if it is none."""
    try:
        return json.loads(read_whole(path))
    except (ValueError, RecursionError) as error:
        raise ScheduleError(f"{path}: not JSON: {error}") from None
