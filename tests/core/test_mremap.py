"""mremap and mseal: what moves, what stays, and what is counted."""
import errno

import pytest

import foliosim as fs

A = 0x200000000000
MIB = 1 << 20
PAGE = 4096
FIXED = fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED
ANON = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


@pytest.fixture
def process():
    m = fs.Machine(memory="256M")
    return m.spawn()


def mapped(process, *, low=A, high=A + 64 * MIB):
    process.machine.validate()
    return [(int(area["start"] - A), int(area["end"] - A)) for area in process.maps() if low <= area["start"] < high]


def frames(process, addr, length):
    return [process.translate(at) >> 12 for at in range(addr, addr + length, PAGE)]


def fails(number, process, *args, **keywords):
    with pytest.raises(fs.SyscallError) as info:
        process.mremap(*args, **keywords)
    assert info.value.errno == number
    process.machine.validate()


def test_a_move_keeps_frames_and_contents(process):
    process.mmap(8 * PAGE, addr=A, flags=ANON)
    process.write(A, 8 * PAGE, value=1, delta=1)
    before = frames(process, A, 8 * PAGE)
    assert process.mremap(A, 8 * PAGE, 8 * PAGE, flags=FIXED, new_addr=A + MIB) == A + MIB
    assert frames(process, A + MIB, 8 * PAGE) == before
    assert process.read(A + MIB, 8 * PAGE) == bytes(range(1, 9))
    assert mapped(process) == [(MIB, MIB + 8 * PAGE)]


@pytest.mark.parametrize("shift, split", [(2 * MIB, 0), (2 * MIB + PAGE, 1)])
def test_a_huge_mapping_moves_whole_only_if_aligned(process, shift, split):
    process.mmap(2 * MIB, addr=A, flags=ANON)
    process.madvise(A, 2 * MIB, fs.MADV_HUGEPAGE)
    process.write(A, PAGE, value=7)
    tables = process.counts()["nr_ptes"]
    before = process.machine.counters()
    process.mremap(A, 2 * MIB, 2 * MIB, flags=FIXED, new_addr=A + shift)
    process.machine.validate()
    assert process.machine.counters_since(before)["vmstat"].get("thp_split_pmd", 0) == split
    assert process.counts()["nr_ptes"] == tables + split
    assert process.read(A + shift, PAGE) == b"\7"


def test_several_areas_move_with_their_holes(process):
    for at in (0, 2, 5):
        process.mmap(PAGE, addr=A + at * PAGE, flags=ANON)
    process.mremap(A, 8 * PAGE, 8 * PAGE, flags=FIXED, new_addr=A + MIB)
    assert mapped(process) == [(MIB + at * PAGE, MIB + (at + 1) * PAGE) for at in (0, 2, 5)]
    fails(errno.EFAULT, process, A + MIB + PAGE, 4 * PAGE, 4 * PAGE, flags=FIXED, new_addr=A)


def test_growth_merges_with_the_next_area(process):
    process.mmap(2 * PAGE, addr=A, flags=ANON)
    process.mmap(2 * PAGE, addr=A + 4 * PAGE, flags=ANON)
    fails(errno.ENOMEM, process, A, 2 * PAGE, 6 * PAGE)
    assert process.mremap(A, 2 * PAGE, 4 * PAGE) == A
    assert mapped(process) == [(0, 6 * PAGE)]
    assert process.mremap(A, 6 * PAGE, PAGE) == A
    assert mapped(process) == [(0, PAGE)]


def test_growth_of_locked_memory_is_populated(process):
    process.mmap(2 * PAGE, addr=A, flags=ANON)
    process.mlock(A, 2 * PAGE)
    process.mremap(A, 2 * PAGE, 5 * PAGE)
    process.machine.validate()
    assert process.counts()["locked_vm"] == 5
    assert process.mincore(A, 5 * PAGE) == b"\1" * 5


def test_dontunmap_keeps_the_area_and_the_lock_count(process):
    process.mmap(4 * PAGE, addr=A, flags=ANON)
    process.mlock(A, 4 * PAGE)
    process.mremap(A, PAGE, PAGE, flags=FIXED | fs.MREMAP_DONTUNMAP, new_addr=A + MIB)
    assert mapped(process) == [(0, 4 * PAGE), (MIB, MIB + PAGE)]
    assert process.counts()["locked_vm"] == 5
    assert "lo" not in process.smaps()[0]["VmFlags"].split()
    assert process.mincore(A, 4 * PAGE) == b"\0\1\1\1"


@pytest.mark.parametrize("left", [0, 2])
def test_dontunmap_beside_its_source_moves_once(process, left):
    """Zero pages only: what was moved merges with what stays, and is not met again as part of the range."""
    process.mmap((2 + left) * PAGE, addr=A, flags=ANON)
    process.read(A, 2 * PAGE)
    process.mremap(A, 2 * PAGE, 2 * PAGE, flags=FIXED | fs.MREMAP_DONTUNMAP, new_addr=A + 2 * PAGE)
    assert mapped(process) == [(0, 4 * PAGE)]
    assert process.mincore(A, 4 * PAGE) == b"\0\0\1\1"


def test_old_length_zero_duplicates_shared_memory_only(process):
    process.mmap(2 * PAGE, addr=A, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.write(A, 2 * PAGE, value=3)
    process.mremap(A, 0, 2 * PAGE, flags=FIXED, new_addr=A + MIB)
    assert process.read(A + MIB, 2 * PAGE) == process.read(A, 2 * PAGE) == b"\3\3"
    assert frames(process, A + MIB, 2 * PAGE) == frames(process, A, 2 * PAGE)
    process.mmap(PAGE, addr=A + 2 * MIB, flags=ANON)
    fails(errno.EINVAL, process, A + 2 * MIB, 0, PAGE, flags=FIXED, new_addr=A + 3 * MIB)


def test_a_whole_pud_table_moves(process):
    gib = 1 << 30
    process.mmap(gib, addr=A, flags=ANON | fs.MAP_NORESERVE)
    process.write(A, gib, value=1, stride=gib // 4)
    before = frames(process, A, PAGE)
    tables = process.counts()
    process.mremap(A, gib, gib, flags=FIXED, new_addr=A + 4 * gib)
    process.machine.validate()
    assert frames(process, A + 4 * gib, PAGE) == before
    assert process.counts() == tables


def test_sealed_memory_does_not_move(process):
    process.mmap(4 * PAGE, addr=A, flags=ANON)
    process.mseal(A + PAGE, PAGE)
    fails(errno.EPERM, process, A + PAGE, PAGE, PAGE, flags=FIXED, new_addr=A + MIB)
    process.mseal(A, 4 * PAGE)
    assert mapped(process) == [(0, 4 * PAGE)]
    with pytest.raises(fs.SyscallError) as info:
        process.mseal(A, 5 * PAGE)
    assert info.value.errno == errno.ENOMEM


def test_a_fault_beyond_the_end_of_shared_memory_makes_no_table(process):
    process.mmap(PAGE, addr=A, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.mremap(A, PAGE, 2 * PAGE)
    with pytest.raises(fs.BusError):
        process.read(A + PAGE, PAGE)
    process.machine.validate()
    assert process.counts()["nr_ptes"] == 0
