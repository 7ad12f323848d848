"""Swap entries in page tables: what each system call makes of them, and what /proc shows."""
import pytest

import foliosim as fs
from foliosim.procfs.status import status_memory

PAGE, HUGE = 4096, 2 << 20
RW = fs.PROT_READ | fs.PROT_WRITE


@pytest.fixture
def machine():
    machine = fs.Machine(memory="64M", swap="8M", soft_dirty=True)
    yield machine
    for process in machine.processes():
        process.exit()
    machine.validate()
    assert machine.swap_usage() == (0, 2048)


def out(process, addr, length):
    """Swap a range out."""
    process.madvise(addr, length, fs.MADV_PAGEOUT)
    process.machine.validate()


def swapped(process, addr, pages=16):
    return [bool(word & fs.PM_SWAP) for word in process.pagemap(addr, pages * PAGE).tolist()]


@pytest.fixture
def process(machine):
    return machine.spawn()


@pytest.fixture
def addr(process):
    """Sixteen pages, all in swap."""
    addr = process.mmap(16 * PAGE)
    process.write(addr, 16 * PAGE, value=1, delta=1)
    out(process, addr, 16 * PAGE)
    assert all(swapped(process, addr))
    return addr


def slots(process, addr, pages=16):
    return [(word & fs.PM_PFRAME_MASK) >> 5 for word in process.pagemap(addr, pages * PAGE).tolist()]


class TestProc:
    def test_pagemap_smaps_status_mincore(self, machine, process, addr):
        words = process.pagemap(addr, 16 * PAGE).tolist()
        assert {word >> 56 for word in words} == {0x40} and slots(process, addr) == list(range(1, 17))
        area = process.smaps()[0]
        assert (area["Swap"], area["SwapPss"], area["Rss"]) == (64, 64, 0)
        assert "VmSwap:\t      64 kB" in status_memory(process) and process.counts()["rss_anon"] == 0
        assert process.mincore(addr, 16 * PAGE) == bytes(16)
        child = process.fork()
        assert [int(p.smaps()[0]["SwapPss"]) for p in (process, child)] == [32, 32]
        assert machine.swap_usage()[0] == 16

    def test_an_entry(self, machine, process, addr):
        """The encoding of x86-64: offset inverted in bits 58:9, exclusive in bit 3, soft-dirty in bit 1."""
        table = machine.table(table_of(process, addr))
        entry = int(table[(addr >> 12) & 511])
        assert entry == 0x07fffffffffffc0a                      # slot 1

    def test_vmstat(self, machine, process, addr):
        process.read(addr, 16 * PAGE)
        counters = machine.vmstat()
        assert (counters["pswpout"], counters["pswpin"], counters["pgmajfault"]) == (16, 16, 16)
        assert (counters["swpout_zero"], counters["swpin_zero"]) == (0, 0)

    def test_zeros_are_not_written(self, machine, process):
        addr = process.mmap(4 * PAGE)
        process.write(addr, 4 * PAGE, value=0)
        out(process, addr, 4 * PAGE)
        assert process.read(addr, 4 * PAGE) == bytes(4)
        counters = machine.vmstat()
        assert (counters["pswpout"], counters["swpout_zero"], counters["swpin_zero"]) == (0, 4, 4)


def table_of(process, addr):
    """Frame of the PTE table."""
    machine, table = process.machine, process.pgd
    for shift in (39, 30, 21):
        table = (int(machine.table(table)[(addr >> shift) & 511]) & 0xffffffffff000) >> 12
    return table


class TestFaults:
    def test_a_read_gives_an_exclusive_clean_page(self, machine, process, addr):
        assert process.read(addr, 2 * PAGE) == b"\1\2"
        assert machine.swap_usage()[0] == 14
        folio = machine.folio(process.translate(addr) >> 12)
        assert folio.anon_exclusive and folio.order == 0 and folio.refcount == 1
        process.write(addr, PAGE, value=9)
        assert machine.vmstat()["pgreuse"] == 0                 # it was writable already
        assert process.read(addr, 2 * PAGE) == b"\x09\2"

    def test_all_bytes_come_back(self, machine, process, addr):
        for offset in (0, 1, 77, 4095):
            process.write(addr, PAGE, value=offset % 251 + 1, offset=offset)
        out(process, addr, PAGE)
        assert swapped(process, addr, 1) == [True]
        assert machine.peek_swap(slots(process, addr, 1)[0], 77) == 78
        assert [process.read(addr, PAGE, offset=offset)[0] for offset in (0, 1, 2, 77, 4095)] == [1, 2, 0, 78, 80]

    def test_shared_by_fork(self, machine, process, addr):
        """The first to read puts the page into the swap cache, where the other finds it: one page for both."""
        child = process.fork()
        assert (process.read(addr, PAGE), child.read(addr, PAGE)) == (b"\1", b"\1")
        machine.validate()
        assert process.translate(addr) == child.translate(addr)
        assert not machine.folio(process.translate(addr) >> 12).anon_exclusive
        child.write(addr, PAGE, value=7)
        machine.validate()
        assert (process.read(addr, PAGE), child.read(addr, PAGE)) == (b"\1", b"\7")
        process.write(addr, PAGE, value=8)                      # alone again: no copy
        assert machine.vmstat()["cow_bytes"] == PAGE
        machine.validate()

    def test_a_reference_keeps_the_page(self, machine, process):
        addr = process.mmap(PAGE)
        process.write(addr, PAGE, value=5)
        with process.get_user_pages(addr, PAGE) as reference:
            out(process, addr, PAGE)
            frame = reference.page_frames[0]
            assert swapped(process, addr, 1) == [True] and machine.folio(frame).mapcount == 0
            process.write(addr, PAGE, value=6)
            machine.validate()
            assert process.translate(addr) >> 12 == frame and reference.peek() == b"\6"

    def test_a_pin_refuses(self, machine, process):
        addr = process.mmap(PAGE)
        process.write(addr, PAGE, value=5)
        with process.pin_user_pages(addr, PAGE, longterm=True, write=True):
            out(process, addr, PAGE)
            assert swapped(process, addr, 1) == [False]


class TestCalls:
    def test_munmap_and_dontneed_free_slots(self, machine, process, addr):
        process.munmap(addr, 4 * PAGE)
        process.madvise(addr + 4 * PAGE, 4 * PAGE, fs.MADV_DONTNEED)
        machine.validate()
        assert machine.swap_usage()[0] == 8
        assert process.read(addr + 4 * PAGE, 5 * PAGE) == bytes(4) + b"\x09"

    def test_free_drops_what_is_in_swap(self, machine, process, addr):
        process.madvise(addr, 16 * PAGE, fs.MADV_FREE)
        machine.validate()
        assert machine.swap_usage()[0] == 0 and process.read(addr, 16 * PAGE) == bytes(16)

    def test_exit_of_one_of_two(self, machine, process, addr):
        child = process.fork()
        child.exit()
        machine.validate()
        assert machine.swap_usage()[0] == 16

    def test_mprotect(self, machine, process, addr):
        process.mprotect(addr, 16 * PAGE, fs.PROT_NONE)
        assert all(swapped(process, addr))
        with pytest.raises(fs.SegvError):
            process.read(addr, PAGE)
        process.mprotect(addr, 16 * PAGE, fs.PROT_READ)
        assert process.read(addr, 16 * PAGE) == bytes(range(1, 17))
        with pytest.raises(fs.SegvError):
            process.write(addr, PAGE, value=1)
        machine.validate()

    @pytest.mark.parametrize("shift", [0, 5])
    def test_mremap(self, machine, process, addr, shift):
        new = process.mmap(64 * PAGE) + shift * PAGE
        process.mremap(addr, 16 * PAGE, 16 * PAGE, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, new_addr=new)
        machine.validate()
        assert process.read(new, 16 * PAGE) == bytes(range(1, 17))

    def test_mlock_brings_it_in(self, machine, process, addr):
        process.mlock(addr, 16 * PAGE)
        machine.validate()
        assert not any(swapped(process, addr)) and machine.swap_usage()[0] == 0

    def test_guard_regions_replace_it(self, machine, process, addr):
        process.madvise(addr, 2 * PAGE, fs.MADV_GUARD_INSTALL)
        machine.validate()
        assert machine.swap_usage()[0] == 14
        with pytest.raises(fs.SegvError):
            process.read(addr, PAGE)

    def test_clear_refs_clears_soft_dirty(self, machine, process, addr):
        assert process.read(addr, PAGE) == b"\1"
        process.clear_refs(4)
        words = process.pagemap(addr, 2 * PAGE).tolist()
        assert not any(word & fs.PM_SOFT_DIRTY for word in words)

    def test_collapse_swaps_in(self, machine, process):
        area = process.mmap(2 * HUGE)
        addr = (area + HUGE - 1) & ~(HUGE - 1)
        process.write(addr, 20 * PAGE, value=1, delta=1)
        out(process, addr, 10 * PAGE)
        process.madvise(addr, HUGE, fs.MADV_COLLAPSE)
        machine.validate()
        assert machine.folio(process.translate(addr) >> 12).order == 9
        assert process.read(addr, 21 * PAGE) == bytes(range(1, 21)) + b"\0"


def test_a_full_device(machine):
    """What finds no slot stays, and is active."""
    process = machine.spawn()
    addr = process.mmap(16 << 20)
    process.write(addr, 16 << 20, value=1, delta=1)
    out(process, addr, 16 << 20)
    assert machine.swap_usage() == (2048, 2048)
    assert process.read(addr, 16 << 20) == bytes((1 + i) % 256 for i in range(4096))
    machine.validate()


@pytest.mark.parametrize("kind, field", [("slot", "count"), ("mm", "swapents")])
def test_validation_finds_damage(machine, process, addr, kind, field):
    number = slots(process, addr)[0] if kind == "slot" else process.pid
    machine.corrupt(kind, number, field, 1)
    assert (f"{kind} {number}", field) in [(name, what) for name, what, *_ in machine.differences()]
    machine.corrupt(kind, number, field, -1)
