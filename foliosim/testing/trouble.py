"""The long property run: random programs under random policies, with pressure, daemons and trouble between their steps.

``python -m foliosim.testing.trouble --steps 100000`` validates the machine after each of so many steps.  Everything
follows from the seed; what broke is printed as a schedule that ``foliosim schedule replay`` performs again.
"""
import random
import sys
from dataclasses import dataclass, field

import click

from foliosim.cores import ARCHES
from foliosim.errors import UnsupportedError
from foliosim.live.generate import Generator
from foliosim.live.themes import ADVICES, THEMES
from foliosim.machine import Machine
from foliosim.policy import POINTS
from foliosim.schedule.player import Player
from foliosim.schedule.program import Program

BETWEEN = 0.35       # of the steps, daemons and trouble come before
POLICY = 0.08        # before a step, some points get other alternatives
ARENA, HUGE, PAGE = 0x200000000000, 2 << 20, 4096
HOLDS = ("reference", "pin", "lock")
KINDS = ("folio", "table", "vma", "anon_vma", "xa_node")
MACHINES = (
    {"thp": "always"}, {"thp": "never"}, {"thp": "madvise"}, {"thp": "always", "mthp": {"64kB": "always"}},
    {"thp": "never", "mthp": {"16kB": "always", "64kB": "always", "512kB": "always"}, "shmem_enabled": "always"},
)


@dataclass
class Tally:
    """What a run has done.

    Attributes
    ----------
    programs, steps, policies, troubles, daemons : int
        Programs; steps validated; policy points changed; references, pins, locks and failing allocations put in (and
        taken out); daemon runs.
    unsupported : int
        Steps that the emulator does not know.
    errors : dict of str to int
        Errnos that programs saw.
    """

    programs: int = 0
    steps: int = 0
    policies: int = 0
    troubles: int = 0
    daemons: int = 0
    unsupported: int = 0
    errors: dict = field(default_factory=dict)


class BrokenWalk(AssertionError):
    """A step after which the machine was not valid, or that raised what no system call raises."""


def generator(seed):
    """Programs of all themes, with all ops and advices."""
    ops = {op for theme in THEMES.values() for op in theme.ops} | {"shared memory", "file", "ftruncate", "punch"}
    return Generator(seed, ops, set(ADVICES), steps=(20, 60))


def settings(rng):
    """Keywords of a random `Machine` with 4 KiB pages, small enough to be under pressure."""
    chosen = {"memory": "64M", "swap": "8M", **rng.choice(MACHINES), "policy": policies(rng, rng.randint(0, 4))}
    if rng.random() < 0.5:
        chosen["limit"] = rng.choice((6, 9, 16)) << 20
    if rng.random() < 0.4:
        chosen["khugepaged"] = {"scan_sleep_steps": rng.choice((1, 3, 10)), "wake_at_limit": rng.random() < 0.5}
    return chosen


def walk(seed, number, tally, arch="x86_64"):
    """One random program, to its end.

    Parameters
    ----------
    seed, number : int
        Of the program: the same, the same steps.
    tally : Tally
        Counted up.
    arch : str

    Raises
    ------
    BrokenWalk
        With the steps that led there.
    """
    rng = random.Random(f"foliosim trouble {seed} {number}")
    steps = generator(seed).scenario(number)["steps"]
    program = Program(actors={"p0": steps}, machine={**settings(rng), "arch": arch})
    player = Player(Machine(**program.machine), {"policy": _set_policy})
    done = []
    tally.programs += 1
    for step in with_trouble(rng, steps, tally):
        done.append(step)
        _one(player, step, done, program, tally)


def _one(player, step, done, program, tally):
    try:
        if player.ready(step):
            result = player.do(step)
            error = result.get("errno") or result.get("signal")
            if error:
                tally.errors[error] = tally.errors.get(error, 0) + 1
        player.validate()
    except UnsupportedError:
        tally.unsupported += 1
        player.validate()
    except Exception as error:
        program.actors["p0"] = done
        raise BrokenWalk(f"{type(error).__name__}: {error}\nmachine {program.machine}\n"
                         + "\n".join(map(str, done))) from error
    tally.steps += 1


def _set_policy(player, step):
    player.machine.set_policy(step["points"])
    return {"ret": 0}


def with_trouble(rng, steps, tally):
    """Steps with policies, daemons and trouble between them; `tally` counts these."""
    for step in steps:
        if rng.random() < POLICY:
            points = policies(rng, rng.randint(1, 4))
            tally.policies += len(points)
            yield {"op": "policy", "points": points}
        while rng.random() < BETWEEN:
            yield _something(rng, tally)
        yield step


def policies(rng, count):
    """Random alternatives of so many points."""
    return {point.name: alternative(rng, point) for point in rng.sample(list(POINTS.values()), count)}


def alternative(rng, point):
    """A random answer to a point, as a user writes it."""
    one = rng.choice(point.alternatives)
    number = f"({min(one.number[2], one.number[1] + rng.choice((0, 1, 3, 7)))})" if one.number else ""
    return one.name + number


def _something(rng, tally):
    if rng.random() < 0.45:
        tally.daemons += 1
        return rng.choice((
            {"op": "khugepaged"}, {"op": "khugepaged", "proc": "p0"}, {"op": "shrink_deferred"},
            {"op": "shrink_deferred", "folios": 1}, {"op": "reclaim", "pages": rng.choice((1, 32, 600))},
            {"op": "limit", "bytes": rng.choice((5, 8, 12, 64)) << 20},
            {"op": "split", "proc": "p0", "addr": _address(rng)}))
    tally.troubles += 1
    kind = rng.random()
    if kind < 0.15:
        return _buffers(rng)
    if kind < 0.5:
        return {"op": "hold", "id": f"h{rng.randint(0, 3)}", "what": rng.choice(HOLDS),
                "proc": rng.choice(("p0", "p0", "p1")), "addr": _address(rng)}
    if kind < 0.7:
        return {"op": "put_right", "id": rng.choice(("h0", "h1", "h2", "h3", "r0", "r1", "fail"))}
    return {"op": "fail", "nth": rng.choice((1, 1, 2, 3, 5, 9)), "times": rng.choice((1, 1, 2, None)),
            "kinds": rng.sample(KINDS, rng.randint(1, 5)), "min_order": rng.choice((0, 0, 1, 4, 9)),
            "steps": rng.randint(1, 3)}


def _buffers(rng):
    ring, length = rng.choice(("r0", "r1")), rng.choice((1, PAGE, 5 * PAGE, HUGE, 3 * HUGE))
    if rng.random() < 0.5:
        spans = [rng.choice((None, [_address(rng), length], [_address(rng), PAGE])) for _ in range(rng.randint(1, 4))]
        return {"op": "register", "id": ring, "proc": rng.choice(("p0", "p0", "p1")), "buffers": spans,
                "memlock": rng.choice((None, 1 << 20, 5 << 20))}
    place = rng.choice(({}, {"addr": _address(rng), "length": length}))
    return {"op": "update", "id": ring, "slot": rng.randint(0, 3), **place}


def _address(rng):
    return hex(ARENA + rng.choice((0, 1, 2, 4, 8)) * HUGE + rng.choice((0, 1, 7, 255, 256, 511)) * PAGE)


def run(steps, seed, progress=None, arch="x86_64"):
    """Random programs until so many steps are validated.

    Parameters
    ----------
    steps, seed : int
    progress : callable, optional
        Called with the steps so far.
    arch : str

    Returns
    -------
    Tally

    Raises
    ------
    BrokenWalk
    """
    tally = Tally()
    while tally.steps < steps:
        walk(seed, tally.programs, tally, arch)
        if progress is not None:
            progress(tally.steps)
    return tally


@click.command()
@click.option("--steps", default=100_000, show_default=True, type=click.IntRange(1), help="Steps to validate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--arch", default="x86_64", show_default=True, type=click.Choice(ARCHES))
def main(steps, seed, arch):
    """Random policies, failures and schedules, with every invariant checked after every step."""
    from rich.progress import Progress

    try:
        with Progress() as bar:
            task = bar.add_task("steps", total=steps)
            tally = run(steps, seed, lambda done: bar.update(task, completed=min(done, steps)), arch)
    except BrokenWalk as broken:
        click.echo(str(broken))
        sys.exit(1)
    errors = ", ".join(f"{name} {count}" for name, count in sorted(tally.errors.items()))
    click.echo(f"{arch}, seed {seed}: {tally.programs:,} programs, {tally.steps:,} steps, each validated; "
               f"{tally.policies:,} policy changes, {tally.daemons:,} daemon runs, {tally.troubles:,} troubles; "
               f"programs saw {errors}")


if __name__ == "__main__":
    main()
