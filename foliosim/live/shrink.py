"""Finds the fewest steps that still show a disagreement."""

PAGE = 4096


def legal(steps):
    """Those of some steps that still make sense: their process lives, their file exists."""
    alive, files, kept = {"p0"}, set(), []
    for step in steps:
        if step["proc"] not in alive:
            continue
        if step["op"] == "fork":
            alive.add(step["child"])
        elif step["op"] == "exit":
            alive.discard(step["proc"])
        elif step["op"] == "file":
            files.add(step["file"])
        elif "file" in step and step["file"] not in files:
            continue
        kept.append(step)
    return kept


class Budget:
    """How many more trials are worth their time."""

    def __init__(self, trials):
        self._left = trials

    def spend(self):
        """True as long as anything is left."""
        self._left -= 1
        return self._left >= 0


def fewest(steps, shows, budget):
    """Delta debugging: drop ever smaller pieces as long as what is left shows the disagreement.

    Parameters
    ----------
    steps : list of dict
        Steps that show it.
    shows : callable
        Takes steps and says whether they show it.
    budget : Budget

    Returns
    -------
    list of dict
        Steps of which none can be left out, unless the budget ended before.
    """
    pieces = 2
    while len(steps) > 1:
        size = -(-len(steps) // pieces)
        smaller = _without_a_piece(steps, size, shows, budget)
        if smaller is not None:
            steps, pieces = smaller, max(pieces - 1, 2)
        elif size == 1 or not budget.spend():
            return steps
        else:
            pieces = min(pieces * 2, len(steps))
    return steps


def _without_a_piece(steps, size, shows, budget):
    # Later steps first: they depend on the earlier ones.
    for start in reversed(range(0, len(steps), size)):
        rest = legal(steps[:start] + steps[start + size:])
        if rest and budget.spend() and shows(rest):
            return rest
    return None


def simplest(steps, shows, budget):
    """Replace arguments by plainer ones where the disagreement still shows."""
    for number in range(len(steps)):
        for plainer in _PLAINER:
            tried = [*steps[:number], plainer(steps[number]), *steps[number + 1:]]
            if tried != steps and budget.spend() and shows(tried):
                steps = tried
    return steps


def _without_argument(key):
    def plainer(step):
        if step["op"] not in ("write", "read"):
            return step
        return {name: value for name, value in step.items() if name != key}
    return plainer


def _without_flag(flag):
    def plainer(step):
        if step["op"] != "mmap" or flag not in step["flags"]:
            return step
        return {**step, "flags": [name for name in step["flags"] if name != flag]}
    return plainer


def _shorter(length_of):
    def plainer(step):
        if step["op"] == "mmap" or not {"addr", "length"} <= step.keys():
            return step
        length = length_of(step["length"])
        return {**step, "length": length} if 0 < length < step["length"] else step
    return plainer


_PLAINER = (
    _without_argument("delta"), _without_argument("stride"), _without_argument("offset"),
    _without_flag("populate"), _without_flag("noreserve"),
    _shorter(lambda length: PAGE), _shorter(lambda length: 2 * PAGE),
    *[_shorter(lambda length: length // 2 & -PAGE)] * 3,
)
