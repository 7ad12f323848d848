"""From what a user asks for to a choice for each point: presets, single points, objects, and what is installed.

A package may offer policies of its own in the entry-point group ``foliosim.policies``.  An entry ``mine`` is a preset:
a dict of point to alternative, or an object (or class) with methods named like points.  An entry ``cow_order.mine`` is
an alternative of one point: a callable, or a capsule with compiled code.
"""
from functools import cache

from foliosim.policy.points import POINTS, PRESETS

GROUP = "foliosim.policies"


def installed():
    """Policies that installed packages offer.

    Returns
    -------
    dict
        Name to entry point, not loaded.
    """
    from importlib.metadata import entry_points  # takes longer to import than all of foliosim

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def preset(name):
    """The choices of a preset.

    Parameters
    ----------
    name : str
        One of `PRESETS`, or a policy that an installed package offers.

    Returns
    -------
    dict
        Point name to alternative.

    Raises
    ------
    ValueError
        No such preset.
    """
    if name in PRESETS:
        return dict(PRESETS[name])
    others = {key: entry for key, entry in installed().items() if "." not in key}
    if name not in others:
        raise ValueError(f"policy preset {name!r}: valid are {', '.join([*PRESETS, *others])}")
    return choices(others[name].load())


def choices(policy):
    """What a user asked for, checked.

    Parameters
    ----------
    policy : str, dict or object
        A preset's name, a dict of point to alternative, or an object whose methods are named like points.

    Returns
    -------
    dict
        Point name to what `Machine.policy` shows: an alternative as it was written, a callable or a capsule.

    Raises
    ------
    ValueError
        An unknown preset, point or alternative; the message lists the valid ones.
    """
    if isinstance(policy, str):
        return preset(policy)
    if not isinstance(policy, dict):
        given = policy
        policy = policy() if isinstance(policy, type) else policy
        policy = {name: getattr(policy, name) for name in POINTS if callable(getattr(policy, name, None))}
        if not policy:
            raise ValueError(f"policy {given!r}: no method is named like a point: {', '.join(POINTS)}")
    offered = cache(installed)           # packages are asked once, and only if a name is none of ours
    return {str(point): _choice(point, answer, offered) for point, answer in policy.items()}


def slot(point, answer):
    """What the core is given for a choice: a name and a number, or the callable or capsule itself."""
    return POINTS[point].parse(answer) if isinstance(answer, str) else answer


def _choice(point, answer, offered):
    if not isinstance(point, str) or point not in POINTS:
        raise ValueError(f"policy point {point!r}: valid are {', '.join(POINTS)}")
    if callable(answer) or type(answer).__name__ == "PyCapsule":
        return answer
    try:
        POINTS[point].parse(answer)
        return answer
    except ValueError as error:
        found = {name.removeprefix(f"{point}."): entry for name, entry in offered().items()
                 if name.startswith(f"{point}.")}
        if not isinstance(answer, str) or answer not in found:
            raise ValueError(", ".join([str(error), *found])) from None
    return found[answer].load()
