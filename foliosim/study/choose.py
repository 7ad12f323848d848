"""From the words of a command line to what is run: parameters, sweeps and policies."""
import itertools

from foliosim import cores
from foliosim.policy import POINTS, preset
from foliosim.policy import choices as checked
from foliosim.study.base import RefusedValue, StudyError, keys_of

USUAL = "linux-6.18"


def _pair(option, text):
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise StudyError(f"{option} {text!r}: must be written {option} name=value")
    return name, value


def _value(keys, name, text):
    if name not in keys:
        raise StudyError(f"key {name!r}: valid are {', '.join(keys)}")
    try:
        return keys[name].parse(text)
    except (ValueError, TypeError, OverflowError):
        raise StudyError(f"{name}={text!r}: valid are {keys[name].valid}") from None


def parameters(study, settings=(), sweeps=()):
    """The parameter sets to run.

    Parameters
    ----------
    study : Study
    settings : iterable of str
        ``key=value`` each.
    sweeps : iterable of str
        ``key=value,value,...`` each; all combinations are made, the last key changing fastest.

    Returns
    -------
    list of dict
        Parsed values; keys that are not given have their defaults.

    Raises
    ------
    StudyError
        A key or a value that is not valid, or a key that is both set and swept.
    """
    keys = keys_of(study)
    texts = {name: [key.default] for name, key in keys.items()}
    given = {}
    for option, pairs in (("--set", settings), ("--sweep", sweeps)):
        for name, text in (_pair(option, text) for text in pairs):
            if name in given and "--sweep" in (option, given[name]):
                raise StudyError(f"key {name!r}: given twice, by {given[name]} and {option}")
            given[name] = option
            texts[name] = text.split(",") if option == "--sweep" else [text]
    parsed = {name: [_value(keys, name, text) for text in values] for name, values in texts.items()}
    out = []
    for chosen in itertools.product(*(zip(parsed[name], texts[name]) for name in parsed)):
        values = {name: value for name, (value, _) in zip(parsed, chosen)}
        if "arch" not in study.keys:
            _check_machine(values)
        try:
            found = study.cases(values)
        except RefusedValue as refused:
            text = dict(zip(parsed, (text for _, text in chosen)))[refused.key]
            raise StudyError(f"{refused.key}={text!r}: valid are {refused.valid}") from None
        out += [case for case in found if case not in out]
    return out


def _check_machine(values):
    try:
        cores.find(values["arch"], values["page_size"])
    except ValueError as error:
        raise StudyError(str(error)) from None


def policies(study, choices=(), presets=(USUAL,)):
    """The policies to compare.

    Parameters
    ----------
    study : Study
    choices : iterable of str, or object
        ``point=alternative`` each; a point may come several times.  All combinations are run.  If there are none,
        the alternatives of each of the study's points are run while the other points stay at the preset's value, or
        several presets as they are.  An object whose methods are named like points is one policy.
    presets : iterable of str
        What the other points do: all of it is run for each.

    Returns
    -------
    list of (str, str, dict)
        A label, the preset, and the choice for every point.

    Raises
    ------
    StudyError
        An unknown preset, point or alternative.
    """
    presets = list(dict.fromkeys(presets))
    try:
        bases = {name: preset(name) for name in presets}
        combinations = _combinations(study, choices, several=len(presets) > 1)
    except ValueError as error:
        raise StudyError(str(error)) from None
    out = {}
    for name, base in bases.items():
        for label, combination in combinations:
            policy = {**base, **combination}
            changes = [label] if label else [f"{point}={one}" for point, one in overrides(policy, name).items()]
            told = " + ".join([name, *changes] if len(presets) > 1 or not changes else changes)
            out.setdefault(told, (told, name, policy))
    return list(out.values())


def _combinations(study, choices, several):
    # Choices for some points each, and their label if they have one of their own.
    if not isinstance(choices, (str, list, tuple)):
        return [(type(choices).__name__, checked(choices))]
    asked = _asked(choices)
    if asked:
        return [("", dict(zip(asked, names))) for names in itertools.product(*asked.values())]
    varied = [] if several else [{point: name} for point, names in study.points.items() for name in names]
    return [("", combination) for combination in ({}, *varied)]


def _asked(choices):
    asked = {}
    for text in choices:
        point, name = _pair("--policy", text)
        if point not in POINTS:
            raise StudyError(f"policy point {point!r}: valid are {', '.join(POINTS)}")
        try:
            checked({point: name})
        except ValueError as error:
            raise StudyError(str(error)) from None
        alternatives = asked.setdefault(point, [])
        if name not in alternatives:
            alternatives.append(name)
    return asked


def overrides(policy, preset_name):
    """The points of a policy that are not the preset's value.

    Parameters
    ----------
    policy : dict
    preset_name : str

    Returns
    -------
    dict
        As JSON can hold it: a Python object is named by its module and name.
    """
    base = preset(preset_name)
    return {point: answer if isinstance(answer, str) else _named(answer)
            for point, answer in policy.items() if base[point] != answer}


def _named(answer):
    owner = getattr(answer, "__self__", None)
    one = type(owner) if owner is not None else answer
    return f"{getattr(one, '__module__', '?')}.{getattr(one, '__qualname__', type(one).__qualname__)}"
