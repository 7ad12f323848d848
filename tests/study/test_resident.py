"""What a study measures: the ledger and what MADV_PAGEOUT could take, on cases small enough to count by hand."""
import pytest

import foliosim as fs
from foliosim.study.resident import pageout_bytes, resident_pages

HUGE, HALF, PAGE = 2 << 20, 1 << 20, 4096


def measure(machine, *processes):
    return {**machine.ledger(), "pageout_bytes": pageout_bytes(machine, resident_pages(machine, processes))}


def test_a_thp(machine, process, thp):
    got = measure(machine, process)
    assert (got["tlb_entries.plain"], got["pageout_bytes"], got["deferred.len"]) == (1, HUGE, 1)
    assert got["mlock_overshoot"] == got["mlock_undershoot"] == got["acct.Mlocked"] == 0


def test_half_locked(machine, process, thp):
    process.mlock(thp, HALF)
    got = measure(machine, process)
    assert (got["mlock_overshoot"], got["mlock_undershoot"], got["acct.Mlocked"]) == (0, HALF, 0)
    assert (got["tlb_entries.plain"], got["pageout_bytes"], got["pmd_splits"]) == (512, HALF, 1)


def test_all_locked(machine, process, thp):
    process.mlock(thp, HUGE)
    got = measure(machine, process)
    assert (got["mlock_overshoot"], got["mlock_undershoot"], got["acct.Mlocked"]) == (0, 0, HUGE)
    assert (got["tlb_entries.plain"], got["pageout_bytes"]) == (1, 0)


def test_whole_overshoots_even_where_nothing_is_mapped_any_more(machine, process, thp):
    machine.set_policy({"mlock_rule": "whole"})
    process.mlock(thp, HALF)
    assert measure(machine, process)["mlock_overshoot"] == HALF
    process.munmap(thp + HALF, PAGE)
    assert measure(machine, process)["mlock_overshoot"] == HALF


@pytest.mark.parametrize("longterm", [False, True])
def test_a_reference_hinders_pageout(machine, process, thp, longterm):
    reference = process.pin_user_pages(thp, PAGE) if longterm else process.get_user_pages(thp, PAGE)
    assert measure(machine, process)["pageout_bytes"] == 0
    reference.release()
    assert measure(machine, process)["pageout_bytes"] == HUGE


def test_a_reference_hinders_only_its_folio(machine, process):
    addr = process.mmap(4 * PAGE)
    process.write(addr, 4 * PAGE, value=1)
    with process.get_user_pages(addr, PAGE):
        assert measure(machine, process)["pageout_bytes"] == 3 * PAGE


def test_shared_pages_count_once_and_stay(machine, process, thp):
    child = process.fork()
    got = measure(machine, process, child)
    assert (got["pageout_bytes"], got["tlb_entries.plain"]) == (0, 2)
    child.mlock(thp, HUGE)                                  # unshares: a copy, page by page or not
    machine.validate()
    assert measure(machine, process, child)["mlock_overshoot"] == 0


def test_zero_pages_are_no_memory(machine, process):
    addr = process.mmap(4 * PAGE)
    process.touch(addr, 4 * PAGE)
    got = measure(machine, process)
    assert (got["pageout_bytes"], got["tlb_entries.plain"]) == (0, 4)
    process.mlock2(addr, 4 * PAGE, fs.MLOCK_ONFAULT)
    assert measure(machine, process)["mlock_undershoot"] == 0


def test_splits(machine, process, thp):
    pfn = process.translate(thp) >> 12
    with process.get_user_pages(thp, PAGE), pytest.raises(OSError):
        machine.split_folio(pfn)
    machine.split_folio(pfn)
    got = measure(machine, process)
    assert (got["splits.ok"], got["splits.failed"]) == (1, 1)


def test_the_deferred_queue(machine, process, thp):
    process.munmap(thp, PAGE)
    got = measure(machine, process)
    assert (got["deferred.len"], got["deferred.partial"]) == (1, 1)
