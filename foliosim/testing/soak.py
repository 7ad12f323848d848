"""The endurance run: machines of both architectures, worked on for hours, with all that can go wrong going wrong.

``python -m foliosim.testing.soak --minutes 60 --picture soak.png`` performs random programs under random policies, some
of them Python hooks that raise, with daemons, injected failures and interleavings between their steps; machines are
branched, saved, loaded and pickled on the way.  Every few steps all invariants are checked, and at the end of each
program that nothing of it is left.  Memory between the machines, and speed, are drawn over time.

Everything follows from the seed: a world (a machine and its programs) has a number, and ``--world N`` performs it
again.
"""
import faulthandler
import gc
import os
import pickle
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

import foliosim
from foliosim._core.policy import ANSWERS, NUMBERS
from foliosim.cores import find, machines
from foliosim.errors import ReentryError, UnsupportedError
from foliosim.policy import POINTS
from foliosim.schedule.player import Player
from foliosim.schedule.program import Program
from foliosim.schedule.search import search
from foliosim.testing import trouble
from foliosim.testing.leaks import given_out, resident
from foliosim.testing.trouble import ARENA, HUGE, PAGE
from foliosim.whole import write_csv, write_picture

PROGRAMS = 24        # of a world
VALIDATE = 8         # every so many steps on average
MANY = 16 * PAGE     # bytes that are accessed one by one, if a step says so
SAMPLE = 10.0        # seconds between measurements
DICE = 0.3           # of the worlds have a policy point or two that Python decides
WARM_UP = 0.2        # of the run is left out where growth is looked for
SERIAL = {"fork", "exit", "file", "ftruncate", "punch"}     # not for interleavings
DAEMONS = {"khugepaged": {"op": "khugepaged"}, "shrink": {"op": "shrink_deferred"},
           "reclaim": {"op": "reclaim", "pages": 64}}


class HookFailed(Exception):
    """What a hook raises on purpose."""


class Finding(AssertionError):
    """An invariant that did not hold, or an error that is none of the documented ones."""


class Dice:
    """A policy in Python: decides at random, now and then raises, or calls the machine that asks it."""

    def __init__(self, seed, machine, points):
        self._rng, self._machine = random.Random(seed), machine
        for point in points:
            setattr(self, point, lambda *arguments, point=point: self._decide(point))

    def _decide(self, point):
        dice = self._rng.random()
        if dice < 0.002:
            raise HookFailed(point)
        if dice < 0.004:
            self._machine().spawn()
        answer = self._rng.choice(list(ANSWERS[point]))
        least, most = NUMBERS.get((point, answer), (None, None))
        return answer if least is None else f"{answer}({self._rng.randint(least, most)})"


@dataclass
class Tally(trouble.Tally):
    """What a run has done: more than a walk.

    Attributes
    ----------
    worlds, validated, schedules, copies, hooks : int
        Machines; checks of all invariants; orders of interleaved steps; machines branched, saved or pickled; exceptions
        of hooks that reached the caller.
    slowest : tuple of (float, str)
        The step that took longest: seconds, and where.
    """

    worlds: int = 0
    validated: int = 0
    schedules: int = 0
    copies: int = 0
    hooks: int = 0
    slowest: tuple = (0.0, "")


# ---- programs for machines of another page size ----

class Scale:
    """Steps for 4K pages and 2 MiB leaves, as they are with the pages and leaves of a core."""

    def __init__(self, core):
        self._page, self._huge = core.page_size, core.pmd_size

    def number(self, n):
        """Bytes: leaves stay leaves, pages stay pages, the rest is as it was; what no machine has is not changed."""
        if not 0 <= n < 1 << 40:
            return n
        return n // HUGE * self._huge + n % HUGE // PAGE * self._page + n % PAGE

    def address(self, text):
        addr = int(text, 16)
        return hex(ARENA + self.number(addr - ARENA)) if addr >= ARENA else text

    def step(self, step):
        out = dict(step)
        if step["op"] in ("read", "write"):
            few = abs(step["length"]) <= MANY      # millions of accesses teach no more
            out["stride"] = max(step.get("stride", PAGE), 1 if few else PAGE)
        for name in ("length", "old_length", "new_length", "stride", "offset", "bytes", "memlock"):
            if isinstance(out.get(name), int):
                out[name] = self.number(out[name])
        for name in ("addr", "new_addr"):
            if name in step:
                out[name] = self.address(step[name])
        if "buffers" in step:
            out["buffers"] = [span and [self.address(span[0]), self.number(span[1])] for span in step["buffers"]]
        return out

    def settings(self, settings):
        """Keywords of `Machine`."""
        out = {**settings, **{name: self.number(foliosim.machine.parse_size(settings[name]))
                              for name in ("memory", "swap", "limit") if name in settings}}
        if "mthp" in settings:
            out["mthp"] = {f"{int(size.removesuffix('kB')) * self._page // PAGE}kB": mode
                           for size, mode in settings["mthp"].items()}
        return out


# ---- worlds ----

class World:
    """A machine, and the programs that run on it one after the other.

    Parameters
    ----------
    seed, number : int
        The same, the same world.
    tally : Tally
        Counted up.
    """

    def __init__(self, seed, number, tally):
        self.name = f"world {number} of seed {seed}"
        self._rng, self._tally, self._seed, self._number = random.Random(f"foliosim soak {seed} {number}"), tally, \
            seed, number
        self.core = find(*machines()[number % len(machines())])
        self._scale = Scale(self.core)
        settings = {"arch": self.core.arch, "page_size": self.core.page_size, **trouble.settings(self._rng)}
        self.player = Player(foliosim.Machine(**self._scale.settings(settings)), {"policy": self._set_policy})
        self._where = "start"
        tally.worlds += 1

    @property
    def machine(self):
        return self.player.machine

    def run(self):
        """All programs; yields after each.  Raises `Finding`."""
        try:
            for program in range(PROGRAMS):
                self._program(self._number * PROGRAMS + program)
                self._copy()
                self.player.procs = {"p0": self.machine.spawn()}
                yield
            self._interleave()
            yield
        except Exception as error:
            raise Finding(f"{self.name} ({self.core}), {self._where}: {type(error).__name__}: {error}") from error

    def _program(self, number):
        self._tally.programs += 1
        if self._rng.random() < DICE:
            points = self._rng.sample(list(POINTS), self._rng.randint(1, 3))
            dice = Dice(self._rng.random(), lambda: self.machine, points)
            self.machine.set_policy({point: getattr(dice, point) for point in points})
        steps = trouble.generator(self._seed).scenario(number)["steps"]
        for place, step in enumerate(trouble.with_trouble(self._rng, steps, self._tally)):
            self._where = f"program {number}, step {place}, {step}"
            self._step(self._scale.step(step))
        self._where = f"end of program {number}"
        self._end()

    def _step(self, step):
        began = time.thread_time()
        try:
            if self.player.ready(step):
                result = self.player.do(step)
                error = result.get("errno") or result.get("signal")
                if error:
                    self._tally.errors[error] = self._tally.errors.get(error, 0) + 1
        except UnsupportedError:
            self._tally.unsupported += 1
        except (HookFailed, ReentryError):
            self._tally.hooks += 1
        except ValueError as error:
            if "for a page that another process maps" not in str(error):    # an answer that would be a leak is refused
                raise
            self._tally.hooks += 1
        self._tally.steps += 1
        self._tally.slowest = max(self._tally.slowest, (time.thread_time() - began, f"{self.name}, {self._where}"))
        if self._rng.random() < 1 / VALIDATE:
            self._validate()

    def _validate(self):
        self._tally.validated += 1
        self.player.validate()

    def _end(self):
        """Everything of a program ends, and nothing of it may stay."""
        self.machine.set_policy("linux-6.18")       # no hook of the program is asked from here on
        for name in ("h0", "h1", "h2", "h3", "r0", "r1", "fail"):
            self.player.put_right(name)
        for name, process in list(self.player.procs.items()):
            if process.alive:               # a hook may have raised when it had exited
                self.player.do({"op": "exit", "proc": name})
        for process in self.machine.processes():
            raise Finding(f"{process} is left")
        while self.player.files:
            self.player.files.popitem()[1].close()
        self.machine.drain()
        self.machine.reclaim(1 << 30)       # a folio that somebody held may have stayed in the swap cache
        self._validate()
        left = {"usage": self.machine.usage, "swap": self.machine.swap_usage()[0],
                "tables": self.machine.vmstat()["nr_page_table_pages"]}
        if any(left.values()):
            raise Finding(f"left when all processes and files are gone: {left}")

    def _copy(self):
        """Now and then the machine goes on as a copy of itself."""
        dice = self._rng.random()
        if dice < 0.5:
            return
        self._tally.copies += 1
        if dice < 0.7:
            self.player.machine = self.machine.branch()
        elif dice < 0.85:
            self.player.machine = pickle.loads(pickle.dumps(self.machine))
        else:
            with tempfile.TemporaryDirectory() as folder:
                self.machine.save(f"{folder}/machine")
                self.player.machine = foliosim.Machine.load(f"{folder}/machine")
        self._validate()

    def _set_policy(self, player, step):
        player.machine.set_policy(step["points"])
        return {"ret": 0}

    def _interleave(self):
        """Two processes and the daemons, in some orders, on a machine of their own."""
        self._where = "interleaving"
        actors = {name: self._serial(name, number) for number, name in enumerate(("p0", "p1"))}
        program = Program(actors=actors, daemons=DAEMONS, machine=self.player_settings(),
                          setup=[{"op": "fork", "proc": "p0", "child": "p1"}])
        self._tally.schedules += 4
        broken = search(program, tries=4, seed=self._number)
        if broken is not None:
            raise Finding(str(broken))

    def player_settings(self):
        """Keywords of another machine like this."""
        settings = {"arch": self.core.arch, "page_size": self.core.page_size, **trouble.settings(self._rng)}
        return self._scale.settings(settings)

    def _serial(self, name, number):
        steps = trouble.generator(self._seed).scenario(-1 - 2 * self._number - number)["steps"]
        mine = [step for step in steps if step["op"] not in SERIAL and step["proc"] == "p0" and "file" not in step]
        return [self._scale.step({**step, "proc": name}) for step in mine]


# ---- measurement ----

@dataclass
class Course:
    """What was measured over time.

    Attributes
    ----------
    rows : list of tuple
        Seconds since the start, resident memory in MiB, what of it the host's allocator has given out and not got back,
        blocks of Python objects, steps, seconds of CPU, world.
    """

    rows: list = field(default_factory=list)

    NAMES = ("seconds", "rss_mib", "given_mib", "objects", "steps", "cpu_seconds", "world")

    def measure(self, began, tally):
        """Add a row."""
        gc.collect()
        self.rows.append((time.monotonic() - began, resident() / (1 << 20), given_out() / (1 << 20),
                          sys.getallocatedblocks(), tally.steps, time.process_time(), tally.worlds - 1))

    def column(self, name):
        return np.array([row[self.NAMES.index(name)] for row in self.rows], float)

    def growth(self, name="rss_mib"):
        """Slope of a column after the warm-up, its unit an hour; 0 if nothing was measured yet."""
        seconds, values = self.column("seconds"), self.column(name)
        late = seconds >= WARM_UP * seconds[-1]
        return float(np.polyfit(seconds[late] / 3600, values[late], 1)[0]) if late.sum() > 2 else 0.0

    def write(self, path):
        """Write the rows as CSV."""
        rows = [[f"{value:.3f}" if isinstance(value, float) else value for value in row] for row in self.rows]
        write_csv(path, self.NAMES, rows)

    def draw(self, path, title):
        """Memory and speed over time."""
        from matplotlib.figure import Figure

        minutes, rss = self.column("seconds") / 60, self.column("rss_mib")
        speed = np.diff(self.column("steps")) / np.maximum(np.diff(self.column("cpu_seconds")), 1e-9)
        figure = Figure(figsize=(8, 5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(minutes, rss, lw=1, label="resident")
        above.plot(minutes, self.column("given_mib"), lw=1, label="given out by the allocator")
        above.set(ylabel="memory between machines, MiB", ylim=(0, max(rss) * 1.15), title=title)
        above.legend()
        below.plot(minutes[1:], speed, lw=0.6, alpha=0.6)
        if len(speed) > 20:
            width = max(5, len(speed) // 30)
            below.plot(minutes[1:][width // 2:][:len(speed) - width + 1],
                       np.convolve(speed, np.ones(width) / width, "valid"), lw=1.5)
        below.set(xlabel="minutes", ylabel="steps per second of CPU", ylim=(0, None))
        write_picture(path, figure, dpi=110)


def run(seed, *, seconds=None, worlds=None, log=None):
    """Worlds until the time is over.

    Parameters
    ----------
    seed : int
    seconds : float, optional
    worlds : iterable of int, optional
        Their numbers; all from 0 on if left out.
    log : path, optional
        The course is written here at each measurement, so that it outlives the run.

    Returns
    -------
    tuple of (Tally, Course, list of str)
        What was done, what was measured, and the findings.
    """
    tally, course, findings = Tally(), Course(), []
    began = time.monotonic()
    due, over = began, False
    for number in range(1 << 62) if worlds is None else worlds:
        if time.monotonic() >= due:         # between worlds: what is there then was left by them
            course.measure(began, tally)
            due = time.monotonic() + SAMPLE
            if log:
                course.write(log)
        try:
            for _ in World(seed, number, tally).run():
                over = seconds is not None and time.monotonic() - began >= seconds
                if over:
                    break
        except Finding as finding:
            findings.append(str(finding))
            print(finding, file=sys.stderr, flush=True)
        if over:
            break
    course.measure(began, tally)
    return tally, course, findings


@click.command()
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--seed", default=0, show_default=True)
@click.option("--world", type=click.IntRange(0), help="Perform this world only, again.")
@click.option("--picture", type=click.Path(dir_okay=False), help="Draw memory and speed over time.")
@click.option("--log", type=click.Path(dir_okay=False), help="Write what was measured, as CSV.")
def main(minutes, seed, world, picture, log):
    """Random work on machines of both architectures, for as long as wanted.  Exit status 1: there are findings."""
    faulthandler.enable(sys.__stderr__)
    tally, course, findings = run(seed, seconds=None if world is not None else 60 * minutes, log=log,
                                  worlds=None if world is None else [world])
    rss = course.column("rss_mib")
    words = summary(seed, tally, course, findings)
    click.echo("\n".join(words))
    if log:
        course.write(log)
    if picture:
        course.draw(Path(picture), f"{words[0]}, {len(findings)} findings; {rss[-1]:.0f} MiB at the end")
    sys.exit(bool(findings))


def summary(seed, tally, course, findings):
    """What a run came to, in lines."""
    rss, cpu = course.column("rss_mib"), course.column("cpu_seconds")
    errors = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.errors.items()))
    return [
        f"seed {seed}: {course.rows[-1][0] / 60:.1f} minutes, {tally.worlds:,} machines, {tally.steps:,} steps",
        f"{tally.programs:,} programs, {tally.validated:,} times validated; {tally.policies:,} policy changes, "
        f"{tally.daemons:,} daemon runs, {tally.troubles:,} troubles, {tally.hooks:,} hooks that raised, "
        f"{tally.copies:,} copies, {tally.schedules:,} interleavings; {tally.unsupported} unsupported",
        f"programs saw {errors}",
        f"memory {rss.min():.0f} to {rss.max():.0f} MiB, {rss[-1]:.0f} at the end, growth after the first "
        f"{WARM_UP:.0%}: {course.growth():+.1f} MiB an hour; given out by the allocator "
        f"{course.column('given_mib')[-1]:.1f} MiB, {course.growth('given_mib'):+.2f} an hour; Python objects "
        f"{course.growth('objects'):+,.0f} an hour",
        f"{tally.steps / max(cpu[-1] - cpu[0], 1e-9):,.0f} steps a second of CPU; the longest step took "
        f"{tally.slowest[0]:.3f} s: {tally.slowest[1]}",
        f"{len(findings)} findings",
    ]


if __name__ == "__main__":
    main()
