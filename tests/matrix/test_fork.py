"""fork and copy on write over every folio shape."""
import pytest


def test_fork_copies_no_page(folio_shape):
    s = folio_shape
    before, events, mapcounts = s.frames(), s.machine.vmstat(), count(s)
    child = s.fork()
    s.audit()
    assert s.frames() == before
    copies = s.kind == "anon" or s.name == "huge_zero_page"
    assert s.frames(child) == (before if copies else [None] * s.nr)
    copied = s.nr if s.kind == "anon" else 0
    assert sum(count(s)) == sum(mapcounts) + copied
    assert s.smaps(child) == (s.smaps() if s.kind == "anon" else 0)
    assert all(folio.maybe_shared for folio in s.folios().values() if s.kind == "anon")
    assert changed(s, events, "thp_split_pmd", "thp_split_page", "cow_bytes") == [0, 0, 0]
    s.exit(child)
    s.audit()
    assert s.frames() == before and count(s) == mapcounts


def test_child_reads_the_same(folio_shape):
    s = folio_shape
    child = s.fork()
    want = s.bytes[child]
    assert list(child.read(s.addr, s.length)) == want
    s.audit()
    if s.kind == "shmem":
        assert s.frames(child) == s.frames()


@pytest.mark.parametrize("first", ["parent", "child"])
def test_cow(folio_shape, first):
    s = folio_shape
    child = s.fork()
    writer, other = (s.process, child) if first == "parent" else (child, s.process)
    before, events, huge = s.frames(), s.machine.vmstat(), s.smaps(writer)
    s.write(writer, 0, 1, 101)
    s.audit()
    check_first_writer(s, writer, other, before, huge, events)
    s.write(other, 0, 1, 202)
    s.audit()
    check_second_writer(s, other, before)
    assert list(writer.read(s.addr, s.length)) == s.bytes[writer]
    assert list(other.read(s.addr, s.length)) == s.bytes[other]
    s.exit(writer)
    s.audit()


def check_first_writer(s, writer, other, before, huge, events):
    after = s.frames(writer)
    if s.kind == "shmem":
        assert after[0] == before[0]
        return
    assert after[0] != before[0]
    assert s.machine.folio(after[0]).mapcount == 1
    if s.kind == "anon":
        assert after[1:] == before[1:] == s.frames(other)[1:]
        assert s.frames(other)[0] == before[0]
        assert s.machine.folio(after[0]).order == 0
        assert s.smaps(writer) == 0 and s.smaps(other) == huge
        assert changed(s, events, "thp_split_pmd", "thp_split_page", "cow_bytes") == [int(huge > 0), 0, s.page]
    elif s.name == "huge_zero_page":
        assert s.smaps(writer) == s.huge >> 10 and s.machine.folio(after[0]).order == s.huge_order
        assert changed(s, events, "thp_fault_alloc") == [1]


def check_second_writer(s, other, before):
    """It keeps a page that is its alone.  From a large folio it copies: the first one still maps other pages of it,
    or one page is all that is left, and the copy frees the rest."""
    alone = s.order == 0
    if s.kind == "anon":
        assert (s.frames(other)[0] == before[0]) == alone
    elif s.kind == "zero":
        assert s.frames(other)[0] != before[0]


def test_cow_of_all_pages(folio_shape):
    s = folio_shape
    child = s.fork()
    before = s.frames()
    s.write(child, 0, s.nr, 50, delta=3)
    s.audit()
    if s.kind == "anon":
        assert s.frames() == before
        assert not set(before) & set(s.frames(child))
    s.write(s.process, 0, s.nr, 60, delta=5)
    s.audit()
    if s.name == "thp_partly_shared":
        s.exit(s.others[0])
    s.exit(child)
    s.audit()
    assert all(folio.mapcount == folio.refcount for folio in s.folios().values() if s.kind == "anon")


def test_left_alone_reuses(folio_shape):
    """Once the child has gone, stores of the parent go into the pages that it has.  But the last page of a large
    folio is copied, so that the folio is freed."""
    s = folio_shape
    s.exit(s.fork())
    while s.others:
        s.exit(s.others[0])
    before, events = s.frames(), s.machine.vmstat()
    s.write(s.process, 0, s.nr, 7)
    s.audit()
    if s.name == "thp_one_page":
        assert s.frames() != before and s.machine.folio(s.frames()[0]).order == 0
        assert changed(s, events, "cow_bytes") == [s.page]
    elif s.kind in ("anon", "shmem"):
        assert s.frames() == before and changed(s, events, "cow_bytes", "thp_split_pmd") == [0, 0]


def count(s):
    return s.machine.kpagecount([frame for frame in s.frames() if not s.is_zero_page(frame)]).tolist()


def changed(s, before, *names):
    after = s.machine.vmstat()
    return [after[name] - before[name] for name in names]
