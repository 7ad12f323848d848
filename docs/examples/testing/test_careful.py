"""Tests of a policy: by hand, on every folio shape, on every architecture, and by random programs."""
import pytest
from careful import Careful
from hypothesis import given, settings

import foliosim as fs
from foliosim.testing.stateful import ByteIsolation
from foliosim.testing.strategies import addresses, perform, scripts


@pytest.mark.foliosim(thp="always", policy=Careful())
def test_half_that_is_mlocked_is_split_off(machine, process):
    heap = process.mmap(4 << 20)
    block = -(-heap // (2 << 20)) * (2 << 20)
    process.write(block, 2 << 20, value=1)
    process.mlock(block, 1 << 20)
    ledger = machine.ledger()
    assert ledger["mlock_overshoot"] == ledger["mlock_undershoot"] == 0
    assert ledger["splits.ok"] == 1


def test_bytes_and_counts_are_right_whatever_the_memory_is_made_of(folio_shape):
    """The fixture compares bytes, mapcounts, references and what smaps says when the test ends."""
    shape = folio_shape
    shape.machine.set_policy(Careful())
    shape.process.mprotect(shape.addr, shape.half * shape.page, fs.PROT_READ)
    shape.fork()
    if shape.nr > 1:
        shape.write(shape.process, shape.half, 1, 77)


@pytest.mark.foliosim(thp="always", policy=Careful())
def test_a_shared_folio_is_kept_on_every_architecture(arch, machine, process):
    block = process.mmap(arch.pmd_size, addr=0x200000000000)
    process.write(block, arch.pmd_size, value=1)
    process.fork()
    process.mprotect(block, arch.pmd_size // 2, fs.PROT_READ)
    assert machine.ledger()["splits.ok"] == 0


@given(scripts())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_programs_see_no_difference(script):
    """A policy changes what things cost, not what a program sees."""
    linux, careful = (fs.Machine(memory="64M", thp="always", policy=policy) for policy in ("linux-6.18", Careful()))
    assert perform(linux, script) == perform(careful, script)


@given(addresses(length=4 << 20))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_no_folio_reaches_over_a_cut(at):
    machine = fs.Machine(memory="64M", thp="always", policy=Careful())
    process = machine.spawn()
    start = process.mmap(4 << 20, addr=0x200000000000)
    process.write(start, 4 << 20, value=1)
    if at > start:
        process.mprotect(start, at - start, fs.PROT_READ)
    order = machine.folio(process.translate(at) // machine.page_size).order
    assert order == (0 if at % (2 << 20) else 9)


class CarefulBytes(ByteIsolation):
    """Random operations beside a model that knows nothing of folios: each process reads what it should."""

    settings = ({"thp": "always", "policy": Careful()},)


TestCarefulBytes = CarefulBytes.TestCase
TestCarefulBytes.settings = settings(max_examples=10, stateful_step_count=20, deadline=None, derandomize=True)
