"""Random calls of the whole public API: the interpreter does not crash, errors are documented, machines stay valid.

``python -m foliosim.testing.calls --calls 1000000`` finds the methods, properties and operators by introspection, so
that what is added later is called too.  Arguments are right, at the edge, of a wrong type, closed, stale, or of another
machine; policy hooks raise, answer nonsense, or call the machine that asks them; objects are copied and pickled.

Calls are made in rounds, each with machines of its own; a round follows from the seed and its number alone, and
``--round N`` makes its calls again and prints them.  The rounds run in child processes, so that a crash is a finding
too.
"""
import copy
import faulthandler
import gc
import inspect
import multiprocessing
import os
import pickle
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import click
import numpy as np

import foliosim as fs
from foliosim import errors as _errors
from foliosim._core.machine import CoreReference
from foliosim.cores import machines as _cores
from foliosim.inject import Trouble
from foliosim.io_uring import RegisteredBuffers
from foliosim.ledger import Ledger
from foliosim.policy import POINTS, PRESETS
from foliosim.testing.soak import HookFailed

PER_ROUND = 400        # calls
VALIDATE = 20          # each so many calls
SLOW = 5.0             # seconds of CPU that a call may take
RARE = {"write_proc": 0.02, "save": 0.1, "branch": 0.3, "reclaim": 0.3, "to_pandas": 0.1}   # what takes long: a share
BATCH = 25             # rounds that a child process makes
MEMORY = 6 << 30       # address space of a child, beyond which the host has none
ADDR = 0x200000000000
PICTURED = (fs.Folio, fs.Area, Ledger, np.ndarray)
HANDLES = (fs.Machine, fs.Process, fs.File, CoreReference, RegisteredBuffers, Trouble)

# Not called: what damages a machine on purpose, and the border to the core where its one caller has checked arguments.
EXCLUDED = {
    "corrupt": "damages a count, for tests of validate",
    "poke_table": "damages a page table, for tests of the walker",
    "set_rules": "the rules of the kernel release, before the first process",
    "set_thp": "the border of Machine's settings: masks and modes are checked there",
    "set_policy_point": "the border of set_policy",
    "set_wake": "the border of inject", "waken": "the border of inject", "run": "the border of inject",
    "references_to": "the border of get_user_pages and pin_user_pages: flags are theirs",
    "from_state": "the plain data of a copied machine",
    "from_facts": "the plain data of a copied machine",
    "core": "the module with the build of the core",
}
_FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BASE = (TypeError, ValueError, OverflowError, MemoryError, HookFailed, fs.ReentryError)
SYSTEM = (OSError, fs.MemoryFault, fs.UnsupportedError)      # of what emulates a system call, an access or a step
NAMED = {**{name: getattr(_errors, name) for name in _errors.__all__
            if name.endswith(("Error", "Fault", "OutOfMemory"))},
         **{cls.__name__: cls for cls in (OSError, LookupError, KeyError, IndexError, FileExistsError,
                                          ModuleNotFoundError, AttributeError)}}


class Finding(AssertionError):
    """An error that is not documented, a machine that is not valid, a call that takes too long."""


# ---- what there is to call ----

@cache
def members(cls):
    """Names of the methods, and of the properties of a class.

    Returns
    -------
    tuple of (list of str, list of str)
    """
    names = [name for name in dir(cls) if not name.startswith("_") and name not in EXCLUDED
             and not (issubclass(cls, np.ndarray) and hasattr(np.ndarray, name))]
    methods = [name for name in names if callable(getattr(cls, name))]
    return methods, [name for name in names if name not in methods]


@cache
def parameters(cls, name):
    """Parameters of a method but self."""
    found = list(inspect.signature(getattr(cls, name)).parameters.values())
    return found[1:] if found and found[0].name == "self" else found


@cache
def documented(cls, name):
    """Exceptions that a member may raise: misuse of any kind, and what its docstring or its class's names."""
    text = f"{inspect.getdoc(getattr(cls, name, None)) or ''} {inspect.getdoc(cls) or ''}"
    for other in re.findall(r"[Ss]ee `(?:\w+\.)?(\w+)`", text):
        text += inspect.getdoc(getattr(cls, other, None)) or ""
    words = set(re.findall(r"\w+", text))
    named = tuple(error for word, error in NAMED.items() if word in words)
    return (*BASE, *SYSTEM, *named)


def operators():
    """Things that can be done with any object: name to function."""
    return {
        "repr": repr, "str": str, "hash": hash, "bool": bool, "len": len, "dir": dir, "==": lambda one: one == one,
        "copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one)),
        "html": lambda one: one._repr_html_(), "list": lambda one: [item for item, _ in zip(one, range(50))],
        "[0]": lambda one: one[0], "[-1]": lambda one: one[-1], "[None]": lambda one: one[None], "vars": vars,
        "with": _with, "new": lambda one: repr(type(one).__new__(type(one))), "init": lambda one: one.__init__(),
        "setattr": lambda one: setattr(one, "pid", 5), "delattr": lambda one: delattr(one, "machine"),
    }


def _with(one):
    with one:
        pass


OPERATOR_ERRORS = (*BASE, *SYSTEM, LookupError, AttributeError, _errors.SavedError, copy.Error, pickle.PickleError)
OPERATORS = operators()


# ---- arguments ----

EDGES = (0, 1, -1, 4095, 4096, 4097, 2 << 20, 1 << 31, 1 << 32, 1 << 47, (1 << 47) - 4096, 1 << 48, (1 << 63) - 1,
         1 << 63,
         (1 << 64) - 1, 1 << 64, -(1 << 63), 1 << 200)
WORDS = ("read", "write", "fetch", "", "linux-6.18", "madvise", "64G", "64kB", "\0", "vma_split", "memfd", "tmpfs",
         "disk",
         "folio", "table", "oracle", "keep", "splits.ok.madvise", "always", "never", "\ud800")
SIZED = {"pagemap", "pagemap_words", "mincore", "sys_mincore", "read", "access", "kpageflags", "observe", "touch",
         "write"}
JUNK = (None, 1.5, float("nan"), float("inf"), "4096", b"\0", b"x" * 100, True, [], {}, (), int, 1j, np.float64(1),
        np.uint64(ADDR), np.int64(-4096), np.arange(3), np.array([ADDR], dtype=object), np.zeros((2, 2)), len, Ellipsis)


def _hook(caller):
    """A policy hook that does anything."""
    def decide(*arguments):
        dice = caller.rng.random()
        if dice < 0.1:
            raise HookFailed("on purpose")
        if dice < 0.25:
            return caller.rng.choice(JUNK)
        if dice < 0.5 and caller.depth < 3:
            caller.depth += 1
            try:
                caller.call()
            finally:
                caller.depth -= 1
        return caller.rng.choice(sorted(alternative.name for point in POINTS.values()
                                        for alternative in point.alternatives))
    return decide


class Caller:
    """One round: a few machines and what belongs to them, and calls of all of it.

    Parameters
    ----------
    seed, number : int
        The same, the same calls.
    folder : path
        For what is written.
    tell : callable, optional
        Called with the text of each call before it is made.
    """

    def __init__(self, seed, number, folder, tell=None):
        self.rng = random.Random(f"foliosim calls {seed} {number}")
        self.name = f"round {number} of seed {seed}"
        self.calls, self.depth, self.errors, self.made = 0, 0, Counter(), Counter()
        self._folder, self._tell = folder, tell
        kinds = [_cores()[number % len(_cores())], self.rng.choice(_cores())]
        self._objects = []
        for kind in kinds:
            self._start(*kind)

    def _start(self, arch, page_size):
        huge = page_size * (page_size // 8)
        machine = fs.Machine(arch=arch, page_size=page_size, memory=max(64 << 20, 4 * huge), swap=4 * huge,
                             thp=self.rng.choice(("always", "madvise")))
        process = machine.spawn()
        process.mmap(2 * huge, addr=ADDR, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.madvise(ADDR, huge, fs.MADV_HUGEPAGE)
        process.write(ADDR, huge + 20 * page_size, value=1)
        file = machine.create_file("memfd", 40 * page_size, fill=3)
        process.mmap(20 * page_size, flags=fs.MAP_SHARED | fs.MAP_FIXED, addr=ADDR + 2 * huge, file=file)
        child = process.fork()
        self._objects += [machine, machine, machine, process, process, child, file, machine.inject]
        self._objects += [process.get_user_pages(ADDR, 3 * page_size),
                          process.register_buffers([(ADDR, page_size), None])]

    # ---- what is called ----

    def run(self, calls):
        """So many calls; raises `Finding`."""
        while self.calls < calls:
            self.call()
            if self.calls % VALIDATE == 0:
                self.validate()
        self.end()

    def call(self):
        """One call of a random object."""
        target = self.rng.choice(self._objects)
        self.calls += 1
        began = time.thread_time()
        try:
            result = self._one(target)
        except (MemoryError, RecursionError) as error:
            self.errors[type(error).__name__] += 1
            result = None
        if not self.depth and time.thread_time() - began > SLOW:
            raise Finding(f"{self._text}: took {time.thread_time() - began:.1f} s")
        self._keep(result)

    def _one(self, target):
        dice = self.rng.random()
        methods, properties = members(type(target))
        if dice < 0.12 or not methods:
            name = self.rng.choice(list(OPERATORS))
            return self._perform(name, target, OPERATORS[name], (target,), {}, OPERATOR_ERRORS)
        if dice < 0.2 and properties:
            return self._property(target, self.rng.choice(properties))
        name = self.rng.choice(methods)
        while self.rng.random() > RARE.get(name, 1):
            name = self.rng.choice(methods)
        positional, keywords = self._arguments(type(target), name)
        return self._perform(name, target, getattr(target, name), positional, keywords, documented(type(target), name))

    def _property(self, target, name):
        errors = documented(type(target), name)
        if self.rng.random() < 0.6:
            return self._perform(f".{name}", target, lambda: getattr(target, name), (), {}, errors)
        value = self._argument(name, name)
        return self._perform(f".{name} =", target, lambda one: setattr(target, name, one), (value,), {},
                             (*errors, AttributeError))

    def _perform(self, name, target, function, positional, keywords, errors):
        self.made[f"{type(target).__name__} {name}"] += 1
        self._text = f"{self.name}, call {self.calls}: {type(target).__name__} {name}"
        if self._tell:
            self._tell(f"{self._text} {_shown(positional)} {_shown(keywords)}")
        try:
            return function(*positional, **keywords)
        except errors as error:
            self.errors[type(error).__name__] += 1
        except (RecursionError, Finding):
            raise
        except Exception as error:
            text = f"{self._text} {_shown(positional)} {_shown(keywords)}"
            raise Finding(f"{text}: {type(error).__name__}: {error}, which is not documented") from error
        return None

    def _keep(self, result):
        found = result if isinstance(result, (list, tuple)) else [result]
        for one in found[:3]:
            if isinstance(one, HANDLES + PICTURED):
                self._objects.append(one)
        while len(self._objects) > 60:
            self._objects.pop(self.rng.randrange(len(self._objects)))
        if self.rng.random() < 0.0005:
            gc.collect()

    def _arguments(self, cls, name):
        positional, keywords = [], {}
        for parameter in parameters(cls, name):
            if parameter.kind is parameter.VAR_KEYWORD:
                keywords.update({self.rng.choice(("max_ptes_none", "pages_to_scan", "odd")): self._number()
                                 for _ in range(self.rng.randint(0, 2))})
            elif parameter.kind is parameter.KEYWORD_ONLY:
                if parameter.default is parameter.empty or self.rng.random() < 0.5:
                    keywords[parameter.name] = self._argument(parameter.name, name)
            elif parameter.default is parameter.empty or self.rng.random() < 0.5:
                positional.append(self._argument(parameter.name, name))
            else:
                break
        dice = self.rng.random()
        if dice < 0.01 and positional:
            positional.pop()
        elif dice < 0.02:
            positional.append(self._junk())
        elif dice < 0.03:
            keywords["nonsense"] = 1
        return positional, keywords

    # ---- arguments ----

    def _argument(self, name, method):
        if self.rng.random() < 0.08:
            return self._junk()
        if name in ("length", "end", "batch") and method in SIZED:
            return self.rng.choice((self.rng.randint(-10, 1 << 24), 4096, 2 << 20))
        return KINDS.get(name, Caller._anything)(self)

    def _junk(self):
        return self.rng.choice(JUNK) if self.rng.random() < 0.6 else self.rng.choice(self._objects)

    def _anything(self):
        return self.rng.choice((self._number, self._junk, self._word, self._address, self._frames))()

    def _number(self):
        dice = self.rng.random()
        if dice < 0.5:
            return self.rng.randint(-3, 130)
        if dice < 0.7:
            return 1 << self.rng.randint(0, 66)
        return self.rng.choice(EDGES) if dice < 0.95 else self.rng.getrandbits(64)

    def _address(self):
        dice = self.rng.random()
        if dice < 0.7:
            return ADDR + self.rng.choice((0, 1, 2, 3, 5, 16, 511, 512, 513)) * self.rng.choice((4096, 16384, 65536))
        return self.rng.randint(ADDR, ADDR + (4 << 20)) if dice < 0.85 else self.rng.choice(EDGES)

    def _length(self):
        dice = self.rng.random()
        if dice < 0.7:
            return self.rng.choice((1, 2, 3, 16, 512, 600)) * self.rng.choice((4096, 16384, 65536))
        return self.rng.randint(-10, 1 << 22) if dice < 0.85 else self.rng.choice(EDGES)

    def _frame(self):
        return self.rng.randint(0, 20000) if self.rng.random() < 0.85 else self.rng.choice(EDGES)

    def _frames(self):
        return [self._frame() for _ in range(self.rng.randint(0, 4))]

    def _word(self):
        return self.rng.choice(WORDS)

    def _flag(self):
        return self.rng.choice((0, 1, True, False, 2))

    def _an(self, cls):
        found = [one for one in self._objects if isinstance(one, cls)]
        return self.rng.choice(found) if found else None

    def _policy(self):
        dice = self.rng.random()
        point = self.rng.choice(list(POINTS.values()))
        answer = self.rng.choice([*point.names, f"{self.rng.choice(point.names)}({self.rng.randint(-1, 9)})"])
        if dice < 0.3:
            return {point.name: answer}
        if dice < 0.75:
            return {point.name: _hook(self)}
        return self.rng.choice((*PRESETS, "nonsense", {}, {"nonsense": 1}, {point.name: self._junk()}))

    def _answer(self):
        return self.rng.choice((_hook(self), ("keep", 0), ("fixed", 3), ("fixed", 1 << 40), ("x",), "keep", len))

    def _span(self):
        return self.rng.choice((None, (self._address(), self._length()), [self._address(), 4096], (1,), self._junk()))

    def _path(self):
        return f"{self._folder}/{self.rng.randint(0, 3)}"

    def _target(self):
        return self.rng.choice((self._frame(), (self._an(fs.Process), self._address()), self._an(fs.Folio), (1, 2),
                                self._junk()))

    def _some(self, cls):
        return {f"n{i}": self._an(cls) for i in range(self.rng.randint(0, 3))}

    # ---- checks ----

    def validate(self):
        """All machines that are there are valid."""
        for machine in {id(one): one for one in self._objects if isinstance(one, fs.Machine)}.values():
            try:
                machine.validate()
            except (HookFailed, fs.ReentryError):
                pass
            except Exception as error:
                raise Finding(f"{self._text}: {type(error).__name__}: {error}") from error

    def end(self):
        """Everything ends in a valid state, in any order."""
        self._text = f"{self.name}, end"
        for machine in [one for one in self._objects if isinstance(one, fs.Machine)]:
            machine.set_policy("linux-6.18")
            machine.inject.clear()
            for process in machine.processes():
                process.exit()
        self.validate()
        while self._objects:
            self._objects.pop(self.rng.randrange(len(self._objects)))
        gc.collect()


KINDS = {
    **dict.fromkeys(("addr", "old_addr", "new_addr", "start"), Caller._address),
    **dict.fromkeys(("length", "old_length", "new_length", "end"), Caller._length),
    **dict.fromkeys(("pfn", "slot"), Caller._frame), "pfns": Caller._frames,
    "addrs": lambda caller: [caller._address() for _ in range(caller.rng.randint(0, 4))],
    **dict.fromkeys(("prot", "flags", "advice", "value", "delta", "stride", "offset", "index", "fill", "number",
                     "memlock",
                     "nr_pages", "pages", "folios", "new_order", "nth", "times", "min_order", "after", "steps", "step",
                     "name", "pid", "batch", "entry", "limit", "swappiness", "always", "madvise", "inherit", "enabled",
                     "shmem_enabled", "shmem_always", "shmem_inherit", "shmem_within_size", "shmem_advise"),
                    Caller._number),
    **dict.fromkeys(("longterm", "write", "set_accessed", "entries"), Caller._flag),
    **dict.fromkeys(("kind", "kinds", "access", "key", "table", "point", "field"), Caller._word),
    "point": lambda caller: caller.rng.choice((*POINTS, "nonsense")),
    "file": lambda caller: caller._an(fs.File), "files": lambda caller: caller._some(fs.File),
    **dict.fromkeys(("process", "child"), lambda caller: caller._an(fs.Process)),
    "procs": lambda caller: caller._some(fs.Process), "machine": lambda caller: caller._an(fs.Machine),
    "other": lambda caller: caller._an(HANDLES), "policy": Caller._policy, "answer": Caller._answer,
    "span": Caller._span, **dict.fromkeys(("buffers", "spans"), lambda caller: [caller._span() for _ in range(3)]),
    **dict.fromkeys(("path", "folder"), Caller._path), "target": Caller._target,
    "cls": lambda caller: caller.rng.choice((fs.Process, fs.PageReference, RegisteredBuffers, int, caller._junk())),
    "before": lambda caller: caller.rng.choice((caller._an(fs.Machine).counters() if caller._an(fs.Machine) else b"",
                                                b"", b"x" * 10, None)),
}


def _shown(arguments):
    try:
        text = repr(arguments)
    except Exception as error:
        text = f"<{type(error).__name__} in repr>"
    return text if len(text) < 300 else text[:300] + "..."


# ---- rounds, in processes of their own ----

@dataclass
class Tally:
    """What was done.

    Attributes
    ----------
    rounds, calls : int
    errors : Counter
        Exceptions that were raised, as documented.
    made : Counter
        Calls by class and member.
    findings : list of str
    """

    rounds: int = 0
    calls: int = 0
    errors: Counter = field(default_factory=Counter)
    made: Counter = field(default_factory=Counter)
    findings: list = field(default_factory=list)


def rounds(seed, numbers, tally, tell=None, at=None):
    """Make the calls of some rounds in this process."""
    for number in numbers:
        if at is not None:
            at.value = number
        caller = None
        gc.collect()            # a hook and the machine that asks it hold each other
        with tempfile.TemporaryDirectory(dir=_FAST) as folder:
            caller = Caller(seed, number, folder, tell)
            try:
                caller.run(PER_ROUND)
            except Finding as finding:
                tally.findings.append(str(finding))
        tally.rounds += 1
        tally.calls += caller.calls
        tally.errors += caller.errors
        tally.made += caller.made


def _child(seed, numbers, pipe, at):
    faulthandler.enable(sys.__stderr__)
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):       # which takes terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    gc.freeze()             # what is here already is no round's garbage
    tally = Tally()
    rounds(seed, numbers, tally, at=at)
    pipe.send(tally)
    pipe.close()


def run(seed, calls, jobs=1, progress=None):
    """Rounds in child processes until so many calls are made.

    Parameters
    ----------
    seed, calls : int
    jobs : int
        Processes at a time.
    progress : callable, optional
        Called with the calls so far.

    Returns
    -------
    Tally
    """
    tally, first, running = Tally(), 0, []
    context = multiprocessing.get_context("fork")
    while tally.calls < calls or running:
        while len(running) < jobs and tally.calls + len(running) * BATCH * PER_ROUND < calls:
            pipe, theirs = context.Pipe(duplex=False)
            at = context.Value("q", first, lock=False)
            child = context.Process(target=_child, args=(seed, range(first, first + BATCH), theirs, at))
            child.start()
            theirs.close()
            running.append((child, pipe, at))
            first += BATCH
        child, pipe, at = running.pop(0)
        try:
            _add(tally, pipe.recv())
        except EOFError:
            child.join()
            tally.calls += (at.value % BATCH) * PER_ROUND
            tally.rounds += at.value % BATCH
            tally.findings.append(f"round {at.value} of seed {seed}: the process ended with {child.exitcode}")
        child.join()
        if progress is not None:
            progress(tally.calls)
    return tally


def _add(tally, other):
    tally.rounds += other.rounds
    tally.calls += other.calls
    tally.errors += other.errors
    tally.made += other.made
    tally.findings += other.findings


@click.command()
@click.option("--calls", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1))
@click.option("--round", "number", type=click.IntRange(0), help="Make the calls of this round again, and print them.")
def main(calls, seed, jobs, number):
    """Random calls of the whole public API.  Exit status 1: there are findings."""
    from rich.progress import Progress

    if number is not None:
        faulthandler.enable(sys.__stderr__)
        tally = Tally()
        rounds(seed, [number], tally, tell=lambda text: print(text, flush=True))
    else:
        with Progress() as bar:
            task = bar.add_task("calls", total=calls)
            tally = run(seed, calls, jobs, lambda done: bar.update(task, completed=min(done, calls)))
    for finding in tally.findings:
        click.echo(finding)
    errors = ", ".join(f"{name} {count:,}" for name, count in tally.errors.most_common())
    click.echo(f"seed {seed}: {tally.calls:,} calls of {len(tally.made):,} members in {tally.rounds:,} rounds; errors, "
               f"all documented: {errors}; {len(tally.findings)} findings")
    sys.exit(bool(tally.findings))


if __name__ == "__main__":
    main()
