"""Registered buffers in a copy of a machine: what each was charged for goes on, and goes away with it."""
import copy
import pickle

import pytest
from state import everything

import foliosim as fs

PAGE, HUGE = 4096, 2 << 20


def ring_with(rule):
    machine = fs.Machine(memory="64M", thp="always", policy={"pin_account": rule})
    process = machine.spawn()
    area = process.mmap(2 * HUGE, addr=HUGE, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.write(area, 2 * HUGE, value=7)
    ring = process.register_buffers([(area, PAGE), None, (area + 100, HUGE)], memlock=8 * HUGE)
    ring.update(1, area + HUGE, PAGE)
    return machine, process, area, ring


def charges(ring):
    ledger = ring.process.machine.ledger()
    return ring.charged, [ring[i] and ring[i].charged for i in range(len(ring))], ledger["acct.memlock"], ledger[
        "true.memlock"]


@pytest.mark.parametrize("rule", ["head_once", "per_page", "head_refcounted", "per_buffer"])
@pytest.mark.parametrize("how", ["branch", "save", "pickle"])
def test_a_copy_goes_on(rule, how, tmp_path):
    machine, process, area, ring = ring_with(rule)
    other = process.fork().register_buffers([(area, 3 * PAGE)])
    if how == "branch":
        twin = machine.branch()
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(machine))
    else:
        machine.save(tmp_path / "machine")
        twin = fs.Machine.load(tmp_path / "machine")
    assert everything(twin) == everything(machine)
    twins = twin.twin(ring), twin.twin(other)
    assert twins[0].process is twin.twin(process) and machine.twin(twins[0]) is ring
    for step in (lambda one: one[0].unregister(0), lambda one: one[0].update(0, area + HUGE, 2 * PAGE),
                 lambda one: one[1].update(0, area, HUGE), lambda one: one[0].unregister(2),
                 lambda one: one[1].unregister(), lambda one: one[0].unregister()):
        assert [charges(one) for one in twins] == [charges(one) for one in (ring, other)]
        for one in (twins, (ring, other)):
            step(one)
        machine.validate()
        twin.validate()
        assert everything(twin) == everything(machine)
    assert charges(twins[0]) == (0, [], 0, 0)
    with pytest.raises(LookupError, match="no buffer"):
        twin.twin(ring)


def test_the_limit_is_the_copy_s_own():
    machine, process, area, ring = ring_with("per_page")
    branch = machine.branch()
    ring.unregister()
    full = branch.twin(process).register_buffers([(area, 2 * HUGE)] * 3, memlock=8 * HUGE)
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        branch.twin(process).register_buffers([(area, 2 * HUGE)], memlock=8 * HUGE)
    branch.twin(process).exit()
    assert (full.charged, machine.ledger()["acct.memlock"], branch.ledger()["acct.memlock"]) == (0, 0, 0)
    branch.validate()


def test_what_holds_a_ring_is_copied_with_the_machine():
    machine, process, area, ring = ring_with("head_once")
    empty = process.register_buffers([None, None])
    held, hollow = copy.deepcopy([ring, empty])
    assert held.process.machine is not machine and held.process.machine is hollow.process.machine
    assert charges(held) == charges(ring) and len(hollow) == 2
    hollow.update(1, area, PAGE)
    hollow.process.machine.validate()
    assert (hollow.charged, empty.charged) == (HUGE, 0)


def test_a_buffer_goes_with_its_slot_only():
    machine, process, area, ring = ring_with("head_once")
    with pytest.raises(TypeError, match="unregister it with its ring"):
        ring[0].drop()
    ring.unregister(0)
    machine.validate()
