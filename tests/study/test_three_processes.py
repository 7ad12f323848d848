"""three-processes, with what is derived on docs/studies/three-processes.md."""
import pytest

from foliosim.study import StudyError, run_study

ORDERS = ["ABC", "ACB", "BAC", "BCA", "CAB", "CBA"]


def copies(label, size, **keys):
    """Order to the bytes that the last process copies."""
    runs = run_study("three-processes", {"size": size, **keys}, policy=[label]).runs
    return {run.parameters["exit_order"]: run.metrics["cow_bytes"] for run in runs}


@pytest.mark.parametrize("size", [16 << 10, 64 << 10, 1 << 20])
def test_two_slots_know_two_owners(size):
    got = copies("cow_reuse=mm_owner_two_slots", size)
    assert got == {order: size if order[2] == "C" else 0 for order in ORDERS}


@pytest.mark.parametrize("label, copied", [
    ("cow_reuse=exact_owner_set", 0), ("cow_reuse=saturating", 64), ("cow_reuse=anon_exclusive_only", 64),
    ("cow_reuse=exclusive_or_last", 60), ("cow_reuse=refcount_one", 60),
])
def test_other_rules(label, copied):
    assert set(copies(label, "64K").values()) == {copied << 10}


@pytest.mark.parametrize("size", ["4K", "2M", "6M"])
def test_where_references_decide_all_orders_are_alike(size):
    assert set(copies("cow_reuse=mm_owner_two_slots", size).values()) == {0}


@pytest.mark.parametrize("written", ["BAC", "b,a,c"])
def test_one_order(written):
    assert copies("cow_reuse=mm_owner_two_slots", "64K", exit_order=written) == {"BAC": 64 << 10}


@pytest.mark.parametrize("keys, named", [({"exit_order": "AB"}, "ABC"), ({"size": "8K"}, "size='8K'.*and 4 KiB")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("three-processes", keys)
