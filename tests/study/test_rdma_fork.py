"""rdma-fork, with what is derived on docs/studies/rdma-fork.md."""
import pytest

from foliosim.study import StudyError, run_study

PAGE, HUGE = 4096, 2 << 20


def metrics(label, **keys):
    return run_study("rdma-fork", keys, policy=[label]).runs[0].metrics


@pytest.mark.parametrize("size, pinned", [(HUGE, PAGE), (HUGE, 100), (HUGE, HUGE), (64 << 10, 5 * PAGE), (2 * HUGE, 0),
                                          (3 * HUGE, HUGE + (512 << 10))])
def test_on_paper(size, pinned):
    folio = min(size, HUGE)
    pages = -(-pinned // PAGE) * PAGE
    touched = -(-pages // folio) * folio                  # of the folios in which something is pinned
    linux, by_page, split, dontfork = (metrics(label, size=size, pinned=pinned) for label in (
        "fork_pinned=copy_whole_folio", "fork_pinned=copy_pinned_page", "pin_long=split", "fork_pinned=dontfork"))

    def copies(got):
        return tuple(got[f"cow_bytes.{who}"] for who in ("fork", "parent", "child"))

    assert copies(linux) == (touched, size - touched, 0)
    assert copies(by_page) == (pages, size - pages, touched - pages)
    assert copies(split) == (pages, size - pages, 0)
    assert copies(dontfork) == (touched - pages, size - touched, 0) and dontfork["lost_bytes"] == pages
    assert linux["pinned_bytes"] == pages and linux["pin_overshoot"] == touched - pages
    assert all(got["stale_bytes"] == got["lost_bytes"] == 0 for got in (linux, by_page, split))


@pytest.mark.parametrize("keys, named", [({"pinned": "4M"}, "pinned='4M': valid are 0 up to 2 MiB"),
                                         ({"size": "0"}, "size='0'")])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("rdma-fork", keys)
