"""Words of conclusions: lists, shares and comparisons."""
from foliosim.study.base import size_text


def listed(names):
    """``a``, ``a and b``, ``a, b and c``; ``nothing`` if there are none."""
    names = list(names)
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(number, noun, plural=None):
    """``1 fault``, ``512 faults``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def agree(names, one, many):
    """The word that goes with some names: ``one`` with a single one."""
    return one if len(set(names)) == 1 else many


def percent(share):
    """A share from 0 to 1: ``25 %``."""
    return f"{100 * share:.4g} %"


def labels(runs):
    """Names of the policies of some runs, each once, as a list in words."""
    return listed(dict.fromkeys(run.label for run in runs))


def extremes(runs, metric, best=min):
    """Whose number is the best: the runs that have it, and the number.

    Parameters
    ----------
    runs : list of Run
    metric : str
    best : callable
        `min` or `max`.

    Returns
    -------
    tuple
        Runs, number.
    """
    value = best(run.metrics[metric] for run in runs)
    return [run for run in runs if run.metrics[metric] == value], value


def spread(runs, metric, text=size_text):
    """The range of a metric: ``1 MiB`` if all have the same, else ``0 to 1 MiB``."""
    values = [run.metrics[metric] for run in runs]
    least, most = min(values), max(values)
    return text(least) if least == most else f"{text(least)} to {text(most)}"
