"""The ledger of a machine: every named number that decides a policy question.

All are counts or bytes; none depends on the host's clock.  Three kinds stand side by side:

- what was *counted* since the machine was made: faults, copies, splits, operations, errors;
- what the kernel would *report* now: ``acct.*``, page tables, the deferred split queue;
- what is *true* now, recounted from page tables and contents: ``true.*`` beside each ``acct.*``, and what is locked,
  pinned, stranded or resident without need.

Times are not in it: `Ledger.time` computes them from ``ops.*`` and a table of coefficients.
"""
from collections.abc import Mapping

from foliosim import costs as _costs
from foliosim._core import trouble as _core
from foliosim._core.machine import SMAPS_NAMES
from foliosim.tables import import_pandas

TLB_MODELS = _core.TLB_MODELS
SPLIT_REASONS = _core.SPLIT_REASONS
SPLIT_FAILURES = _core.SPLIT_FAILS
_ERRNOS = {1: "eperm", 11: "eagain", 12: "enomem", 13: "eacces", 14: "efault", 16: "ebusy", 17: "eexist",
           22: "einval", 9: "ebadf", 75: "eoverflow", 95: "eopnotsupp"}
_SIGNALS = ("sigsegv", "sigbus")
# Of these names, and of all that begin so, the numbers only ever grow; the others are as of now.
_COUNTED = ("faults.", "cow_bytes", "zero_bytes", "splits.", "pmd_splits", "deferred.added", "deferred.removed", "ops.",
            "contpte.",
            "fail.", "age_error.hot_reclaimed")


class Ledger(Mapping):
    """Flat, dotted metric names and their numbers at one moment; made by `Machine.ledger`.

    ``after - before`` has the growth of what is counted, and the state of ``after``.
    """

    def __init__(self, numbers):
        self._numbers = dict(numbers)

    @classmethod
    def read(cls, machine):
        """The ledger of a machine.  See `Machine.ledger`."""
        if not hasattr(machine, "core"):
            raise TypeError(f"{machine!r}: must be a Machine")
        core = machine.core.trouble
        counts, truth = core.counts(machine), core.truth(machine)
        return cls({**_counted(machine, counts), **_page_tables(machine, truth), **_queue(machine, counts, truth),
                    **_waste(machine, truth), **_accounting(machine, truth)})

    def __getitem__(self, name):
        return self._numbers[name]

    def __iter__(self):
        return iter(self._numbers)

    def __len__(self):
        return len(self._numbers)

    def __sub__(self, before):
        if not isinstance(before, Ledger):
            return NotImplemented
        return Ledger({name: value - before.get(name, 0) if is_counted(name) else value
                       for name, value in self._numbers.items()})

    def time(self, table=_costs.DEFAULT):
        """What the operations would cost, in ns, by a linear model.

        Parameters
        ----------
        table : str, path or CostTable
            The coefficients: a built-in table's name, a JSON file of ``foliosim calibrate``, or a table.

        Returns
        -------
        float
        """
        return _costs.load(table).time(self)

    def to_pandas(self):
        """The numbers by their names.

        Returns
        -------
        pandas.Series

        Raises
        ------
        ModuleNotFoundError
            No pandas; it comes with the extra ``tables``.
        """
        return import_pandas().Series(self._numbers)

    def __repr__(self):
        return f"<Ledger {len(self)} metrics, {sum(1 for value in self.values() if value)} not zero>"

    def __str__(self):
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self._numbers.items() if value)

    def _repr_html_(self):
        rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in self._numbers.items() if value)
        return f"<table><tr><th>metric</th><th>value</th></tr>{rows}</table>"


def is_counted(name):
    """Does this metric only grow (or is it of the moment)?"""
    return name.startswith(_COUNTED)


def is_bytes(name):
    """Is this metric in bytes?"""
    return name.startswith(("cow_bytes", "mlock_", "acct.", "true.")) or name.endswith(("_bytes", "deferred.bytes")) \
        or name == "pin_overshoot"


def _counted(machine, counts):
    faults, cows, page = counts["faults"], counts["cow_bytes"], machine.page_size
    kinds = {name: faults[name] for name in ("cow", "reuse", "zero", "unshare")}
    caused = {name: value for name, value in cows.items() if name != "needless"}
    ops = {**counts["ops"], "fault": faults["all"], "zero_page": counts["zero_bytes"] // page,
           "copy_page": sum(caused.values()) // page}
    fails = dict.fromkeys((*_ERRNOS.values(), *_SIGNALS), 0)
    fails |= {_ERRNOS.get(which, str(which)): count for which, count in counts["fail"].items()}
    return {
        "faults.minor": faults["all"] - sum(kinds.values()), **_dotted("faults", kinds),
        "cow_bytes": sum(caused.values()), **_dotted("cow_bytes", caused), "cow_bytes.needless": cows["needless"],
        "zero_bytes": counts["zero_bytes"],
        "splits.attempt": sum(counts["split_attempt"].values()), **_dotted("splits.attempt", counts["split_attempt"]),
        "splits.ok": sum(counts["split_ok"].values()), **_dotted("splits.ok", counts["split_ok"]),
        "splits.failed": sum(counts["split_failed"].values()), **_dotted("splits.failed", counts["split_failed"]),
        "pmd_splits": machine.vmstat()["thp_split_pmd"],
        **_dotted("contpte", machine.table_ops),
        **_dotted("ops", ops),
        **_dotted("fail", fails),
    }


def _page_tables(machine, truth):
    pages = dict.fromkeys(("pte", "pmd", "pud"), 0)
    for process in machine.processes():
        counts = process.counts()
        for level in pages:
            pages[level] += counts[f"nr_{level}s"]
    return {**_dotted("pt_pages", pages), "pt_bytes": sum(pages.values()) * machine.page_size,
            "pt_deposited": truth["deposited"], **_dotted("tlb_entries", truth["tlb"])}


def _queue(machine, counts, truth):
    queue = counts["deferred"]
    partial = sum(stats["nr_anon_partially_mapped"] for stats in machine.mthp_stats().values())
    return {"deferred.len": queue["len"], "deferred.partial": partial,
            "deferred.bytes": truth["deferred_pages"] * machine.page_size, "deferred.added": queue["added"],
            "deferred.removed": queue["removed"]}


def _waste(machine, truth):
    page = machine.page_size
    names = {"stranded_bytes": "stranded", "bloat_bytes": "bloat", "mlock_overshoot": "overshoot",
             "mlock_undershoot": "undershoot", "pin_overshoot": "pin_overshoot"}
    ages = {"age_error": truth["hot_reclaimed"] + truth["cold_active"],
            "age_error.hot_reclaimed": truth["hot_reclaimed"], "age_error.cold_kept": truth["cold_active"]}
    return {**{name: truth[field] * page for name, field in names.items()}, **ages}


def _accounting(machine, truth):
    page, sums = machine.page_size, dict.fromkeys(SMAPS_NAMES, 0)
    rss = locked = pinned = 0
    for process in machine.processes():
        counts = process.counts()
        rss += counts["rss_anon"] + counts["rss_file"] + counts["rss_shmem"]
        locked += counts["locked_vm"]
        pinned += counts["pinned_vm"]
        for name, kb in zip(SMAPS_NAMES, process.machine.core.procfs.rollup(process)[0]):
            sums[name] += kb
    reported = {
        "Mlocked": truth["mlocked"] * page, "AnonPages": truth["anon_reported"] * page, "Rss": rss * page,
        "Pss": sums["Pss"] << 10, "Uss": (sums["Private_Clean"] + sums["Private_Dirty"]) << 10,
        "AnonHugePages": sums["AnonHugePages"] << 10, "memlock": (locked + pinned) * page,
    }
    true = {
        "Mlocked": truth["locked"] * page, "AnonPages": truth["anon"] * page, "Rss": truth["mapped"] * page,
        "Pss": truth["distinct"] * page, "Uss": truth["own"] * page, "AnonHugePages": truth["anon_huge"] * page,
        "memlock": (locked + truth["pinned"]) * page,
    }
    return {**_dotted("acct", reported), **_dotted("true", true)}


def _dotted(group, numbers):
    return {f"{group}.{name}": value for name, value in numbers.items()}
