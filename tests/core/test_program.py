"""What programs have beside mappings: a heap, a stack that grows, locks on all memory, names of areas."""
import pytest

import foliosim as fs
from foliosim._core import binfmt

TOP = 0x7FFFFFFFF000


@pytest.fixture
def process():
    return fs.Machine(memory="256M").spawn()


def test_the_heap_grows_and_shrinks(process):
    assert process.brk(0x10000) == 0
    binfmt.set_brk(process, 0x555555576000)
    assert process.brk(0) == 0x555555576000
    assert process.brk(0x555555597800) == 0x555555597800
    assert process.maps()["end"].tolist() == [0x555555598000]
    assert process.brk(0x555555578000) == 0x555555578000
    assert process.maps()["end"].tolist() == [0x555555578000]
    assert process.brk(0x1000) == 0x555555578000


def test_the_heap_stops_below_what_is_mapped(process):
    binfmt.set_brk(process, 0x100000)
    process.mmap(4096, addr=0x104000, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    assert process.brk(0x104000) == 0x100000
    assert process.brk(0x103000) == 0x103000


def test_the_heap_does_not_merge_with_the_program_below_it(process):
    binfmt.map_bss(process, 0xFE000, 0x2000, False)
    binfmt.set_brk(process, 0x100000)
    process.brk(0x101000)
    process.brk(0x102000)
    assert process.maps()["start"].tolist() == [0xFE000, 0x100000]


def test_a_stack_grows_up_to_its_limit(process):
    binfmt.map_stack(process, TOP - 0x21000, 0x21000, 4096, 8 << 20)
    assert process.counts()["rss_anon"] == 1
    process.touch(TOP - 0x40000, 1, write=True)
    area, = process.smaps()
    assert area["start"] == TOP - 0x40000 and "gd" in area["VmFlags"].split()
    with pytest.raises(fs.SegvError):
        process.touch(TOP - (9 << 20), 1, write=True)
    process.machine.validate()


def test_a_stack_keeps_away_from_what_is_below(process):
    process.mmap(4096, addr=TOP - 0x200000, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    binfmt.map_stack(process, TOP - 0x21000, 0x21000, 4096, 8 << 20)
    process.touch(TOP - 0x200000 + 0x101000, 1, write=True)
    with pytest.raises(fs.SegvError):
        process.touch(TOP - 0x200000 + 0x100000, 1, write=True)


def test_mlockall_locks_what_is_there_and_what_comes(process):
    process.mmap(8192)
    process.mlockall(fs.MCL_CURRENT | fs.MCL_FUTURE)
    process.mmap(4096)
    assert process.counts()["locked_vm"] == 3 and process.counts()["rss_anon"] == 3
    process.munlockall()
    assert process.counts()["locked_vm"] == 0
    with pytest.raises(OSError, match="EINVAL|Invalid"):
        process.mlockall(fs.MCL_ONFAULT)


def test_areas_with_different_names_do_not_merge(process):
    addr = process.mmap(3 * 4096)
    process.name_area(addr + 4096, 4096, 1)
    assert len(process.maps()) == 3
    process.name_area(addr + 4096, 4096, 0)
    assert len(process.maps()) == 1


def test_a_file_opened_for_reading_cannot_become_writable(process):
    file = process.machine.create_file("disk", 8192)
    file.writable = False
    addr = process.mmap(8192, prot=fs.PROT_READ, flags=fs.MAP_SHARED, file=file)
    assert process.smaps()["VmFlags"][0].split() == ["rd", "mr", "me", "ms"]
    with pytest.raises(OSError):
        process.mprotect(addr, 4096, fs.PROT_READ | fs.PROT_WRITE)
    with pytest.raises(OSError):
        process.mmap(8192, flags=fs.MAP_SHARED, file=file)


def test_areas_with_different_protection_keys_do_not_merge(process):
    start = process.mmap(0x4000)
    process.pkey_mprotect(start + 0x1000, 0x1000, fs.PROT_READ | fs.PROT_WRITE, 1)
    assert len(process.maps()) == 3
    process.mprotect(start, 0x4000, fs.PROT_READ)
    assert len(process.maps()) == 3                                       # mprotect keeps them
    process.pkey_mprotect(start, 0x4000, fs.PROT_READ, 0)
    assert len(process.maps()) == 1
    with pytest.raises(fs.SyscallError, match="pkey_mprotect|mprotect"):
        process.pkey_mprotect(start, 0x1000, fs.PROT_READ, 16)


def mergeable(process):
    return ["mg" in str(row["VmFlags"]).split() for row in process.smaps()]


def test_ksm_may_look_at_private_memory_only(process):
    start = process.mmap(0x4000)
    shared = process.mmap(0x1000, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    process.madvise(start + 0x1000, 0x1000, fs.MADV_MERGEABLE)
    process.madvise(shared, 0x1000, fs.MADV_MERGEABLE)
    assert sum(mergeable(process)) == 1 and len(process.maps()) == 4
    process.madvise(start, 0x4000, fs.MADV_UNMERGEABLE)
    assert sum(mergeable(process)) == 0 and len(process.maps()) == 2


def test_a_process_offers_all_its_memory_to_ksm(process):
    binfmt.set_brk(process, 0x100000)
    process.mmap(0x4000)
    process.prctl_memory_merge(1)
    process.mmap(0x1000, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    process.brk(0x101000)
    assert sorted(mergeable(process)) == [False, True, True] == sorted(mergeable(process.fork()))
    process.prctl_memory_merge(0)
    assert not any(mergeable(process))
