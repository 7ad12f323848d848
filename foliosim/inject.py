"""Trouble on purpose: references, pins and locks that others hold, and allocations that fail.

Time is counted in steps: one public operation of the machine or of one of its processes (a system call, a series of
accesses, a daemon's pass) is one step; looking at the machine is none.  ``after=0`` begins now, before the next step,
``after=2`` when the next two steps are over; ``steps=3`` lasts for three steps.
"""
import weakref

from foliosim._core import trouble as _core
from foliosim.cores import Tied
from foliosim.errors import MemoryFault
from foliosim.process import Process
from foliosim.sizes import integer
from foliosim.views import Folio

KINDS = tuple(_core.FAIL_KINDS)
_MOST = (1 << 60) - 1            # so that sums stay in 64 bits
_HIGHEST = 63                    # order
_REGISTER = (1 << 64) - 1


class Hold(Tied):
    """A reference that no process of the machine took."""

    _core_class = ("machine", "CoreReference")


class Trouble:
    """Something put in on purpose; a context manager that ends it.

    Attributes
    ----------
    state : str
        ``"waiting"`` (has not begun), ``"active"``, ``"over"``, or ``"missed"``: when it was to begin there was no
        folio at its target.
    """

    def __init__(self, what):
        self.what = what
        self.state = "waiting"

    def end(self):
        """End it now; nothing if it is over."""
        if self.state == "active":
            self._stop()
        if self.state != "missed":
            self.state = "over"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def __repr__(self):
        return f"<{type(self).__name__} {self.what} {self.state}>"


class HeldPage(Trouble):
    """A reference, pin or lock on a folio.

    Attributes
    ----------
    pfn : int or None
        The frame that is held, once it is.
    """

    def __init__(self, what, target, keywords):
        super().__init__(what)
        self.pfn = self._hold = None
        self._target, self._keywords = target, keywords

    def _start(self, machine):
        try:
            self.pfn = _frame(self._target, machine.page_size)
            self._hold = machine.core.trouble.hold_page(machine, self.pfn, Hold, **self._keywords)
        except (LookupError, MemoryFault):
            self.state = "missed"
            raise
        self.state = "active"

    def _stop(self):
        self._hold.machine.core.trouble.let_go(self._hold)

    def facts(self):
        """Plain data; for `from_facts`."""
        target = self._target
        if isinstance(target, tuple):
            target = [target[0].pid if target[0].alive else 0, target[1]]
        elif isinstance(target, Folio):
            target = target.pfn
        hold = self._hold.number if self.state == "active" else 0
        return [self.what, self.state, self.pfn, hold, target, self._keywords]

    @classmethod
    def from_facts(cls, machine, facts):
        what, state, pfn, hold, target, keywords = facts
        if isinstance(target, list):
            target = (machine.process(target[0]), target[1]) if target[0] else 0  # frame 0: there is never a folio
        self = cls(what, target, dict(keywords))
        self.state, self.pfn, self._hold = state, pfn, machine.core.branch.reference(machine, hold)
        return self


class FailingAllocations(Trouble):
    """Allocations that fail.

    Attributes
    ----------
    calls : int
        Allocations counted so far.
    failed : int
        Of these, those that failed.
    """

    def __init__(self, what, arguments):
        super().__init__(what)
        self._arguments, self._machine, self._final = arguments, None, (0, 0)

    @property
    def calls(self):
        """Allocations of these kinds that were asked for meanwhile."""
        return self._numbers()[0]

    @property
    def failed(self):
        """How many of them failed."""
        return self._numbers()[1]

    def _numbers(self):
        return self._machine.core.trouble.failures(self._machine)[1:] if self.state == "active" else self._final

    def _start(self, machine):
        if machine.core.trouble.failures(machine)[0]:
            raise ValueError("allocations of this machine fail already: end that first")
        self._machine = machine
        machine.core.trouble.arm(machine, *self._arguments)
        self.state = "active"

    def _stop(self):
        self._final = self._numbers()
        self._machine.core.trouble.disarm(self._machine)

    def facts(self):
        """Plain data; for `from_facts`."""
        return [self.what, self.state, list(self._arguments), list(self._final)]

    @classmethod
    def from_facts(cls, machine, facts):
        what, state, arguments, final = facts
        self = cls(what, tuple(arguments))
        self.state, self._final = state, tuple(final)
        self._machine = machine if state == "active" else None
        return self


class Injector:
    """Puts trouble into a machine; it is the machine's ``inject``."""

    def __init__(self, machine):
        self._made_for = weakref.ref(machine)
        self._all = []
        self._events = []  # (step, number, "begin" or "end", trouble), not sorted
        self._number = 0

    @property
    def _machine(self):
        machine = self._made_for()
        if machine is None:
            raise ReferenceError("the machine of this injector is gone")
        return machine

    def __repr__(self):
        return f"<Injector {sum(one.state == 'active' for one in self._all)} active>"

    def reference(self, target, *, after=0, steps=None):
        """A short-term reference, as a speculative page cache lookup or another's read of /proc holds one.

        Parameters
        ----------
        target : Folio, int or (Process, int)
            A folio (its first page), a frame number, or an address of a process, looked up when it begins.
        after : int
            Steps until it begins.
        steps : int, optional
            Steps that it lasts; left out: until `Trouble.end`.

        Returns
        -------
        HeldPage

        Raises
        ------
        TypeError, ValueError
            No integer; a number that is negative or zero where it cannot be, or not a target.
        LookupError, MemoryFault
            It was to begin at once, and there is no folio.
        """
        return self._hold("reference", target, after, steps)

    def pin(self, target, *, after=0, steps=None):
        """A pin (FOLL_PIN), as a device's DMA holds one.  Arguments: see `reference`."""
        return self._hold("pin", target, after, steps, pin=True)

    def lock(self, target, *, after=0, steps=None):
        """The folio lock, with the reference that its holder has.  Arguments: see `reference`.

        What only tries to lock (splits, reclaim, the reuse of a single page, collapse, MADV_FREE of a dirty folio)
        leaves the folio alone; what sleeps for the lock in Linux goes on as if it had waited.
        """
        return self._hold("lock", target, after, steps, lock=True)

    def failure(self, nth=1, *, times=1, kinds=KINDS, min_order=0, after=0, steps=None):
        """Allocations that fail.

        Parameters
        ----------
        nth : int
            The first one that fails, counted from 1.
        times : int, optional
            How many in a row fail; None: all from there on.
        kinds : iterable of str
            Which allocations are counted: ``folio``, ``table`` (page tables), ``vma``, ``anon_vma`` (anon_vmas and
            their chains), ``xa_node`` (what the page cache needs to split a folio).
        min_order : int
            Folios below this order are not counted: ``failure(times=None, kinds=("folio",), min_order=4)``.
        after, steps : int
            See `reference`.

        Returns
        -------
        FailingAllocations

        Raises
        ------
        TypeError, ValueError
            No integer; an unknown kind or a number out of range; or allocations fail already.
        """
        if not hasattr(kinds, "__iter__"):
            raise TypeError(f"kinds {kinds!r}: must be some of {', '.join(KINDS)}")
        kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"kind {kind!r}: valid are {', '.join(KINDS)}")
        nth, times = integer("nth", nth, 1, _MOST), -1 if times is None else integer("times", times, 1, _MOST)
        min_order = integer("min_order", min_order, 0, _HIGHEST)
        mask = sum(1 << _core.FAIL_KINDS[kind] for kind in set(kinds))
        what = f"nth={nth} times={'all' if times < 0 else times} kinds={','.join(kinds)} min_order={min_order}"
        return self._plan(FailingAllocations(what, (mask, min_order, nth, times)), after,
                          steps)

    def clear(self):
        """End everything that was put in, and what was to begin."""
        with self._machine.hold():
            for trouble in self._all:
                trouble.end()
            self._all, self._events = [], []
            self._machine.set_wake()

    @property
    def active(self):
        """What is in now.

        Returns
        -------
        list of Trouble
        """
        return [trouble for trouble in self._all if trouble.state == "active"]

    def run(self, step):
        """Begin and end what is due when a step is over; the step to be called at next, or None."""
        due = sorted((event for event in self._events if event[0] <= step), key=lambda event: event[:2])
        self._events = [event for event in self._events if event[0] > step]
        for _, _, action, trouble in due:
            if action == "begin":
                _begin(trouble, self._machine)
            else:
                trouble.end()
        self._all = [trouble for trouble in self._all if trouble.state in ("waiting", "active")]
        return min((event[0] for event in self._events), default=None)

    def _hold(self, what, target, after, steps, **keywords):
        target = _checked(target, self._machine)
        name = f"{target[0]!r} {target[1]:#x}" if isinstance(target, tuple) else f"{target}"
        return self._plan(HeldPage(f"{what} on {name}", target, keywords), after, steps)

    def _plan(self, trouble, after, steps):
        after, steps = integer("after", after, 0, _MOST), None if steps is None else integer("steps", steps, 1, _MOST)
        machine = self._machine
        with machine.hold():
            if after == 0:
                trouble._start(machine)
            else:
                self._at(machine.steps + after, "begin", trouble)
            if steps is not None:
                self._at(machine.steps + after + steps, "end", trouble)
            self._all.append(trouble)
            if self._events:
                machine.set_wake(min(event[0] for event in self._events))
        return trouble

    def _at(self, step, action, trouble):
        self._number += 1
        self._events.append((step, self._number, action, trouble))

    # ---- copies of the machine ----

    def state(self):
        """What is in and what is to come, as plain data; for `from_state`."""
        all_of_it = list(dict.fromkeys([*self._all, *(event[3] for event in self._events)]))
        events = [[step, number, action, all_of_it.index(trouble)] for step, number, action, trouble in self._events]
        return {"troubles": [[type(trouble).__name__, trouble.facts()] for trouble in all_of_it], "events": events,
                "current": [all_of_it.index(trouble) for trouble in self._all], "number": self._number}

    @classmethod
    def from_state(cls, machine, state):
        """The injector of a copy of a machine, whose references and armed failures are in it already."""
        self = cls(machine)
        kinds = {kind.__name__: kind for kind in (HeldPage, FailingAllocations)}
        troubles = [kinds[kind].from_facts(machine, facts) for kind, facts in state["troubles"]]
        self._all = [troubles[at] for at in state["current"]]
        self._events = [(step, number, action, troubles[at]) for step, number, action, at in state["events"]]
        self._number = state["number"]
        return self


def _begin(trouble, machine):
    if trouble.state != "waiting":
        return
    try:
        trouble._start(machine)
    except (LookupError, MemoryFault, ValueError):
        trouble.state = "missed"


def _checked(target, machine):
    if isinstance(target, Folio):
        return target
    pair = isinstance(target, tuple) and len(target) == 2 and isinstance(target[0], Process)
    try:
        number = integer("target", target[1] if pair else target, 0, _REGISTER)
    except (TypeError, ValueError):
        raise ValueError(f"target {target!r}: must be a Folio, a frame number, or (process, address)") from None
    if pair and target[0].machine is not machine:
        raise ValueError(f"target {target!r}: the process belongs to another machine")
    return (target[0], number) if pair else number


def _frame(target, page_size):
    if isinstance(target, tuple):
        return target[0].translate(target[1]) // page_size
    return target.pfn if isinstance(target, Folio) else target
