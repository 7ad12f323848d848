"""edge-fit, with what is derived on docs/studies/edge-fit.md."""
from collections import Counter

import pytest

from foliosim.study import StudyError, run_study
from foliosim.study.edge_fit import lengths_of

PAGE = 4096


def metrics(label="fault_order=mthp", seed=0, **keys):
    return run_study("edge-fit", keys, policy=[label], seed=seed).runs[0].metrics


def greedy(lengths, sizes):
    """From the start of each mapping as many of the largest size as fit, then the next, the rest in pages."""
    orders = Counter()
    for length in lengths:
        length = -(-length // PAGE) * PAGE
        for size in sorted([*sizes, PAGE], reverse=True):
            orders[(size // PAGE).bit_length() - 1] += length // size
            length %= size
    return orders


@pytest.mark.parametrize("vmas, sizes", [("100K", [16 << 10]), ("3M+2052K+60K", [64 << 10, 2 << 20]),
                                         ("1028K,4K", []), ("5000+70K", [16 << 10]),
                                         (40, [16 << 10, 128 << 10]), (30, [1 << order for order in range(14, 22)])])
def test_on_paper(vmas, sizes):
    named = "+".join(map(str, sizes)) or "none"
    got = metrics(vmas=vmas, sizes=named, seed=5)
    lengths = lengths_of(vmas.replace(",", "+") if isinstance(vmas, str) else vmas, 5)
    expected = greedy(lengths, sizes)
    assert [got[f"folios.order{order}"] for order in range(10)] == [expected[order] for order in range(10)]
    assert got["asked_bytes"] == sum(lengths) and got["wasted_bytes"] == sum(-length % PAGE for length in lengths)
    assert got["faults.minor"] == got["folios"] == expected.total()
    assert got["wasted_64K_bytes"] == sum(-length % (64 << 10) for length in lengths)


def test_a_range_of_sizes():
    ranged, joined = (metrics(vmas="100K+1028K", sizes=sizes) for sizes in ("16K..64K", "16K+32K,64K"))
    assert ranged == joined


def test_lengths_follow_the_seed():
    assert lengths_of(50, 1) == lengths_of(50, 1) != lengths_of(50, 2)
    assert all(PAGE <= length < 4 << 20 and length % PAGE == 0 for length in lengths_of(500, 0))


@pytest.mark.parametrize("keys, named", [({"vmas": "0"}, "vmas='0'"), ({"vmas": "3X"}, "vmas"),
                                         ({"sizes": "48K"}, "sizes='48K'.*16K to 2M"),
                                         ({"sizes": "4M"}, "sizes='4M': valid are all, none, 16K"),
                                         ({"sizes": "x"}, "joined")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("edge-fit", keys)
