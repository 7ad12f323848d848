"""munmap and MADV_DONTNEED over every folio shape."""
import pytest

import foliosim as fs


def large_folios(s):
    return [folio for folio in s.folios().values() if folio.order >= 2 and s.kind == "anon"]


def check_deferred(s):
    """A folio of which some pages are mapped by nobody is marked and on the deferred split queue, as are all huge
    pages from the start; the others are not."""
    for folio in large_folios(s):
        partial = 0 < folio.nr_pages_mapped < folio.nr_pages and not folio.entire_mapcount
        assert folio.partially_mapped == partial, folio
        assert folio.deferred == (partial or folio.order == s.huge_order), folio
    queued = {folio.pfn for process in s.bytes for folio in s.folios(process, everywhere=True).values()
              if folio.deferred}
    assert s.machine.vmstat()["deferred_split_folios"] == len(queued)


def test_munmap_of_a_part(folio_shape):
    s = folio_shape
    frames, pmd, events = s.frames(), s.pmd_mapped, s.machine.vmstat()
    s.munmap(s.process, 0, s.half)
    s.audit()
    with pytest.raises(fs.SegvError) as caught:
        s.process.read(s.addr, s.page)
    assert caught.value.si_code == "MAPERR"
    assert s.settled(s.frames()) == [None] * s.half + s.settled(frames[s.half:])
    check_deferred(s)
    assert s.smaps() == 0
    after = s.machine.vmstat()
    assert after["thp_split_pmd"] - events["thp_split_pmd"] == int(pmd)
    assert after["thp_split_page"] == events["thp_split_page"]
    if s.half < s.nr:
        assert list(s.process.read(s.addr + s.half * s.page, (s.nr - s.half) * s.page)) == s.bytes[s.process][s.half:]


def test_munmap_of_all_frees_all(folio_shape):
    s = folio_shape
    s.fork()
    free = s.machine.vmstat()["nr_free_pages"]
    for process in list(s.bytes):
        s.munmap_all(process)
        s.audit()
    after = s.machine.vmstat()
    assert after["nr_free_pages"] > free or s.kind == "zero"
    assert after["deferred_split_folios"] == 0
    assert all(process.counts()["rss_anon"] == 0 for process in s.bytes)
    assert sum(orders["nr_anon"] for orders in s.machine.mthp_stats().values()) == 0


def test_munmap_by_the_child_leaves_the_parent(folio_shape):
    s = folio_shape
    child = s.fork()
    frames, huge = s.frames(), s.smaps()
    s.munmap(child, 0, s.half)
    s.audit()
    assert s.frames() == frames and s.smaps() == huge
    check_deferred(s)
    s.write(s.process, 0, s.nr, 12, delta=1)
    s.audit()


@pytest.mark.parametrize("part", ["whole", "part"])
@pytest.mark.parametrize("advice", ["MADV_DONTNEED", "MADV_DONTNEED_LOCKED"])
def test_dontneed(folio_shape, part, advice):
    """Private memory reads zeros or the file afterwards, shared memory what it had."""
    s = folio_shape
    nr = s.nr if part == "whole" else s.half
    frames, pmd, events = s.frames(), s.pmd_mapped, s.machine.vmstat()
    s.process.madvise(s.addr, nr * s.page, getattr(fs, advice))
    s.dropped(0, nr)
    s.audit()
    assert s.settled(s.frames()) == [None] * nr + s.settled(frames[nr:])
    check_deferred(s)
    after = s.machine.vmstat()
    assert s.smaps() == 0
    assert after["thp_split_pmd"] - events["thp_split_pmd"] == int(pmd and nr < s.nr)
    assert list(s.process.read(s.addr, s.length)) == s.bytes[s.process]
    s.audit()
    s.write(s.process, 0, s.nr, 21, delta=1)
    s.audit()


def test_dontneed_while_shared(folio_shape):
    """What one process drops, the other keeps."""
    s = folio_shape
    child = s.fork()
    frames = s.frames(child)
    s.process.madvise(s.addr, s.length, fs.MADV_DONTNEED)
    s.dropped(0, s.nr)
    s.audit()
    assert s.frames(child) == frames
    assert list(child.read(s.addr, s.length)) == s.bytes[child]
    assert s.smaps(name="Rss") == s.page_kb * s.outside
