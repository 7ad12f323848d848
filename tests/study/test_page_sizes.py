"""Every study on other machines: what is derived on paper holds for their pages."""
import pytest

from foliosim import cores
from foliosim.study import run_study

MACHINES = sorted(cores.VA_BITS)


@pytest.fixture(params=MACHINES, ids=lambda machine: f"{machine[0]}-{machine[1] >> 10}K")
def machine(request):
    return {"arch": request.param[0], "page_size": request.param[1]}


def metrics(study, policy, machine, **keys):
    return run_study(study, {**machine, **keys}, policy=[policy]).runs[0].metrics


def block(machine):
    return machine["page_size"] ** 2 // 8


def test_half_mprotect(machine):
    size = block(machine)
    keys = {"size": size, "parent_writes": 0.25, "child_exits": "never"}
    linux = metrics("half-mprotect-after-fork", "cow_order=order0", machine, **keys)
    whole = metrics("half-mprotect-after-fork", "fork_child_mprotect=cow_whole", machine, **keys)
    assert (linux["cow_bytes"], whole["cow_bytes"]) == (size // 4, size)
    assert (linux["parent_faults"], whole["parent_faults"]) == (size // 4 // machine["page_size"], 1)
    assert (linux["parent_tlb_entries"], whole["parent_tlb_entries"]) == (size // machine["page_size"], 1)


def test_pins(machine):
    page, size = machine["page_size"], block(machine)
    assert metrics("pin-half-then-unmap", "pin_long=no_split", machine, size=size)["stranded_bytes"] == size // 2
    by_page = metrics("rdma-fork", "fork_pinned=copy_pinned_page", machine, size=size, pinned=1)
    assert (by_page["cow_bytes.fork"], by_page["cow_bytes.parent"]) == (page, size - page)


def test_three_processes(machine):
    runs = run_study("three-processes", {**machine, "size": 8 * machine["page_size"]},
                     policy=["cow_reuse=mm_owner_two_slots"]).runs
    assert {run.parameters["exit_order"] for run in runs if run.metrics["cow_bytes"]} == {"ABC", "BAC"}


def test_bgsave(machine):
    page = machine["page_size"]
    keys = {"data": 64 * page, "order": 2, "writes": 30}
    linux, inherit = (metrics("bgsave", f"cow_order={name}", machine, **keys) for name in ("order0", "inherit"))
    assert linux["cow_bytes"] == linux["written_bytes"] == linux["faults.cow"] * page
    assert inherit["cow_bytes"] == inherit["faults.cow"] * 4 * page


def test_batch_ops(machine):
    runs = run_study("batch-ops", {**machine, "size": 2 * block(machine), "orders": f"0+2+{_huge(machine)}"},
                     policy=["cow_order=order0"]).runs
    for run, entries, folios in zip(runs, (2 << _huge(machine), 2 << _huge(machine), 2), (2 << _huge(machine),
                                                                                         1 << _huge(machine) - 1, 2)):
        assert (run.metrics["entries"], run.metrics["folios"]) == (entries, folios)
        assert run.metrics["fork.pte_set"] == entries and run.metrics["fork.rmap_call"] == folios


def _huge(machine):
    return (machine["page_size"] // 8).bit_length() - 1


def test_edge_fit_wastes_what_was_foretold(machine):
    """What the study says of a kernel with larger base pages is what the machine with such pages does."""
    keys = {"vmas": "100K+1028K+3M+5000", "sizes": "none"}
    small = run_study("edge-fit", keys, policy=["fault_order=mthp"]).runs[0].metrics
    got = metrics("edge-fit", "fault_order=mthp", machine, **keys)
    foretold = {4 << 10: "wasted_bytes", 16 << 10: "wasted_16K_bytes", 64 << 10: "wasted_64K_bytes"}
    assert got["wasted_bytes"] == small[foretold[machine["page_size"]]]
    assert got["folios"] == got["folios.order0"] == got["used_bytes"] // machine["page_size"]
