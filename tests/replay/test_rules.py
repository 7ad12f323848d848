"""Rules of the replay, each on a trace made for it."""
import pytest
from made import ARENA, HUGE, PAGE, Made

from foliosim.flags import MADV_FREE
from foliosim.replay import truth
from foliosim.replay.compare import anonymous_words
from foliosim.replay.engine import machine_for


def words(replay, start, pid=100):
    pages, found = anonymous_words(replay.spaces[pid].process, start)
    return dict(zip(pages.tolist(), found.tolist()))


def smaps(replay, start, pid=100):
    return next(row for row in replay.spaces[pid].process.smaps() if row["start"] == start)


@pytest.mark.parametrize("mode, anonymous", [("never", 4), ("always", 2044)])
def test_pages_of_a_huge_page_are_not_taken_for_zeros(mode, anonymous, tmp_path):
    """MADV_FREE of a page splits the folio; a trace with huge pages does not say which others were written."""
    made = Made(mode).execve().mmap(length=HUGE).fault(ARENA).call("madvise", ARENA + PAGE, PAGE, MADV_FREE)
    replay = made.replay(tmp_path, machine_for(made.header, thp="always"))
    assert smaps(replay, ARENA)["Anonymous"] - smaps(replay, ARENA)["LazyFree"] == anonymous


def test_the_huge_zero_page_has_neither_head_nor_tail(tmp_path):
    replay = Made("always").execve().mmap(length=HUGE).fault(ARENA, "r").replay(tmp_path)
    found = words(replay, ARENA)
    assert len(found) == 512 and not any(word & (truth.HEAD | truth.TAIL) for word in found.values())
    assert all(word & truth.ZERO and word & truth.THP for word in found.values())


@pytest.mark.parametrize("between, may_write", [
    ([], False),
    ([{"fd": 3, "prot": 3, "addr": ARENA + HUGE}], True),
    ([{"fd": 3, "prot": 3, "addr": ARENA + HUGE, "extra": {"file": "/other", "dev": "fe:00", "ino": 9}}], False)])
def test_a_shared_mapping_may_be_made_writable_if_its_file_is_open_so(between, may_write, tmp_path):
    file = {"file": "/log", "dev": "fe:00", "ino": 5}
    made = Made().execve().mmap(length=PAGE, prot=1, flags=1, fd=3, extra=file)
    for one in between:
        made.mmap(**{"length": PAGE, "flags": 1, "extra": file, **one})
    assert ("mw" in str(smaps(made.replay(tmp_path), ARENA)["VmFlags"]).split()) == may_write
