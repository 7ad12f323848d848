"""thread-stacks, with what is derived on docs/studies/thread-stacks.md."""
import json

import pytest

from foliosim.study import StudyError, run_study

PAGE, HUGE, MIB, KIB = 4096, 2 << 20, 1 << 20, 1 << 10


def run(policy="vma_split=keep", **keys):
    return [one.metrics for one in run_study("thread-stacks", keys, policy=[policy]).runs]


def collapsed(stacks, size, used, guard, when):
    """Blocks that hold a page in use and lie in one area when khugepaged comes."""
    area = stacks * size
    cuts = [at for i in range(stacks) for at in (i * size, i * size + guard)] if when == "after" and guard else []
    blocks = []
    for block in range(0, area - HUGE + 1, HUGE):
        in_use = any(i * size + size - used < block + HUGE and block < (i + 1) * size for i in range(stacks)) and used
        if when != "never" and in_use and not any(block < cut < block + HUGE for cut in cuts):
            blocks.append(block)
    return blocks


@pytest.mark.parametrize("when", ["before", "after", "never"])
@pytest.mark.parametrize("stacks, size, touched, guard", [
    (4, 2 * MIB, 2, "yes"), (4, 2 * MIB, 2, "no"), (5, MIB, 3, "yes"), (3, 2 * MIB + 64 * KIB, 20, "64K"),
    (2, 8 * MIB, 600, "yes"), (2, 8 * MIB, 1, "3M"), (3, 4 * MIB, 0, "yes"), (7, 300 * KIB, 5, "no"), (1, MIB, 1, "4K"),
])
def test_on_paper(stacks, size, touched, guard, when):
    got, = run(stacks=stacks, stack_size=size, touched_pages=touched, guard=guard, khugepaged=when)
    nr_guard = {"yes": PAGE, "no": 0, "64K": 64 * KIB, "3M": 3 * MIB, "4K": PAGE}[guard]
    used = {i * size + size - (page + 1) * PAGE for i in range(stacks) for page in range(touched)}
    blocks = collapsed(stacks, size, touched * PAGE, nr_guard, when)
    outside = [at for at in used if not any(block <= at < block + HUGE for block in blocks)]
    assert (got["folios.huge"], got["folios.small"], got["folios.other"]) == (len(blocks), len(outside), 0)
    assert got["rss_bytes"] == len(blocks) * HUGE + len(outside) * PAGE
    assert got["in_use_bytes"] == len(used) * PAGE


@pytest.mark.parametrize("policy, resident, huge", [
    ("vma_split=keep", HUGE, 4), ("vma_split=split_try", 2 * PAGE, 0), ("collapse_rule=quadruple_active", 2 * PAGE, 0)])
def test_a_split_gives_back_what_is_not_in_use(policy, resident, huge):
    got, = run(policy, stacks=4, khugepaged="before")
    assert (got["rss_bytes"], got["folios.huge"]) == (4 * resident, huge)


def test_the_default_has_three_cases():
    result = run_study("thread-stacks", {"stacks": 2})
    assert list(dict.fromkeys(one.parameters["khugepaged"] for one in result.runs)) == ["before", "after", "never"]
    assert "take 4 MiB if khugepaged comes before the guards, 16 KiB if it comes after them" in result.conclusion
    json.dumps(result.as_dict())


@pytest.mark.parametrize("keys, named", [
    ({"stack_size": 5000}, "stack_size='5000'.*multiples of 4 KiB"), ({"stacks": 0}, "stacks='0'"),
    ({"guard": "2M"}, "guard='2M'.*below 2 MiB"), ({"guard": "5000"}, "guard='5000'"),
    ({"touched_pages": 512}, "touched_pages='512'.*0 to 511"), ({"khugepaged": "now"}, "before, after, never"),
    ({"guards": 1}, "stacks, stack_size, touched_pages, guard"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("thread-stacks", keys)
