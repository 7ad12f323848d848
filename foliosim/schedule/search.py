"""The search for an order of steps that breaks an invariant or makes a metric as great as can be."""
import random

from foliosim.schedule.program import ScheduleError
from foliosim.schedule.run import Broken, Schedule, play

RESTART = 0.3  # share of the tries that begin anew rather than change the best order


def search(program, *, metric=None, tries=200, seed=0, placements=4, more=None, progress=None):
    """Try orders of a program's steps, with daemons placed between them.

    Parameters
    ----------
    program : Program
    metric : str, optional
        A name of the ledger: the order with its greatest value is looked for.  An invariant that breaks ends the search
        in any case.
    tries : int
        Orders that are played.
    seed : int
        Same seed, same search.
    placements : int
        Times that daemons run in one order, at most.
    more : dict of str to callable, optional
        Further ops, see `play`.
    progress : callable, optional
        Called with (tries made, schedule kept so far or None).

    Returns
    -------
    Schedule or None
        The order that broke something (``why`` says what), else the one with the greatest value of the metric; without
        daemons that change nothing.  None: no metric was given and nothing broke.
    """
    if tries < 1 or placements < 0:
        raise ScheduleError(f"tries {tries}, placements {placements}: at least one try, no negative placements")
    program.check(more or ())
    rng = random.Random(f"foliosim schedule {seed}")
    best = None
    for number in range(tries):
        change = best is not None and metric is not None and rng.random() > RESTART
        order = _changed(program, best.order, rng, placements) if change else _random(program, rng, placements)
        found = _try(program, order, metric, more)
        if found is not None and found.value is None:
            return _smaller(found, metric, more)
        if found is not None and (best is None or found.value > best.value):
            best = found
        if progress is not None:
            progress(number + 1, best)
    return _smaller(best, metric, more) if best is not None else None


def _try(program, order, metric, more):
    # A schedule that is worth keeping: one that broke, or one with a value.
    schedule = Schedule(program, runnable(program, order))
    try:
        play(schedule, metric=metric, more=more)
    except Broken as broken:
        schedule.why, schedule.value, schedule.step = str(broken), None, broken.step
        schedule.order = schedule.order[:broken.step + 1]
        return schedule
    return schedule if metric is not None else None


def runnable(program, wanted):
    """An order in which each step's process exists: who cannot go on yet is passed over, and comes later.

    Parameters
    ----------
    program : Program
    wanted : list of str

    Returns
    -------
    list of str
        Every name as often as in ``wanted``, but for those that never can go on.
    """
    left = {name: list(steps) for name, steps in program.actors.items()}
    alive, order, waiting = {"p0"}, [], list(wanted)
    for step in program.setup:
        _lives(alive, step)
    while waiting:
        name = next((one for one in waiting if _ready(program, left, alive, one)), None)
        if name is None:
            break
        waiting.remove(name)
        order.append(name)
        if name in left:
            _lives(alive, left[name].pop(0))
    return order


def _ready(program, left, alive, name):
    if name in program.daemons:
        return program.daemons[name].get("proc", "p0") in alive
    return bool(left[name]) and left[name][0].get("proc", "p0") in alive


def _lives(alive, step):
    if step["op"] == "fork":
        alive.add(step["child"])
    elif step["op"] == "exit":
        alive.discard(step["proc"])


def _random(program, rng, placements):
    order = [name for name, steps in program.actors.items() for _ in steps]
    rng.shuffle(order)
    for _ in range(rng.randint(0, placements) if program.daemons else 0):
        order.insert(rng.randint(0, len(order)), rng.choice(list(program.daemons)))
    return order


def _changed(program, order, rng, placements):
    # One or two of: move a turn elsewhere, place a daemon, take one away.
    order = list(order)
    missing = {name: len(steps) - order.count(name) for name, steps in program.actors.items()}
    order += [name for name, count in missing.items() for _ in range(count)]
    for _ in range(rng.randint(1, 2)):
        placed = [i for i, name in enumerate(order) if name in program.daemons]
        kind = rng.choice(("move", "place", "take"))
        if kind == "place" and program.daemons and len(placed) < placements:
            order.insert(rng.randint(0, len(order)), rng.choice(list(program.daemons)))
        elif kind == "take" and placed:
            del order[rng.choice(placed)]
        else:
            name = order.pop(rng.randrange(len(order)))
            order.insert(rng.randint(0, len(order)), name)
    return order


def _smaller(found, metric, more):
    # Without the daemons that are not needed for it.
    broke = found.value is None
    place = len(found.order) - 1
    while place >= 0:
        if found.order[place] in found.program.daemons:
            less = _try(found.program, found.order[:place] + found.order[place + 1:], metric, more)
            if less is not None and (less.value is None if broke else less.value is not None
                                     and less.value >= found.value):
                found = less
        place = min(place, len(found.order)) - 1
    return found
