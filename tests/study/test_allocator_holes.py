"""allocator-holes, with what is derived on docs/studies/allocator-holes.md."""
import json

import pytest

from foliosim.study import StudyError, run_study

PAGE, PTES = 4096, 512


def run(policy="collapse_vs_free=on", **keys):
    result = run_study("allocator-holes", keys, policy=[policy])
    return [one.metrics for one in result.runs]


@pytest.mark.parametrize("thp", ["always", "madvise", "never"])
@pytest.mark.parametrize("pages, keep_every, limit, scans", [
    (2048, 8, 447, 2), (2048, 8, 448, 1), (1300, 3, 340, 1), (1300, 3, 341, 1), (1300, 3, 342, 3),
    (4000, 700, 510, 1), (4000, 700, 511, 2), (1024, 512, 511, 1), (1024, 1, 0, 1), (1024, 2, 255, 4),
    (511, 4, 511, 1), (1536, 5, 409, 1), (1024, 8, 511, 0), (1, 1, 511, 1),
])
def test_on_paper(pages, keep_every, limit, scans, thp):
    got, = run(pages=pages, keep_every=keep_every, max_ptes_none=limit, scans=scans, thp=thp)
    kept = [sum(page % keep_every == 0 for page in range(first, min(first + PTES, pages)))
            for first in range(0, pages, PTES)]
    filled = [scans > 0 and thp != "never" and PTES - in_block <= limit and (i + 1) * PTES <= pages
              for i, in_block in enumerate(kept)]
    assert got["refilled_blocks"] == got["folios.huge"] == sum(filled)
    resident = sum(PTES if full else in_block for full, in_block in zip(filled, kept)) * PAGE
    assert got["rss_bytes"] == resident
    assert got["kept_bytes"] == sum(kept) * PAGE == resident - got["refilled_bytes"]
    assert got["bloat_bytes"] == sum(PTES - in_block for full, in_block in zip(filled, kept) if full) * PAGE


@pytest.mark.parametrize("policy, scans, filled", [
    ("collapse_vs_free=off", 9, 0), ("collapse_vs_free=backoff(3)", 3, 0), ("collapse_vs_free=backoff(3)", 4, 2),
    ("collapse_vs_free=respect_recent_dontneed", 9, 0), ("collapse_rule=quadruple_active", 2, 0)])
def test_policies(policy, scans, filled):
    got, = run(policy, pages=1024, keep_every=4, max_ptes_none=511, scans=scans)
    assert got["refilled_blocks"] == filled


def test_the_default_shows_where_it_begins():
    result = run_study("allocator-holes", {"pages": 1300, "keep_every": 3})
    limits = list(dict.fromkeys(one.parameters["max_ptes_none"] for one in result.runs))
    assert limits == [0, 128, 256, 340, 341, 384, 511]        # both blocks keep 171 pages
    assert "refills blocks from max_ptes_none=341 on" in result.conclusion
    json.dumps(result.as_dict())


@pytest.mark.parametrize("keys, named", [
    ({"pages": 0}, "pages='0'.*1 to"), ({"keep_every": "x"}, "keep_every='x'"),
    ({"max_ptes_none": 512}, "max_ptes_none='512'.*0 to 511"), ({"max_ptes_none": -1}, "max_ptes_none='-1'"),
    ({"thp": "on"}, "always, madvise.*never"), ({"scans": -1}, "scans='-1'"), ({"page": 1}, "pages, keep_every"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("allocator-holes", keys)
