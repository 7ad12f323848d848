"""mlock and munlock over every folio shape."""
import pytest

import foliosim as fs

LOCKED = fs.KPF_MLOCKED | fs.KPF_UNEVICTABLE


@pytest.mark.parametrize("part", ["whole", "part"])
def test_mlock(folio_shape, part):
    """A folio becomes mlocked if the locked area holds a mapping of all of it."""
    s = folio_shape
    nr = s.nr if part == "whole" else s.half
    huge, events = s.smaps(), s.machine.vmstat()
    s.process.mlock(s.addr, nr * s.page)
    s.audit()
    assert s.process.counts()["locked_vm"] == nr
    locked = check_flags(s, nr)
    assert locked == expected(s, nr)
    after = s.machine.vmstat()
    again = copied_after_locking(s, nr, huge)
    assert after["unevictable_pgs_mlocked"] - events["unevictable_pgs_mlocked"] == locked + again
    if huge:
        kept = nr == s.nr and not s.others
        assert s.smaps() == (huge if kept else 0)
        assert after["thp_split_pmd"] - events["thp_split_pmd"] == int(not kept)
    assert after["thp_split_page"] == events["thp_split_page"]
    s.process.munlock(s.addr, nr * s.page)
    s.audit()
    assert s.process.counts()["locked_vm"] == 0
    assert not any(s.flags(frame) & fs.KPF_MLOCKED for frame in s.frames())
    after = s.machine.vmstat()
    assert after["unevictable_pgs_munlocked"] - events["unevictable_pgs_munlocked"] == locked + again
    assert after["nr_unevictable"] == 0


def check_flags(s, nr):
    """Pages of mlocked folios; the flags of each folio are those of the rule."""
    frames = s.frames()
    mine = set(frames[:nr])
    locked = 0
    for pfn, folio in s.folios().items():
        whole = mine.issuperset(range(pfn, pfn + folio.nr_pages))
        assert bool(folio.flags & fs.KPF_MLOCKED) == whole, folio
        assert bool(folio.flags & fs.KPF_UNEVICTABLE) == whole, folio
        locked += folio.nr_pages * whole
    return locked


def copied_after_locking(s, nr, huge):
    """Pages that count twice: what was mapped is locked first, and then what is shared is copied."""
    return nr if s.kind == "file" or huge and s.others and nr == s.nr else 0


def expected(s, nr):
    """How many pages the rule locks; memory that was shared or zero is copied or allocated first."""
    if s.order == 0 or s.kind == "zero" or s.others:
        return nr
    return nr if nr == 1 << s.order else 0


def test_munlock_of_a_part(folio_shape):
    s = folio_shape
    if s.nr == 1:
        pytest.skip("no part")
    s.process.mlock(s.addr, s.length)
    huge = s.smaps()
    s.process.munlock(s.addr, s.half * s.page)
    s.audit()
    assert s.process.counts()["locked_vm"] == s.nr - s.half
    assert s.smaps() == 0 or not huge
    for folio in s.folios().values():
        if folio.order == 0:
            inside = folio.pfn in s.frames()[s.half:]
            assert bool(folio.flags & fs.KPF_MLOCKED) == inside


def test_fork_of_locked_memory(folio_shape):
    """The child's memory is not locked; the parent's folios stay as they are."""
    s = folio_shape
    s.process.mlock(s.addr, s.length)
    before = [s.flags(frame) & LOCKED for frame in s.frames()]
    child = s.fork()
    s.audit()
    assert child.counts()["locked_vm"] == 0 and s.smaps(child, "Locked") == 0
    assert [s.flags(frame) & LOCKED for frame in s.frames()] == before
    s.exit(child)
    s.audit()
    assert [s.flags(frame) & LOCKED for frame in s.frames()] == before


def test_munmap_of_locked_memory(folio_shape):
    s = folio_shape
    s.process.mlock(s.addr, s.length)
    s.munmap(s.process, 0, s.nr)
    s.audit()
    assert s.process.counts()["locked_vm"] == 0
    assert s.machine.vmstat()["nr_unevictable"] == 0 or s.kind == "shmem"
