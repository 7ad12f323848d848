"""Many random machines before all judges."""
import random
from importlib.util import find_spec
from itertools import count

import numpy as np

from foliosim.cores import VA_BITS
from foliosim.testing.judge.machines import random_machine
from foliosim.testing.judge.trial import Trial
from foliosim.testing.judge.verdict import Verdict

JUDGES = ("unicorn", "volatility3")
PER_MACHINE = 50_000


def missing(judge):
    """Why a judge cannot be asked here; None: it can."""
    return None if find_spec(judge) else f"{judge} is not installed: pip install 'foliosim[judge]'"


def run(arch, addresses, seed=0, judges=JUDGES, note=lambda done: None, per_machine=PER_MACHINE, **machine):
    """Ask judges about random machines of an architecture, in turn of every page size and width of addresses.

    Parameters
    ----------
    arch : str
    addresses : int
        At least so many, and so many answers, for each verdict.
    seed : int
        The same, the same machines and addresses.
    judges : iterable of str
        Of `JUDGES`; volatility3 judges x86-64 only.
    note : callable
        Called with the number of addresses done.
    per_machine : int
        Addresses asked about each machine.
    **machine
        For `random_machine`.

    Returns
    -------
    list of Verdict

    Raises
    ------
    ValueError
        No such judge, or it is not installed.
    """
    for judge in judges:
        if judge not in JUDGES or missing(judge):
            raise ValueError(missing(judge) if judge in JUDGES else f"judge {judge!r}: valid are {', '.join(JUDGES)}")
    askers = [asker for judge in judges for asker in _ASKERS[judge](arch)]
    verdicts = [verdict for several, _ in askers for verdict in several]
    kinds = [(size, bits) for (name, size), widths in VA_BITS.items() if name == arch for bits in widths]
    for number in count():
        note(min((verdict.done for verdict in verdicts), default=addresses))
        open_still = [asker for asker in askers if any(verdict.done < addresses for verdict in asker[0])]
        if not open_still:
            return verdicts
        page_size, va_bits = kinds[number % len(kinds)]
        afdbm = number // len(kinds) % 2 == 0
        rng = random.Random(f"{seed} {arch} {number}")
        trial = Trial(random_machine(rng, arch, page_size, va_bits, hw_afdbm=afdbm, **machine),
                      np.random.default_rng(rng.randrange(1 << 62)))
        for several, ask in open_still:
            ask(trial, *several, min(per_machine, addresses))


def _unicorn(arch):
    from foliosim.testing.judge import with_unicorn

    name = f"Unicorn {arch}"
    yield [Verdict(name, "as written")], with_unicorn.as_written
    yield [Verdict(name, "changed at random")], with_unicorn.changed
    if arch == "x86_64":
        yield [Verdict(name, "accessed and dirty bits")], with_unicorn.used


def _volatility(arch):
    from foliosim.testing.judge import with_volatility

    if arch == "x86_64":
        yield [Verdict("volatility3 Intel32e", "as written"), Verdict("volatility3 LinuxIntel32e", "as written")], \
            with_volatility.presence


_ASKERS = {"unicorn": _unicorn, "volatility3": _volatility}
