"""batch-ops, with what is derived on docs/studies/batch-ops.md."""
import pytest

from foliosim import costs
from foliosim.study import StudyError, run_study
from foliosim.study.batch_ops import price

PAGE, HUGE = 4096, 2 << 20


@pytest.mark.parametrize("size", ["4M", "20M"])
def test_on_paper(size):
    """Costs are a * entries + b * folios."""
    for run in run_study("batch-ops", {"size": size}, policy=["cow_order=order0"]).runs:
        order, got = run.parameters["orders"], run.metrics
        folios = (int(size[:-1]) << 20) // (PAGE << order)
        entries = folios if order == 9 else folios << order
        assert (got["entries"], got["folios"]) == (entries, folios)
        for operation in ("fork", "exit", "zap", "munmap"):
            assert got[f"{operation}.pte_set"] == entries
            assert got[f"{operation}.rmap_call"] == got[f"{operation}.ref"] == folios
            assert got[f"{operation}.mapcount"] == entries + (folios if order else 0)
        for operation in ("mprotect_ro", "mprotect_rw"):
            assert got[f"{operation}.pte_set"] == entries
            assert got[f"{operation}.mapcount"] == got[f"{operation}.rmap_call"] == 0
        assert got["cow.fault"] == got["cow.copy_page"] == folios << order
        assert got["zap.folio_free"] == got["munmap.folio_free"] == folios


def test_model_time_is_linear_in_entries_and_folios():
    runs = run_study("batch-ops", {"size": "64M"}, policy=["cow_order=order0"]).runs
    ns = costs.load(costs.DEFAULT).coefficients
    a = ns["pte_set"] + ns.get("mapcount", 0)     # and a table for 512 of them
    b = ns.get("rmap_call", 0) + ns["ref"] + ns.get("mapcount", 0)
    by_order = {run.parameters["orders"]: run.metrics for run in runs}
    for name, freed, table in (("fork", 0, "table_alloc"), ("munmap", ns["folio_free"], "table_free")):
        times = {order: got[f"{name}.time_ns"] for order, got in by_order.items()}
        assert times[2] - times[8] == pytest.approx((b + freed) * (by_order[2]["folios"] - by_order[8]["folios"]))
        assert price(runs, name) == pytest.approx((a + ns[table] / 512, b + freed), rel=0.05)


@pytest.mark.parametrize("model, by_ptes, by_pmd", [("large_only", 1, 2), ("per_vma_table", 1, 1)])
def test_other_mapcounts(model, by_ptes, by_pmd):
    for run in run_study("batch-ops", {"size": "4M"}, policy=[f"mapcount_model={model}"]).runs:
        order, got = run.parameters["orders"], run.metrics
        each = by_pmd if order == 9 else by_ptes
        for operation in ("fork", "exit", "zap", "munmap"):
            assert got[f"{operation}.mapcount"] == each * got["folios"]
        freed = run_study("batch-ops", {"size": "4M", "orders": order}, policy=["cow_order=order0"]).runs[0].metrics
        assert got["fork.rmap_call"] == freed["fork.rmap_call"]


def test_the_conclusion_names_what_is_saved():
    text = run_study("batch-ops", {"size": "2M", "orders": "0+8+9"}).conclusion
    assert "cow_order=inherit needs 1.02 instead of 11 for fork and a write to every page with order 9" in text
    assert "mapcount_model=large_only needs 1.01 instead of 2.01 for fork with order 8." in text


def test_orders_are_chosen():
    runs = run_study("batch-ops", {"size": "2M", "orders": "0+9"}).runs
    assert sorted({run.parameters["orders"] for run in runs}) == [0, 9]


def test_inherit_copies_by_folio():
    run, = run_study("batch-ops", {"size": "2M", "orders": 4}, policy=["cow_order=inherit"]).runs
    assert run.metrics["cow.fault"] == 512 // 16 and run.metrics["cow.copy_page"] == 512


@pytest.mark.parametrize("keys, named", [({"orders": "1"}, "orders='1': valid are 0 and 2 to 9"),
                                         ({"orders": "x"}, "joined by"),
                                         ({"size": "3M", "orders": 9}, "size='3M'.*2 MiB")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("batch-ops", keys)
