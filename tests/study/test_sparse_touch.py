"""sparse-touch, with what is derived on docs/studies/sparse-touch.md."""
import json

import pytest

from foliosim.study import StudyError, run_study

PAGE, PTES, HUGE, MIB = 4096, 512, 2 << 20, 1 << 20


def run(policy="underused=zero_filled", **keys):
    return [one.metrics for one in run_study("sparse-touch", keys, policy=[policy]).runs]


def touched(total, stride):
    return len({at // PAGE for at in range(0, total, stride)})


def pages_if_nothing_is_split(total, stride, limit):
    """Blocks are huge as long as a whole one fits; after that pages are single."""
    blocks = [touched_in(block, min(block + HUGE, total), stride) for block in range(0, total, HUGE)]
    tables = len(blocks) + 4
    huge = min((limit // PAGE - tables) // PTES, total // HUGE)
    return huge * PTES + sum(blocks[huge:]) + tables


def touched_in(start, end, stride):
    return len({at // PAGE for at in range(-(-start // stride) * stride, end, stride)})


@pytest.mark.parametrize("thp", ["always", "madvise"])
@pytest.mark.parametrize("total, stride, limit", [
    (16, 16384, 8), (32, 65536, 9), (16, 5000, 15), (17, 12288, 8), (64, HUGE, 8), (12, 8192, 8),
    (128, HUGE // 2, 2), (9, 300_000, 3)])
def test_the_threshold(total, stride, limit, thp):
    """It holds up to one less than the zero-filled pages of a block; 511 turns splitting off."""
    zeros = {PTES - touched_in(block, block + HUGE, stride) for block in range(0, total * MIB - HUGE + 1, HUGE)}
    tight = pages_if_nothing_is_split(total * MIB, stride, limit * MIB) > limit * MIB // PAGE
    assert touched(total * MIB, stride) * PAGE < (limit - 0.5) * MIB
    for ptes, oom in ((min(zeros) - 1, False), (max(zeros), tight), (511, tight)):
        got, = run(total=f"{total}M", stride=stride, limit=f"{limit}M", max_ptes_none=ptes, thp=thp)
        assert got["oom"] == oom
        if ptes >= max(zeros) or tight:
            assert (got["underused_splits"] > 0) == (ptes < min(zeros))
        if not oom:
            assert got["written_bytes"] == touched(total * MIB, stride) * PAGE
            assert got["rss_bytes"] == got["written_bytes"] + got["bloat_bytes"] <= limit * MIB


@pytest.mark.parametrize("keys, oom", [
    ({"stride": 1}, 1),                                         # all of it is in use
    ({"stride": 4096}, 1), ({"stride": 1, "limit": "17M"}, 0), ({"limit": "none"}, 0), ({"limit": "17M"}, 0),
    ({"thp": "never"}, 0), ({"thp": "never", "stride": 4097}, 1), ({"thp": "never", "limit": "4M"}, 1),
    ({"total": 5 * MIB + 1, "stride": "64K", "limit": "7M"}, 0),
])
@pytest.mark.parametrize("ptes", [0, 511])
def test_nothing_to_split(keys, oom, ptes):
    got, = run(**{"total": "16M", "stride": "16K", "limit": "8M", "max_ptes_none": ptes, **keys})
    assert got["oom"] == oom and got["underused_splits"] == 0


@pytest.mark.parametrize("policy, oom", [
    ("underused=off", 1), ("deferred_members=exclude_fully_unmapped", 1), ("drop_zero_pages=no", 1),
    ("underused=zero_filled(100)", 0)])
def test_policies(policy, oom):
    got, = run(policy, total="16M", stride="16K", limit="8M", max_ptes_none=200)
    assert got["oom"] == oom


def test_the_default_shows_the_threshold():
    result = run_study("sparse-touch", {"total": "16M", "limit": "6M", "stride": "16K"})
    limits = list(dict.fromkeys(one.parameters["max_ptes_none"] for one in result.runs))
    assert limits == [0, 128, 256, 383, 384, 511]
    assert "the limit of 6 MiB holds up to max_ptes_none=383, not from 384 on." in result.conclusion
    assert "at no max_ptes_none (out of memory with " in result.conclusion
    json.dumps(result.as_dict())


@pytest.mark.parametrize("keys, named", [
    ({"total": 0}, "total='0'"), ({"stride": 0}, "stride='0'"), ({"limit": "1K"}, "limit='1K'.*none, or 64K"),
    ({"max_ptes_none": 512}, "0 to 511"), ({"thp": "yes"}, "always"), ({"size": 1}, "total, stride, limit"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("sparse-touch", keys)
