"""Random scenarios on the running kernel and in the emulator, compared after every step."""
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from foliosim.live import facts, shrink
from foliosim.live.errors import LiveError, ProcessLostError
from foliosim.live.recorder import OutsideError, UnstableError
from foliosim.live.settings import default
from foliosim.verify.recording import Scenario

TURN = 6.0  # seconds after which others who wait for the settings get them
PAUSE = 0.05
TRIALS = 400  # runs that shrinking one disagreement may take
SAME = 2  # disagreements of one kind that are shrunk; the others are counted


@dataclass(frozen=True)
class Finding:
    """A disagreement: the recorded scenario that shows it, and what replaying it gave."""

    scenario: Scenario
    outcome: object
    kind: tuple


@dataclass
class Tally:
    """What a run did."""

    scenarios: int = 0
    steps: int = 0
    agreed: int = 0
    disagreed: int = 0
    unsupported: Counter = field(default_factory=Counter)
    disturbed: int = 0
    unstable: int = 0
    outside: int = 0
    lost: int = 0
    findings: list = field(default_factory=list)
    seconds: float = 0.0


def kind_of(scenario, outcome):
    """What a disagreement is about: the op and what differs.  Alike kinds are most likely one cause."""
    step = scenario.steps[outcome.first_step]
    op = step["op"] if step["op"] != "madvise" else f"madvise {step['advice']}"
    if outcome.first:
        return op, tuple(sorted({(d.part, d.field) for d in outcome.first}))
    return op, (("error", re.sub(r"\d+|0x[0-9a-f]+", "N", outcome.error or "")[:80]),)


def _related(kind, other):
    return kind[0] == other[0] and not set(kind[1]).isdisjoint(other[1])


class Fuzzer:
    """Runs scenarios of a generator.

    Parameters
    ----------
    generator : Generator
    recorder : Recorder
    emulator : Emulator
    turn : Turn
        Begun.
    found : callable, optional
        Called with each finding.
    """

    def __init__(self, generator, recorder, emulator, turn, found=None):
        self._generator, self._recorder, self._emulator, self._turn = generator, recorder, emulator, turn
        self._found = found or (lambda finding: None)
        self._since = time.monotonic()
        self._kinds = Counter()
        self.tally = Tally()

    def run(self, *, seconds=None, scenarios=None, first=0, progress=None):
        """Run until time is up or enough scenarios ran; `progress` is called with the tally after each."""
        began, number, waiting = time.monotonic(), first, 0
        try:
            while not self._over(began, seconds, scenarios):
                recorded = self._record(self._generator.scenario(number))
                number += 1
                outcome = self._emulator.collect() if waiting else None
                waiting = 0
                if recorded is not None:
                    self._emulator.submit(recorded)  # it replays this one while the kernel runs the next
                    waiting = 1
                if outcome is not None:
                    self._judge(*outcome)
                self.tally.seconds = time.monotonic() - began
                if progress is not None:
                    progress(self.tally)
            if waiting:
                self._judge(*self._emulator.collect())
        finally:
            self.tally.seconds = time.monotonic() - began

    def _over(self, began, seconds, scenarios):
        if scenarios is not None and self.tally.scenarios >= scenarios:
            return True
        return seconds is not None and time.monotonic() - began >= seconds

    # ---- the kernel ----

    def _let_others(self):
        if time.monotonic() - self._since > TURN:
            self._turn.end()
            time.sleep(PAUSE)
            self._turn.begin()
            self._since = time.monotonic()

    def _record(self, plan):
        # One run of a new scenario, up to the first step whose result lies outside the arena.
        self._let_others()
        self.tally.scenarios += 1
        steps = plan["steps"]
        try:
            try:
                entries = self._recorder.run(steps, plan["settings"], self._turn)
            except OutsideError as error:
                self.tally.outside += 1
                steps = steps[:error.step]
                entries = self._recorder.run(steps, plan["settings"], self._turn)
        except ProcessLostError:
            self.tally.lost += 1
            return None
        self.tally.steps += len(steps)
        return _scenario(plan["id"], plan["tags"], plan["settings"], steps, entries)

    def _certain(self, scenario):
        # The same scenario as three runs agree to have it, or None.
        self._let_others()
        settings = _settings_of(scenario)
        try:
            entries = self._recorder.record(scenario.steps, settings, self._turn)
        except (UnstableError, OutsideError, ProcessLostError):
            return None
        return _scenario(scenario.id, scenario.tags, settings, scenario.steps, entries)

    # ---- disagreements ----

    def _judge(self, scenario, outcome):
        if outcome.mismatched:
            self._disagreement(scenario)
        elif outcome.unsupported is not None:
            self.tally.unsupported[re.sub(r"\d{4,}", "N", outcome.unsupported)] += 1
        else:
            self.tally.agreed += 1

    def _disagreement(self, scenario):
        scenario = self._certain(scenario)
        if scenario is None:
            self.tally.unstable += 1
            return
        outcome = self._emulator.replay(scenario)
        if not outcome.mismatched:
            self.tally.disturbed += 1  # the first run was not as the three that followed: counters of other programs
            self.tally.agreed += 1
            return
        self.tally.disagreed += 1
        kind = kind_of(scenario, outcome)
        self._kinds[kind] += 1
        if self._kinds[kind] > SAME:
            return
        finding = self._shrunk(Finding(scenario, outcome, kind))
        if any(other.kind == finding.kind and _ops(other) == _ops(finding) for other in self.tally.findings):
            return
        self.tally.findings.append(finding)
        self._found(finding)

    def _shrunk(self, finding):
        budget = shrink.Budget(TRIALS)
        settings = _settings_of(finding.scenario)
        steps = finding.scenario.steps[:finding.outcome.first_step + 1]

        def shows(steps, settings=settings):
            return self._shows(finding, steps, settings)

        if shows(steps):
            if settings != default() and shows(steps, default()):
                settings = default()
            steps = shrink.fewest(steps, lambda tried: shows(tried, settings), budget)
            steps = shrink.simplest(steps, lambda tried: shows(tried, settings), budget)
            steps = shrink.fewest(steps, lambda tried: shows(tried, settings), budget)
        certain = self._certain(_scenario(finding.scenario.id, finding.scenario.tags, settings, steps, []))
        if certain is not None:
            outcome = self._emulator.replay(certain)
            if outcome.mismatched:
                return Finding(certain, outcome, kind_of(certain, outcome))
        return finding

    def _shows(self, finding, steps, settings):
        # Do these steps show the same disagreement?
        self._let_others()
        try:
            entries = self._recorder.run(steps, settings, self._turn)
        except LiveError:
            return False
        scenario = _scenario("shrinking", finding.scenario.tags, settings, steps, entries)
        outcome = self._emulator.replay(scenario)
        return outcome.mismatched and _related(finding.kind, kind_of(scenario, outcome))


def _ops(finding):
    return [(step["op"], step.get("advice")) for step in finding.scenario.steps]


def _settings_of(scenario):
    return {key: scenario.machine[key] for key in default()}


def _scenario(name, tags, settings, steps, entries):
    return Scenario(name, tuple(tags), facts.describe(settings), list(steps), list(entries))
