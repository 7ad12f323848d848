"""Shrinking keeps what matters and drops the rest."""
from foliosim.live import shrink
from foliosim.live.generate import Generator
from foliosim.live.recorder import check_steps
from foliosim.verify import numbers, recording

AREA = {"addr": "0x200000000000", "length": 65536}


def steps_of(*ops):
    return [{"op": op, "proc": "p0", **AREA} for op in ops]


def test_the_fewest_steps():
    steps = steps_of("mmap", "read", "write", "read", "mlock", "read", "munlock", "write", "munmap")

    def shows(tried):
        ops = [step["op"] for step in tried]
        return "mmap" in ops and "munlock" in ops and ops.index("mmap") < ops.index("munlock")

    found = shrink.fewest(steps, shows, shrink.Budget(200))
    assert [step["op"] for step in found] == ["mmap", "munlock"]


def test_the_budget_ends_it():
    trials = []
    shrink.fewest(steps_of(*["read"] * 64), lambda tried: trials.append(tried), shrink.Budget(10))
    assert 5 <= len(trials) <= 10


def test_steps_of_processes_and_files_that_are_gone_go_too():
    steps = [{"op": "fork", "proc": "p0", "child": "p1"}, {"op": "read", "proc": "p1", **AREA},
             {"op": "ftruncate", "proc": "p0", "file": "f0", "length": 0}, {"op": "exit", "proc": "p1"},
             {"op": "read", "proc": "p1", **AREA}]
    assert shrink.legal(steps) == [steps[0], steps[1], steps[3]]
    assert shrink.legal(steps[1:]) == []


def test_plainer_arguments():
    steps = [{"op": "write", "proc": "p0", **AREA, "value": 3, "delta": 1, "stride": 65536}]
    found = shrink.simplest(steps, lambda tried: tried[0].get("delta") == 1, shrink.Budget(50))
    assert found == [{"op": "write", "proc": "p0", "addr": AREA["addr"], "length": 4096, "value": 3, "delta": 1}]


def test_arguments_of_every_op_stay_whole():
    """A plainer step is one that can still be performed."""
    generator = Generator(1, frozenset(recording.STEPS) | {"shared memory"}, frozenset(numbers.MADV))
    for n in range(300):
        check_steps(shrink.simplest(generator.scenario(n)["steps"], lambda tried: True, shrink.Budget(10_000)))
