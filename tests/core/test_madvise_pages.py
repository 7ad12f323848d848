"""MADV_FREE, COLD and PAGEOUT, guard regions, and the frames that a step hands out again."""
import pytest

import foliosim as fs

A = 0x200000000000
PAGE, HUGE = 4096, 1 << 21
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
EVENTS = ("pgdeactivate", "pglazyfree", "pglazyfreed", "thp_split_page", "thp_split_page_failed", "thp_split_pmd",
          "thp_deferred_split_page")


@pytest.fixture
def machine():
    return fs.Machine(memory="256M")


def small(machine, pages):
    p = machine.spawn()
    p.mmap(pages * PAGE, addr=A, flags=FIXED)
    p.write(A, pages * PAGE, value=1)
    return p


def huge(machine):
    p = machine.spawn()
    p.mmap(HUGE, addr=A, flags=FIXED)
    p.madvise(A, HUGE, fs.MADV_HUGEPAGE)
    p.write(A, HUGE, value=1)
    return p


def frame(process, page=0):
    return process.translate(A + page * PAGE) >> 12


def names(machine, process, page=0):
    return set(machine.folio(frame(process, page)).flag_names)


def advise(machine, process, page, pages, advice):
    """The events that the call counted."""
    before = machine.vmstat()
    process.madvise(A + page * PAGE, pages * PAGE, advice)
    machine.validate()
    after = machine.vmstat()
    return {name: after[name] - before[name] for name in EVENTS if after[name] != before[name]}


def test_free_marks_a_whole_huge_folio(machine):
    p = huge(machine)
    assert advise(machine, p, 0, 512, fs.MADV_FREE) == {"pglazyfree": 512}
    assert "swapbacked" not in names(machine, p)
    assert p.smaps()["LazyFree"][0] == 2048


def test_free_of_a_part_splits(machine):
    p = huge(machine)
    events = advise(machine, p, 0, 16, fs.MADV_FREE)
    assert events == {"pglazyfree": 16, "thp_split_page": 1, "thp_split_pmd": 1}
    assert machine.folio(frame(p)).order == 0


def test_a_reference_prevents_the_split(machine):
    p = huge(machine)
    p.get_user_pages(A, PAGE)
    assert advise(machine, p, 0, 16, fs.MADV_FREE) == {"thp_split_page_failed": 1}
    assert machine.folio(frame(p)).order == 9


@pytest.mark.parametrize("advice", [fs.MADV_FREE, fs.MADV_COLD, fs.MADV_PAGEOUT])
def test_shared_huge_folios_are_left(machine, advice):
    p = huge(machine)
    p.fork()
    assert advise(machine, p, 0, 16, advice) == {}
    assert advise(machine, p, 0, 512, advice) == {}


def test_cold_deactivates(machine):
    p = small(machine, 40)
    p.madvise(A, 40 * PAGE, fs.MADV_POPULATE_WRITE)
    p.madvise(A, 40 * PAGE, fs.MADV_POPULATE_WRITE)
    assert "active" in names(machine, p)
    assert advise(machine, p, 0, 40, fs.MADV_COLD) == {"pgdeactivate": 40}
    assert not {"active", "referenced"} & names(machine, p)
    assert p.smaps()["Referenced"][0] == 0


def test_pageout_without_swap_activates_and_splits(machine):
    p = huge(machine)
    assert advise(machine, p, 0, 512, fs.MADV_PAGEOUT) == {"thp_split_page": 1, "thp_split_pmd": 1}
    assert {"active", "dirty"} <= names(machine, p, 511)
    assert p.smaps()["Rss"][0] == 2048


def test_pageout_drops_lazily_freed_pages(machine):
    p = huge(machine)
    p.madvise(A, HUGE, fs.MADV_FREE)
    assert advise(machine, p, 0, 512, fs.MADV_PAGEOUT) == {"pglazyfreed": 512, "thp_split_pmd": 1}
    assert p.smaps()["Rss"][0] == 0


def test_pageout_rescues_what_was_written_again(machine):
    p = small(machine, 8)
    p.madvise(A, 8 * PAGE, fs.MADV_FREE)
    p.write(A + PAGE, PAGE, value=2)
    assert advise(machine, p, 0, 8, fs.MADV_PAGEOUT) == {"pglazyfreed": 7}
    assert {"swapbacked", "dirty", "active"} <= names(machine, p, 1)
    assert list(p.read(A, 3 * PAGE)) == [0, 2, 0]


def test_pageout_of_shared_memory_unmaps_it(machine):
    p = machine.spawn()
    p.mmap(8 * PAGE, addr=A, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.write(A, 4 * PAGE, value=3)
    p.read(A + 4 * PAGE, 4 * PAGE)
    advise(machine, p, 0, 8, fs.MADV_PAGEOUT)
    assert p.smaps()["Rss"][0] == 0
    assert list(p.mincore(A, 8 * PAGE)) == [1, 1, 1, 1, 0, 0, 0, 0]
    assert list(p.read(A, 8 * PAGE)) == [3, 3, 3, 3, 0, 0, 0, 0]


def test_guard_regions_refuse_everything_until_removed(machine):
    p = small(machine, 8)
    advise(machine, p, 2, 2, fs.MADV_GUARD_INSTALL)
    for advice in (fs.MADV_DONTNEED, fs.MADV_FREE, fs.MADV_COLD, fs.MADV_PAGEOUT):
        advise(machine, p, 0, 8, advice)
    with pytest.raises(fs.SegvError) as error:
        p.read(A, 8 * PAGE)
    assert error.value.addr == A + 2 * PAGE
    with pytest.raises(fs.SyscallError):
        p.madvise(A, 8 * PAGE, fs.MADV_POPULATE_READ)
    child = p.fork()
    with pytest.raises(fs.SegvError):
        child.write(A + 3 * PAGE, PAGE, value=1)
    machine.validate()
    advise(machine, p, 0, 8, fs.MADV_GUARD_REMOVE)
    assert list(p.read(A + 2 * PAGE, PAGE)) == [0]
    assert "gu" in str(p.smaps()["VmFlags"][0]).split()


def test_guard_install_zaps_huge_mappings_and_makes_tables(machine):
    p = huge(machine)
    events = advise(machine, p, 4, 4, fs.MADV_GUARD_INSTALL)
    assert events == {"thp_split_pmd": 1, "thp_deferred_split_page": 1}
    advise(machine, p, 0, 512, fs.MADV_GUARD_INSTALL)
    assert p.smaps()["Rss"][0] == 0
    p.munmap(A, HUGE)
    machine.validate()


@pytest.mark.parametrize("pages", [1, 4, 5, 64, 511])
def test_memory_mapped_over_memory_gets_its_frames_in_reverse(machine, pages):
    p = small(machine, pages)
    before = [frame(p, i) for i in range(pages)]
    p.mmap(pages * PAGE, addr=A, flags=FIXED | fs.MAP_POPULATE)
    machine.validate()
    assert [frame(p, i) for i in range(pages)] == before[::-1]


def test_fork_copies_the_dirtiness_of_each_entry(machine):
    p = huge(machine)
    p.mprotect(A, PAGE, fs.PROT_READ)
    p.mprotect(A, PAGE, fs.PROT_READ | fs.PROT_WRITE)
    p.madvise(A, HUGE, fs.MADV_FREE)
    p.write(A + 4 * PAGE, 8 * PAGE, value=5)
    child = p.fork()
    machine.validate()
    assert child.smaps()["LazyFree"][0] == 2048 - 32
