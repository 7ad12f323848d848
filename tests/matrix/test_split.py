"""Splitting a folio of every shape."""
import errno

import pytest

import foliosim as fs


def test_split(folio_shape):
    """Single folios afterwards; pages of zeros give way to the zero page, and no byte changes."""
    s = folio_shape
    if s.kind == "zero":
        refuses(s, ValueError)
        return
    if s.order == 0:
        assert refuses(s, fs.SyscallError).errno == errno.EINVAL
        return
    frames, huge, events = s.frames(), s.smaps(), s.machine.vmstat()
    stats = s.machine.mthp_stats()[s.order]
    s.machine.split_folio(frames[0])
    s.audit()
    zeros = [page for page, byte in enumerate(s.bytes[s.process]) if byte == 0]
    for page, frame in enumerate(s.frames()):
        assert s.is_zero_page(frame) == (page in zeros)
        assert page in zeros or frame == frames[page]
    assert {folio.order for folio in s.folios().values()} == {0}
    after = s.machine.vmstat()
    assert after["thp_split_page"] - events["thp_split_page"] == int(s.order == s.huge_order)
    assert after["thp_split_pmd"] - events["thp_split_pmd"] == int(huge > 0)
    assert s.machine.mthp_stats()[s.order]["split"] == stats["split"] + 1
    assert s.smaps() == 0 and after["deferred_split_folios"] == 0
    s.write(s.process, 0, s.nr, 5, delta=1)
    s.audit()


def refuses(s, kind):
    before = s.frames()
    with pytest.raises(kind) as caught:
        s.machine.split_folio(before[0])
    assert s.frames() == before
    return caught.value


def test_split_of_locked_memory_keeps_pages_of_zeros(folio_shape):
    s = folio_shape
    if s.kind == "zero" or s.order == 0:
        pytest.skip("no folio that could be split")
    s.process.mlock(s.addr, s.length)
    frames = s.frames()
    if s.machine.folio(frames[0]).order == 0:
        pytest.skip("mlock copied the shared folio")
    s.machine.split_folio(frames[0])
    s.audit()
    assert s.frames() == frames
    assert all(folio.flags & fs.KPF_MLOCKED for folio in s.folios().values())


def test_split_of_a_shared_folio(folio_shape):
    """Every mapping of the folio follows it; a fork before changes nothing else."""
    s = folio_shape
    if s.kind == "zero" or s.order == 0:
        pytest.skip("no folio that could be split")
    child = s.fork()
    s.machine.split_folio(s.frames()[0])
    s.audit()
    assert s.frames(child) == s.frames()
    assert {folio.order for folio in s.folios().values()} == {0}
    s.write(child, 0, s.nr, 15, delta=2)
    s.audit()
