"""MADV_FREE and MADV_COLD over every folio shape.  Without memory pressure no byte changes."""
import pytest

import foliosim as fs
from foliosim.testing.available import missing


@pytest.fixture(params=["MADV_FREE", "MADV_COLD"])
def advice(request):
    reason = missing(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.mark.parametrize("part", ["whole", "part"])
def test_bytes_stay(folio_shape, advice, part):
    s = folio_shape
    nr = s.nr if part == "whole" else s.half
    events = s.machine.vmstat()
    if advice == "MADV_FREE" and s.kind in ("shmem", "file"):
        with pytest.raises(fs.SyscallError):
            s.process.madvise(s.addr, nr * s.page, fs.MADV_FREE)
        return
    s.process.madvise(s.addr, nr * s.page, getattr(fs, advice))
    s.audit()
    assert list(s.process.read(s.addr, s.length)) == s.bytes[s.process]
    if advice == "MADV_FREE":
        check_free(s, nr, events)
    else:
        check_cold(s, nr)
    s.write(s.process, 0, s.nr, 9, delta=1)
    s.audit()
    assert list(s.process.read(s.addr, s.length)) == s.bytes[s.process]


def check_free(s, nr, events):
    """Folios that the process has for itself and that were freed in whole lose SWAPBACKED and count as lazily free."""
    if s.kind != "anon" or s.others:
        return
    freed = set(s.frames()[:nr])
    pages = 0
    for pfn, folio in s.folios().items():
        if freed.issuperset(range(pfn, pfn + folio.nr_pages)):
            assert not folio.flags & fs.KPF_SWAPBACKED, folio
            pages += folio.nr_pages
        elif not freed & set(range(pfn, pfn + folio.nr_pages)):
            assert folio.flags & fs.KPF_SWAPBACKED, folio
    assert s.machine.vmstat()["pglazyfree"] - events["pglazyfree"] == pages
    assert s.smaps(name="LazyFree") == s.page_kb * sum(frame is not None and not s.flags(frame) & fs.KPF_SWAPBACKED
                                               and not s.is_zero_page(frame) for frame in s.frames())


def check_cold(s, nr):
    """Folios that are wholly in the range are inactive and not referenced."""
    cold = set(s.frames()[:nr])
    for pfn, folio in s.folios().items():
        if cold.issuperset(range(pfn, pfn + folio.nr_pages)) and not folio.maybe_shared:
            assert not folio.flags & fs.KPF_ACTIVE, folio


def test_locked_memory_is_refused(folio_shape, advice):
    s = folio_shape
    s.process.mlock(s.addr, s.length)
    before = s.frames()
    with pytest.raises(fs.SyscallError):
        s.process.madvise(s.addr, s.length, getattr(fs, advice))
    s.audit()
    assert s.frames() == before
