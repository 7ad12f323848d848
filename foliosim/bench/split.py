"""A microbenchmark of splits: the time that one takes here, and how many of what operations it is.

Times are of this emulator, on this host.  The operation counts do not depend on either: they are what
`foliosim.Ledger.time` multiplies with the costs of a kernel.
"""
import errno
import statistics
import time
from dataclasses import asdict, dataclass

import foliosim as fs
from foliosim import cores
from foliosim.errors import SyscallError

PMD = "PMD"
# Who else has to do with the folios.
SITUATIONS = {
    "private": "one process maps the folio by a PMD",
    "by PTEs": "one process maps it by PTEs",
    "shared": "several processes map it by PMDs",
    "mlocked": "it is mlocked whole",
    "extra reference": "somebody holds a reference",
    "pinned": "somebody holds a pin",
}
# Columns of operation counts: heading, and names in the ledger that are added up.
COUNTS = {"PTEs": "ops.pte_set", "records": "ops.record", "rmap": "ops.rmap_call", "mapcounts": "ops.mapcount",
          "refs": "ops.ref", "flushes": "ops.tlb_flush"}


def targets_of(core):
    """What may be split: the PMD mapping alone, or the folio to these orders.

    Parameters
    ----------
    core : foliosim.cores.Core
        The architecture and page size.

    Returns
    -------
    tuple
        "PMD", and orders from the largest to 0; anonymous folios of order 1 do not exist.
    """
    order = (core.pmd_size // core.page_size).bit_length() - 1
    return (PMD, *range(order - 1, 1, -1), 0)


@dataclass(frozen=True)
class Cost:
    """One row: a split, the situation it was tried in, and what that took.

    Attributes
    ----------
    situation : str
        A key of `SITUATIONS`.
    target : str or int
        "PMD", or the order of the pieces.
    processes : int
        How many map the folio.
    ns : float
        Median of CPU time per split, or per attempt.
    result : str
        "ok", or the error that the split failed with.
    counts : dict
        Heading of `COUNTS` to operations per split.
    """

    situation: str
    target: str | int
    processes: int
    ns: float
    result: str
    counts: dict

    def as_dict(self):
        """For JSON."""
        return asdict(self)


class _Folios:
    """Huge folios in a situation, until `close`."""

    def __init__(self, machine, situation, n, processes):
        self.machine, self.held = machine, []
        self.process = machine.spawn()
        self.page, huge = machine.page_size, machine.core.pmd_size
        first = -(-self.process.mmap((n + 1) * huge) // huge) * huge
        self.process.write(first, n * huge, value=1)  # a split gives pages of zeros back
        self.addresses = range(first, first + n * huge, huge)
        self.frames = [self.process.translate(addr) // self.page for addr in self.addresses]
        self.children = [self.process.fork() for _ in range(processes - 1)] if situation == "shared" else []
        if situation == "by PTEs":
            for addr in self.addresses:
                self.process.mprotect(addr, self.page, fs.PROT_READ)
                self.process.mprotect(addr, self.page, fs.PROT_READ | fs.PROT_WRITE)
        elif situation == "mlocked":
            self.process.mlock(first, n * huge)
        elif situation in ("pinned", "extra reference"):
            take = self.process.pin_user_pages if situation == "pinned" else self.process.get_user_pages
            self.held = [take(addr, self.page) for addr in self.addresses]

    def split(self, target):
        """Try each; the last error's name, or "ok"."""
        result = "ok"
        if target == PMD:
            for addr in self.addresses:
                self.process.mprotect(addr, self.page, fs.PROT_READ)
            return result
        split_folio = self.machine.split_folio
        for frame in self.frames:
            try:
                split_folio(frame, new_order=target)
            except SyscallError as error:
                result = errno.errorcode[error.errno]
        return result

    def close(self):
        for reference in self.held:
            reference.release()
        for process in (*self.children, self.process):
            process.exit()


def measure(*, situations=tuple(SITUATIONS), targets=None, processes=2, folios=64, rounds=7, note=lambda cost: None,
            arch="x86_64", page_size="4K", **machine):
    """Split huge folios (of 2 MiB, where pages have 4 KiB) in every situation.

    Parameters
    ----------
    situations : sequence of str
        Keys of `SITUATIONS`.
    targets : sequence, optional
        Of `targets_of` the core; without it all.
    processes : int
        That map the folio in the situation "shared".
    folios : int
        Split in one go.
    rounds : int
        Of which the median is taken.
    note : callable
        Called with each `Cost`.
    arch, page_size : str
        Of the machine.
    **machine
        More for `Machine`: policy, kernel, ...

    Returns
    -------
    list of Cost

    Raises
    ------
    ValueError
        An unknown situation or target; the message names the valid ones.
    """
    core = cores.find(arch, page_size)
    targets = targets_of(core) if targets is None else targets
    _check("situation", situations, SITUATIONS)
    _check("target", targets, targets_of(core))
    here = fs.Machine(memory=16 * (folios + 1) * core.pmd_size, arch=arch, page_size=page_size, thp="always", **machine)
    costs = []
    for situation in situations:
        for target in targets:
            if situation == "by PTEs" and target == PMD:
                continue
            cost = _cost(here, situation, target, processes if situation == "shared" else 1, folios, rounds)
            costs.append(cost)
            note(cost)
    return costs


def _check(what, chosen, valid):
    wrong = [one for one in chosen if one not in valid]
    if wrong:
        raise ValueError(f"{what} {wrong[0]!r}: valid are {', '.join(map(str, valid))}")


def _cost(machine, situation, target, processes, n, rounds):
    seconds = []
    for _ in range(rounds):
        folios = _Folios(machine, situation, n, processes)
        try:
            before = machine.ledger()
            start = time.thread_time_ns()
            result = folios.split(target)
            seconds.append(time.thread_time_ns() - start)
            counts = machine.ledger() - before
        finally:
            folios.close()
    per = {heading: counts[name] / n for heading, name in COUNTS.items()}
    return Cost(situation, target, processes, statistics.median(seconds) / n, result, per)
