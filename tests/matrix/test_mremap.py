"""mremap over every folio shape."""
import pytest

import foliosim as fs
from foliosim.testing.available import missing
from foliosim.testing.shapes import frames_of

MOVE = fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED

pytestmark = pytest.mark.skipif(bool(missing("mremap")), reason=str(missing("mremap")))


@pytest.mark.parametrize("part", ["whole", "part"])
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
def test_move(folio_shape, part, aligned):
    """The frames move along; a huge page stays one only where it moves as a whole and aligned."""
    s = folio_shape
    nr = s.nr if part == "whole" else s.half
    frames, huge, rss = s.frames(), s.smaps(), s.smaps(name="Rss")
    values = s.bytes[s.process][:nr]
    to = s.elsewhere + (0 if aligned else s.page)
    assert s.process.mremap(s.addr, nr * s.page, nr * s.page, flags=MOVE, new_addr=to) == to
    s.bytes[s.process][:nr] = [None] * nr
    s.audit()
    assert s.settled(s.frames()) == [None] * nr + s.settled(frames[nr:])
    assert s.settled(frames_of(s.process, to, nr)) == s.settled(frames[:nr])
    assert s.smaps(name="Rss") == rss
    assert s.smaps() == (huge if nr == s.nr and aligned else 0)
    assert list(s.process.read(to, nr * s.page)) == values
    with pytest.raises(fs.SegvError):
        s.process.read(s.addr, s.page)
    s.process.write(to, nr * s.page, value=3)
    s.audit()
    assert set(s.process.read(to, nr * s.page)) == {3}


def test_move_and_back(folio_shape):
    s = folio_shape
    frames, huge = s.frames(), s.smaps()
    s.process.mremap(s.addr, s.length, s.length, flags=MOVE, new_addr=s.elsewhere)
    s.process.mremap(s.elsewhere, s.length, s.length, flags=MOVE, new_addr=s.addr)
    s.audit()
    assert s.frames() == frames and s.smaps() == huge


def test_move_after_fork(folio_shape):
    """The child's memory stays where it was and what it was."""
    s = folio_shape
    child = s.fork()
    before = s.frames(child)
    s.process.mremap(s.addr, s.length, s.length, flags=MOVE, new_addr=s.elsewhere)
    s.process.write(s.elsewhere, s.length, value=3)
    if s.kind == "shmem":
        s.bytes[child] = [3] * s.nr
    s.bytes[s.process] = [None] * s.nr
    s.audit()
    assert s.frames(child) == before
    assert list(child.read(s.addr, s.length)) == s.bytes[child]
