"""mprotect over every folio shape."""
import pytest

import foliosim as fs

RW = fs.PROT_READ | fs.PROT_WRITE


@pytest.mark.parametrize("part", ["whole", "part"])
@pytest.mark.parametrize("prot", [fs.PROT_READ, fs.PROT_NONE], ids=["read", "none"])
def test_mprotect(folio_shape, part, prot):
    s = folio_shape
    nr = s.nr if part == "whole" else s.half
    frames, huge, events, old = s.frames(), s.smaps(), s.machine.vmstat(), list(s.bytes[s.process])
    pmd = s.pmd_mapped
    s.process.mprotect(s.addr, nr * s.page, prot)
    s.audit()
    assert s.settled(s.frames()) == s.settled(frames) and None not in s.frames()
    refuses(s, "write", 0)
    if prot == fs.PROT_NONE:
        refuses(s, "read", nr - 1)
    else:
        assert list(s.process.read(s.addr, s.length)) == old
    s.audit()
    kept = nr == s.nr
    assert s.smaps() == (huge if kept else 0)
    after = s.machine.vmstat()
    assert after["thp_split_pmd"] - events["thp_split_pmd"] == int(pmd and not kept)
    assert after["thp_split_page"] == events["thp_split_page"]
    check_back(s, nr, frames)


def refuses(s, access, page):
    addr = s.addr + page * s.page
    with pytest.raises(fs.SegvError) as caught:
        if access == "write":
            s.process.write(addr, s.page, value=1)
        else:
            s.process.read(addr, s.page)
    assert (caught.value.addr, caught.value.si_code, caught.value.access) == (addr, "ACCERR", access)


def check_back(s, nr, frames):
    """Writable again: stores go into the same pages where they are the process's own."""
    s.process.mprotect(s.addr, nr * s.page, RW)
    assert s.process.counts()["map_count"] == len(s.process.maps()) == 1 + bool(s.outside)
    s.write(s.process, 0, s.nr, 33, delta=7)
    s.audit()
    own = s.kind == "shmem" or s.kind == "anon" and not s.others
    assert (s.frames() == frames) == own


def test_child_protects_a_part_and_the_parent_writes(folio_shape):
    """Who protects splits its own PMD only; the parent's stores stay the parent's."""
    s = folio_shape
    child = s.fork()
    huge, mine = s.smaps(), s.smaps(child)
    child.mprotect(s.addr, s.half * s.page, fs.PROT_READ)
    s.audit()
    assert s.smaps() == huge
    assert s.smaps(child) == (mine if s.half == s.nr else 0)
    s.write(s.process, 0, s.half, 44)
    s.audit()
    assert list(child.read(s.addr, s.length)) == s.bytes[child]
    s.audit()
