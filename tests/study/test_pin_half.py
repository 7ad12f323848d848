"""pin-half-then-unmap, with what is derived on docs/studies/pin-half-then-unmap.md."""
import pytest

from foliosim.study import StudyError, run_study

PAGE, HUGE = 4096, 2 << 20


def metrics(label, **keys):
    return run_study("pin-half-then-unmap", keys, policy=[label]).runs[0].metrics


@pytest.mark.parametrize("size, extra", [(HUGE, 0), (HUGE, 3), (64 << 10, 0), (2 * HUGE, 0), (3 * HUGE, 1),
                                         (5 * HUGE, 0)])
def test_on_paper(size, extra):
    folio, half = min(size, HUGE), size // 2
    cut = -half % folio                                   # of the folio in which the boundary lies, what is unmapped
    whole = (half - cut) // folio                         # folios that are unmapped whole
    for label in ("pin_long=no_split", "pin_long=split_try", "partial_unmap=split_now", "vma_split=split_try"):
        got = metrics(label, size=size, extra_refs=extra)
        assert got["refused"] == 0 and got["splits.ok"] == 0, label
        assert got["pinned_bytes"] == half and got["pin_overshoot"] == cut
        assert got["stranded_bytes"] == cut + (whole * (folio - PAGE) if extra else 0)
        assert got["pressure_stranded_bytes"] == cut and got["unpinned_stranded_bytes"] == 0
        assert got["splits.failed"] == (0 if label.endswith("no_split") or not cut else 1)


def test_who_promises_must_refuse():
    split, fail = (metrics(label) for label in ("pin_long=split", "vma_split=fail"))
    assert (split["refused"], split["pinned_bytes"], split["fail.eagain"]) == (1, 0, 1)
    assert (fail["refused"], fail["stranded_bytes"], fail["fail.eagain"]) == (1, 0, 1)
    assert split["pressure_stranded_bytes"] == 0          # nothing is pinned, so the shrinker can split it


def test_the_conclusion_has_the_numbers():
    text = run_study("pin-half-then-unmap").conclusion
    assert "keeps 1 MiB that nobody can use" in text
    assert "pin_long=split and vma_split=fail refuse a call" in text


@pytest.mark.parametrize("keys, named", [({"extra_refs": -1}, "0 to 64"), ({"size": "3M"}, "size=.3M."),
                                         ({"refs": 1}, "extra_refs")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("pin-half-then-unmap", keys)
