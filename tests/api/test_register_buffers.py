"""Registered buffers: what each alternative of pin_account charges, and that nothing is left of what fails."""
import pytest

import foliosim as fs

PAGE, HUGE = 4096, 2 << 20


def written(policy=None, *, advice=fs.MADV_HUGEPAGE, size=2 * HUGE):
    machine = fs.Machine(memory="64M", policy=policy or {})
    process = machine.spawn()
    area = process.mmap(size)
    process.madvise(area, size, advice)
    process.write(area, size, value=7)
    return machine, process, area


def reported(machine):
    ledger = machine.ledger()
    return ledger["acct.memlock"], ledger["true.memlock"]


@pytest.mark.parametrize("rule, after_two, after_one", [
    ("head_once", HUGE, 0), ("per_page", 2 * PAGE, PAGE), ("head_refcounted", HUGE, HUGE), ("per_buffer", 2 * HUGE, HUGE)])
def test_two_buffers_in_one_folio(rule, after_two, after_one):
    machine, process, area = written({"pin_account": rule})
    ring = process.register_buffers([(area, PAGE), None])
    ring.update(1, area + PAGE, PAGE)
    assert reported(machine) == (after_two, 2 * PAGE) and ring.charged == after_two
    ring.unregister(0)
    machine.validate()
    assert reported(machine) == (after_one, PAGE) and ring.charged == after_one
    ring.unregister()
    machine.validate()
    assert reported(machine) == (0, 0) and len(ring) == 0


def test_single_pages_are_charged_by_each_buffer():
    for rule in ("head_once", "per_page", "head_refcounted", "per_buffer"):
        machine, process, area = written({"pin_account": rule}, advice=fs.MADV_NOHUGEPAGE)
        with process.register_buffers([(area + 100, PAGE), (area + 100, PAGE)]) as ring:
            assert ring.charged == 4 * PAGE and ring[0].charged == ring[1].charged == 2 * PAGE
            assert ring[0].nbytes == PAGE and len(ring[0].page_frames) == 2
        assert reported(machine) == (0, 0)
        machine.validate()


def test_beyond_the_limit_nothing_is_left():
    machine, process, area = written()
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        process.register_buffers([(area, PAGE), (area + HUGE, PAGE)], memlock=2 * HUGE - 1)
    machine.validate()
    assert reported(machine) == (0, 0)
    assert machine.folio(process.translate(area) >> 12).pincount == 0
    assert machine.ledger()["fail.enomem"] == 1
    assert len(process.register_buffers([(area, PAGE), (area + HUGE, PAGE)], memlock=2 * HUGE)) == 2


def test_a_user_has_one_limit():
    machine, process, area = written()
    child = process.fork()
    process.register_buffers([(area, PAGE)], memlock=2 * PAGE)  # a copy of its own, by the pin's write fault
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        child.register_buffers([(area + PAGE, 2 * PAGE)], memlock=2 * PAGE)
    child.register_buffers([(area + PAGE, 2 * PAGE)])           # it may lock what it likes
    assert reported(machine) == (3 * PAGE, 3 * PAGE)
    process.exit()
    child.register_buffers([(area + 4 * PAGE, PAGE)], memlock=HUGE)  # kept, with the folio around it
    child.exit()
    machine.validate()


def test_a_shared_charge_counts_once_against_the_limit():
    machine, process, area = written({"pin_account": "head_refcounted"})
    ring = process.register_buffers([(area, PAGE), (area + PAGE, PAGE), None], memlock=HUGE)
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        ring.update(2, area + HUGE, PAGE)
    ring.update(0, area + 2 * PAGE, PAGE)
    assert ring.charged == HUGE
    machine.validate()


def test_a_hook_is_asked_for_each_run_of_pages():
    asked = []

    def per_run(order, nr_pages, again, known):
        asked.append((order, nr_pages, again, known))
        return "shared" if order else "pages"

    _, process, area = written({"pin_account": per_run})
    ring = process.register_buffers([(area + HUGE - PAGE, 3 * PAGE), (area + HUGE, PAGE)])
    assert asked == [(9, 1, False, False), (9, 2, False, False), (9, 1, False, True)]
    assert ring.charged == 2 * HUGE
    ring.unregister(0)
    assert ring.charged == HUGE


@pytest.mark.parametrize("answer, error", [("everything", ValueError), (None, ValueError), (KeyError("mine"), KeyError)])
def test_a_hook_that_fails_registers_nothing(answer, error):
    def hook(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    machine, process, area = written({"pin_account": hook})
    with pytest.raises(error):
        process.register_buffers([(area, PAGE)])
    machine.validate()
    assert reported(machine) == (0, 0)


def test_bad_calls():
    machine, process, area = written()
    with pytest.raises(ValueError, match="memlock -1"):
        process.register_buffers([(area, PAGE)], memlock=-1)
    ring = process.register_buffers([(area, PAGE)])
    with pytest.raises(fs.SyscallError, match="EINVAL"):
        ring.update(1, area, PAGE)
    with pytest.raises(fs.SyscallError, match="EINVAL"):
        ring.unregister(-1)
    with pytest.raises(OverflowError):
        ring.update(0, -1, PAGE)
    assert ring.charged == HUGE
    ring.unregister()
    with pytest.raises(fs.SyscallError, match="ENXIO"):
        ring.unregister()
    process.exit()
    with pytest.raises(ValueError, match="exited"):
        ring.unregister()
    machine.validate()


def test_exit_gives_it_all_back():
    machine, process, area = written({"pin_account": "head_refcounted"})
    other = process.fork()
    with process.register_buffers([(area, HUGE), (area + PAGE, HUGE)], memlock=2 * HUGE):
        process.exit()
        machine.validate()
    assert reported(machine) == (0, 0)
    other.register_buffers([(area, 2 * HUGE)], memlock=2 * HUGE)
    machine.validate()


def test_a_range_that_cannot_be_marked_dontfork_is_not_pinned():
    machine, process, area = written({"fork_pinned": "dontfork"})
    with machine.inject.failure(times=None, kinds="vma"), pytest.raises(OSError, match="EAGAIN"):
        process.register_buffers([(area + PAGE, PAGE)])
    machine.validate()
    assert reported(machine) == (0, 0)


def test_an_address_beyond_user_space_is_refused_under_any_policy():
    machine, process, _ = written({"pin_long": "split", "pin_short": "split"})
    for addr in (1 << 47, 0x8d9c_5d1f_0000_0000, (1 << 64) - (1 << 22)):
        with pytest.raises(OSError, match="EFAULT"):
            process.register_buffers([(addr, PAGE)])
    machine.validate()


@pytest.mark.parametrize("spans, error", [
    ([(0x200000000000, 100), (1,)], TypeError), ([(0x200000000000, 100), (1 << 64, 5)], OverflowError),
    ([(0x200000000000, 100), "ab"], TypeError)])
def test_a_span_that_is_none_leaves_nothing(spans, error):
    machine, process, area = written()
    spans[0] = (area, 100)
    with pytest.raises(error):
        process.register_buffers(spans)
    machine.validate()
    assert reported(machine) == (0, 0)
    machine.branch().validate()
