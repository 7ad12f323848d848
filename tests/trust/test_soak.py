"""The endurance run, for a moment: worlds of both architectures, and that it finds what is wrong."""
import re

import pytest
from click.testing import CliRunner

from foliosim.cores import machines
from foliosim.testing import soak


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(soak, "PROGRAMS", 2)


def test_a_world_of_each_core_and_again_the_same():
    tallies = [soak.run(3, worlds=range(len(machines()))) for _ in range(2)]
    (tally, course, findings), (again, _, _) = tallies
    assert not findings and tally.worlds == len(machines())
    assert tally.steps > 100 and tally.validated > 10 and tally.schedules and tally.errors
    tally.slowest = again.slowest
    assert again == tally
    assert course.column("steps")[-1] == tally.steps and course.column("rss_mib").min() > 1


def test_what_is_left_of_a_program_is_a_finding(monkeypatch):
    monkeypatch.setattr(soak.World, "_copy", lambda world: None)
    monkeypatch.setattr(soak.World, "machine", property(lambda world: Leaky(world.player.machine)))
    _, _, findings = soak.run(3, worlds=[0])
    assert len(findings) == 1 and "left when all processes" in findings[0] and "world 0 of seed 3" in findings[0]


class Leaky:
    """A machine that says that pages of a limit are in use when nothing is there."""

    usage = 4096

    def __init__(self, machine):
        self._machine = machine

    def __getattr__(self, name):
        return getattr(self._machine, name)


def test_the_command(tmp_path):
    picture, log = tmp_path / "soak.png", tmp_path / "soak.csv"
    result = CliRunner().invoke(soak.main, ["--world", "1", "--picture", str(picture), "--log", str(log)])
    assert result.exit_code == 0 and "0 findings" in result.output
    assert re.search(r"growth after the first 20%: [+-]\d+\.\d MiB an hour", result.output)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert log.read_text().startswith("seconds,rss_mib,given_mib,objects,steps")
