"""Random scenarios: the same for the same seed, well-formed, and about everything."""
import pytest

from foliosim.live.generate import Generator
from foliosim.live.recorder import check_steps
from foliosim.live.settings import complete
from foliosim.live.themes import THEMES
from foliosim.verify import numbers, recording

OPS = frozenset(recording.STEPS) | {"shared memory"}
ADVICES = frozenset(numbers.MADV)


def test_scenarios_are_those_of_their_seed_and_number():
    one, other = (Generator(7, OPS, ADVICES) for _ in range(2))
    assert [one.scenario(n) for n in range(30)] == [other.scenario(n) for n in reversed(range(30))][::-1]
    assert one.scenario(3) != Generator(8, OPS, ADVICES).scenario(3)


def test_scenarios_are_well_formed_and_about_everything():
    ops, advices, themes = set(), set(), set()
    generator = Generator(1, OPS, ADVICES, odd=0)
    for n in range(2000):
        scenario = generator.scenario(n)
        check_steps(scenario["steps"])
        assert complete(scenario["settings"]) == scenario["settings"]
        themes.add(scenario["tags"][0])
        ops.update(step["op"] for step in scenario["steps"])
        advices.update(step["advice"] for step in scenario["steps"] if step["op"] == "madvise")
    assert themes == set(THEMES)
    assert ops == set(recording.STEPS)
    assert advices == set(numbers.MADV)


@pytest.mark.parametrize("ops", [{"mmap", "write", "fork"}, {"mmap", "madvise", "read"}])
def test_only_what_is_allowed_occurs(ops):
    generator = Generator(1, ops, {"dontneed"}, odd=0)
    for n in range(200):
        for step in generator.scenario(n)["steps"]:
            assert step["op"] in ops
            assert step.get("advice", "dontneed") == "dontneed"
            assert "shared" not in step.get("flags", ())


def test_odd_arguments_stay_within_the_format_and_away_from_the_rest_of_the_process():
    """No long range of an advice that goes on behind holes, and no advice that takes a page from the machine."""
    odd, plain = Generator(1, OPS, ADVICES, odd=1), Generator(1, OPS, ADVICES, odd=0)
    changed = set()
    for n in range(200):
        steps = odd.scenario(n)["steps"]
        check_steps(steps)
        for step in steps:
            if step["op"] == "madvise":
                assert step["length"] < 2 * numbers.ARENA_SIZE
                assert step["advice"] not in (100, 101)
            if step["op"] in ("munmap", "madvise", "mprotect", "mlock") and step["length"] > 0:
                start = int(step["addr"], 16)
                assert not 0x400000 <= start + min(step["length"], 1 << 46) < numbers.ARENA - (2 << 20)
        changed |= {step["op"] for step, other in zip(steps, plain.scenario(n)["steps"]) if step != other}
    assert changed > {"mmap", "madvise", "mremap", "write", "read", "punch", "pin", "get"}
