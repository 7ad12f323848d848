"""creep, with what is derived on docs/studies/creep.md."""
import json

import pytest

from foliosim.study import StudyError, run_study
from foliosim.study.sizes import sizes_of, sizes_value

PAGE = 4096
NONE_RULES = {"bitmap_best_fit": lambda limit: 511 if limit == 511 else 0,
              "bitmap_best_fit_capped": lambda limit: min(limit, 255), "bitmap_best_fit_scaled": lambda limit: limit}


def run(policy, **keys):
    one, = run_study("creep", keys, policy=[f"collapse_rule={policy}"]).runs
    return one.metrics, one.detail


def look(folios, orders, fits):
    """One look at a block on paper: ``folios[i]`` is the order of the folio that holds page i, None: no page."""
    at, order = 0, 9
    while at < 512:
        part = folios[at:at + (1 << order)]
        some = [one for one in part if one is not None]
        if order in orders and len(part) - len(some) <= fits(order):
            if max(some) < order:
                folios[at:at + (1 << order)] = [order] * (1 << order)
        elif order > 2:
            order -= 1
            continue
        at += 1 << order
        order = 9
        while at % (1 << order):
            order -= 1


@pytest.mark.parametrize("rule", NONE_RULES)
@pytest.mark.parametrize("limit", [0, 255, 256, 383, 384, 448, 511])
@pytest.mark.parametrize("touched, sizes, scans", [
    (1, "16K..2M", 8), (1, "64K", 3), (3, "16K+64K+1M", 4), (5, "16K..1M", 5), (100, "32K..2M", 2), (512, "2M", 1),
    (1, "16K..2M", 2)])
def test_on_paper(rule, limit, touched, sizes, scans):
    got, orders = run(rule, touched=touched, sizes=sizes, max_ptes_none=limit, scans=scans)
    enabled = {(size // PAGE).bit_length() - 1 for size in sizes_of(sizes)}
    folios = [0] * touched + [None] * (512 - touched)
    paper = [0]
    for _ in range(scans):
        look(folios, enabled, lambda order: limit if order == 9 else NONE_RULES[rule](limit) >> (9 - order))
        paper.append(max(one for one in folios if one is not None))
    assert orders == paper
    assert got["largest_order"] == paper[-1]
    assert got["rss_bytes"] == sum(one is not None for one in folios) * PAGE


@pytest.mark.parametrize("limit", [383, 384, 416, 448, 480, 496, 504, 508, 510])
def test_one_page_creeps_from_three_quarters_on(limit):
    """In closed form: 2^n - 2^k entries are empty where 2^k pages are in use."""
    held, orders = 0, [0]
    for _ in range(8):
        held = max([n for n in range(2, 10) if (1 << n) - (1 << held) <= limit >> (9 - n)], default=held)
        orders.append(held)
    assert run("bitmap_best_fit_scaled", max_ptes_none=limit)[1] == orders
    assert orders[-1] == (9 if limit >= 384 else 0)


def test_half_is_where_creep_ends():
    """At less than half a folio that was just made does not make the next larger size fit."""
    for limit, largest in ((255, 2), (256, 9)):
        got, _ = run("bitmap_best_fit_scaled", touched=3, max_ptes_none=limit, scans=9)
        assert got["largest_order"] == largest


@pytest.mark.parametrize("rule, limit, order", [
    ("pmd_only", 510, 0), ("pmd_only", 511, 9), ("quadruple_active", 511, 0)])
def test_the_other_rules(rule, limit, order):
    assert run(rule, max_ptes_none=limit)[0]["largest_order"] == order


def test_the_default_shows_the_creep():
    result = run_study("creep", {"scans": 6}, policy=["collapse_rule=bitmap_best_fit_scaled", "collapse_rule=pmd_only"])
    assert sorted({one.parameters["max_ptes_none"] for one in result.runs}) == [0, 383, 384, 510, 511]
    assert "bitmap_best_fit_scaled creeps at max_ptes_none=384 and 510: up to 2 MiB for 4 KiB" in result.conclusion
    json.dumps(result.as_dict())


@pytest.mark.parametrize("touched, sizes, scans", [
    (300, "64K..2M", 8), (3, "all", 8), (100, "16K+256K", 2), (5, "1M", 1)])
def test_the_range_has_each_value_from_which_on_more_is_resident(touched, sizes, scans):
    keys = dict(touched=touched, sizes=sizes, scans=scans)
    rules = ("pmd_only", *NONE_RULES)
    limits = sorted({run.parameters["max_ptes_none"] for run in run_study("creep", keys, policy=[]).runs})
    orders = {(size // PAGE).bit_length() - 1 for size in sizes_of("16K..2M" if sizes == "all" else sizes)}

    def resident(rule, limit):
        folios = [0] * touched + [None] * (512 - touched)
        for _ in range(scans):
            look(folios, orders & {9} if rule == "pmd_only" else orders,
                 lambda order: limit if order == 9 else NONE_RULES[rule](limit) >> (9 - order))
        return sum(one is not None for one in folios)

    for low, high in zip(limits, limits[1:]):
        assert high == low + 1 or all(resident(rule, low) == resident(rule, high) for rule in rules)


@pytest.mark.parametrize("text, canonical", [
    ("64K", "64K"), ("65536", "64K"), ("2M+16K", "16K+2M"), ("16K,32K,64K", "16K..64K"), ("16K..2M", "16K..2M"),
    ("16K..32K+1M", "16K+32K+1M"), ("16K+16K", "16K"), ("512", "512")])
def test_sizes(text, canonical):
    assert sizes_value(text) == canonical
    assert sizes_value("+".join(map(str, sizes_of(canonical)))) == canonical


@pytest.mark.parametrize("keys, named", [
    ({"sizes": "12K"}, "sizes='12K'"), ({"sizes": "8K"}, "sizes='8K'.*16 KiB to 2 MiB"), ({"sizes": "4M"}, "sizes='4M'.*2 MiB"),
    ({"sizes": "2M..16K"}, "sizes='2M..16K'"), ({"sizes": "16K+"}, "sizes="), ({"touched": 0}, "touched='0'"),
    ({"touched": 513}, "touched='513'.*1 to 512"), ({"scans": "many"}, "scans='many'"), ({"size": "1"}, "touched, sizes"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("creep", keys)
