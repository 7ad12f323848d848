"""Page references and pins over every folio shape."""
import errno

import pytest

import foliosim as fs


def exclusive(s):
    """Whether stores of the process go into the pages that it maps."""
    return s.kind == "shmem" or s.kind == "anon" and not s.others


def test_short_reference_then_write(folio_shape):
    """A reference sees later stores if the pages belonged to the process alone."""
    s = folio_shape
    old, frames, huge = list(s.bytes[s.process]), s.frames(), s.smaps()
    reference = s.hold(s.process.get_user_pages(s.addr, s.length))
    s.audit()
    assert reference.page_frames == frames and reference.nbytes == s.length
    assert s.smaps() == huge
    s.write(s.process, 0, s.nr, 90, delta=1)
    s.audit()
    assert (s.frames() == frames) == exclusive(s)
    assert list(reference.peek()) == (s.bytes[s.process] if exclusive(s) else old)
    if s.kind == "anon":
        assert s.smaps() == (huge if exclusive(s) else 0)
    reference.release()
    s.references.clear()
    s.audit()


def test_short_reference_then_fork_then_write(folio_shape):
    """fork takes the pages' exclusivity: the parent's stores go elsewhere, the reference keeps the old bytes."""
    s = folio_shape
    old = list(s.bytes[s.process])
    reference = s.hold(s.process.get_user_pages(s.addr, s.length))
    child = s.fork()
    s.audit()
    s.write(s.process, 0, 1, 99)
    s.audit()
    assert reference.peek()[0] == (99 if s.kind == "shmem" else old[0])
    assert list(child.read(s.addr, s.length)) == s.bytes[child]
    s.exit(child)
    s.write(s.process, 0, 1, 98)
    s.audit()
    assert reference.peek()[0] == (98 if s.kind == "shmem" else old[0])


def test_reference_outlives_the_mapping(folio_shape):
    s = folio_shape
    old = list(s.bytes[s.process])
    reference = s.hold(s.process.get_user_pages(s.addr, s.length))
    s.munmap(s.process, 0, s.nr)
    s.audit()
    assert list(reference.peek()) == old
    assert all(s.machine.folio(f).refcount >= 1 for f in reference.page_frames if not s.is_zero_page(f))
    reference.release()
    s.references.clear()
    s.audit()


@pytest.mark.parametrize("length", ["one", "all"])
def test_long_pin_then_fork(folio_shape, length):
    """The child gets copies of the pinned pages at once; the pin goes on seeing the parent's stores."""
    s = folio_shape
    nr = 1 if length == "one" else s.nr
    pin = s.hold(s.process.pin_user_pages(s.addr, nr * s.page, longterm=True, write=True))
    s.audit()
    old, frames, huge, events = list(s.bytes[s.process]), s.frames(), s.smaps(), s.machine.vmstat()
    assert pin.page_frames == frames[:nr]
    pinned = pinned_pages(s, pin)
    child = s.fork()
    s.audit()
    assert s.frames() == frames
    theirs = s.frames(child)
    for page, frame in enumerate(frames):
        if s.kind != "shmem" and frame is not None and not s.is_zero_page(frame):
            assert (theirs[page] == frame) == (page not in pinned), page
    copied = s.page * (len(pinned) + (s.outside if pinned else 0)) if s.kind != "shmem" else 0
    split = int(huge > 0 and bool(pinned))
    assert [s.machine.vmstat()[name] - events[name] for name in ("thp_split_pmd", "cow_bytes")] == [split, copied]
    s.write(s.process, 0, nr, 77)
    s.audit()
    assert s.frames() == frames
    assert set(pin.peek()) == {77}
    assert list(child.read(s.addr, s.length)) == (s.bytes[s.process] if s.kind == "shmem" else old)
    s.audit()


def pinned_pages(s, pin):
    """Pages of the range whose folio is pinned."""
    heads = {s.machine.folio(frame).pfn for frame in pin.page_frames}
    folios = [s.machine.folio(frame) for frame in s.frames()]
    return {page for page, folio in enumerate(folios) if folio is not None and folio.pfn in heads}


def test_pin_counts(folio_shape):
    s = folio_shape
    first = s.hold(s.process.pin_user_pages(s.addr, s.page, longterm=True, write=True))
    s.audit()
    assert s.machine.folio(first.page_frames[0]).pincount == 1
    second = s.hold(s.process.pin_user_pages(s.addr, s.page, longterm=True, write=True))
    s.audit()
    assert second.page_frames == first.page_frames
    assert s.machine.folio(first.page_frames[0]).pincount == 2
    first.release()
    s.references.remove(first)
    s.audit()
    assert s.machine.folio(second.page_frames[0]).pincount == 1
    assert s.machine.vmstat()["nr_foll_pin_acquired"] - s.machine.vmstat()["nr_foll_pin_released"] == 1


def test_referenced_folio_cannot_be_split(folio_shape):
    s = folio_shape
    if s.kind == "zero" or s.order == 0:
        pytest.skip("no folio that could be split")
    s.hold(s.process.get_user_pages(s.addr, s.page))
    before, huge, folio = s.frames(), s.smaps(), s.machine.folio(s.frames()[0])
    with pytest.raises(fs.SyscallError) as caught:
        s.machine.split_folio(before[0])
    assert caught.value.errno == errno.EAGAIN
    s.audit()
    assert s.frames() == before and s.smaps() == huge and s.machine.folio(before[0]) == folio
