"""Files: page caches, faults in them, truncation and holes, write-back."""
import pytest

import foliosim as fs

PAGE, MIB = 4096, 1 << 20
SHARED, PRIVATE, FIXED = fs.MAP_SHARED, fs.MAP_PRIVATE, fs.MAP_FIXED
BASE = 0x200000000000
KINDS = ("memfd", "tmpfs", "disk")


def machine(**keywords):
    return fs.Machine(memory="256M", **keywords)


def mapped(m, file, length, *, flags=SHARED, prot=fs.PROT_READ | fs.PROT_WRITE, addr=BASE, offset=0):
    p = m.spawn()
    p.mmap(length, prot=prot, flags=flags | FIXED, addr=addr, file=file, offset=offset)
    m.validate()
    return p


def flags_at(p, m, addr):
    pfn = int(p.pagemap(addr, PAGE)[0]) & fs.PM_PFRAME_MASK
    return int(m.kpageflags([pfn])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_what_was_written(kind):
    m = machine()
    f = m.create_file(kind, 3 * PAGE + 10, fill=7)
    p = mapped(m, f, 4 * PAGE)
    assert p.read(BASE, 4 * PAGE) == bytes([7, 8, 9, 10])
    assert p.read(BASE + 3 * PAGE + 9, 2, stride=1) == bytes([10, 0])
    m.validate()
    assert f.cached_pages == 4 and f.length == 3 * PAGE + 10


@pytest.mark.parametrize("fill", [None, 1])
@pytest.mark.parametrize("kind, most", [("memfd", 2**63 - 1), ("disk", 2**44 - 4096)])
def test_a_file_cannot_be_larger_than_its_file_system_allows(kind, most, fill):
    m = machine()
    with pytest.raises(OSError, match=f"{most + 1:#x}.*EFBIG"):
        m.create_file(kind, most + 1, fill=fill)
    assert m.create_file(kind, most).length == most
    m.validate()


def test_a_file_cannot_grow_beyond_what_its_file_system_allows():
    m = machine()
    file = m.create_file("disk", 0)
    with pytest.raises(OSError, match="EFBIG"):
        file.ftruncate(2**44 - 4095)
    assert file.length == 0
    m.validate()


@pytest.mark.parametrize("kind", KINDS)
def test_shared_stores_reach_the_file_and_private_ones_do_not(kind):
    m = machine()
    f = m.create_file(kind, 4 * PAGE, fill=1)
    p, q = mapped(m, f, 4 * PAGE), mapped(m, f, 4 * PAGE, flags=PRIVATE)
    q.write(BASE, PAGE, value=50)
    p.write(BASE, 2 * PAGE, value=60)
    m.validate()
    assert p.read(BASE, 4 * PAGE) == bytes([60, 60, 3, 4])
    assert q.read(BASE, 4 * PAGE) == bytes([50, 60, 3, 4])
    m.validate()


def test_fault_around_maps_sixteen_aligned_pages():
    m = machine()
    p = mapped(m, m.create_file("disk", 64 * PAGE, fill=0), 64 * PAGE)
    p.read(BASE + 20 * PAGE, PAGE)
    present = [i for i, word in enumerate(p.pagemap(BASE, 64 * PAGE)) if int(word) & fs.PM_PRESENT]
    assert present == list(range(16, 32))
    m.validate()


@pytest.mark.parametrize("kind", KINDS)
def test_behind_the_end_is_a_bus_error(kind):
    m = machine()
    f = m.create_file(kind, 2 * PAGE + 1, fill=0)
    p = mapped(m, f, 8 * PAGE)
    with pytest.raises(fs.BusError) as caught:
        p.read(BASE, 8 * PAGE)
    assert caught.value.addr == BASE + 3 * PAGE
    f.ftruncate(PAGE)
    m.validate()
    with pytest.raises(fs.BusError) as caught:
        p.write(BASE, 8 * PAGE, value=1)
    assert caught.value.addr == BASE + PAGE
    m.validate()


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_takes_private_copies_and_a_hole_does_not(kind):
    m = machine()
    f = m.create_file(kind, 8 * PAGE, fill=1)
    p = mapped(m, f, 8 * PAGE, flags=PRIVATE)
    p.write(BASE + 2 * PAGE, PAGE, value=99)
    f.punch(0, 8 * PAGE)
    m.validate()
    assert p.read(BASE, 8 * PAGE) == bytes([0, 0, 99, 0, 0, 0, 0, 0])
    f.ftruncate(PAGE)
    f.ftruncate(8 * PAGE)
    m.validate()
    assert p.read(BASE, 8 * PAGE) == bytes(8)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_pages_are_zeroed(kind):
    m = machine()
    f = m.create_file(kind, 4 * PAGE, fill=1)
    p = mapped(m, f, 4 * PAGE)
    f.punch(PAGE + 100, 2 * PAGE)
    m.validate()
    assert p.read(BASE + PAGE + 99, 2, stride=1) == bytes([2, 0])
    assert p.read(BASE + 3 * PAGE + 99, 2, stride=1) == bytes([0, 4])
    f.ftruncate(PAGE + 10)
    f.ftruncate(4 * PAGE)
    m.validate()
    assert p.read(BASE + PAGE + 9, 2, stride=1) == bytes([2, 0])


def test_a_hole_in_a_huge_folio_splits_twice():
    """At the hole's start, and then the piece that holds the page just behind the hole."""
    m = machine(shmem_enabled="always")
    p = mapped(m, m.create_file("memfd", 2 * MIB), 2 * MIB)
    p.write(BASE, PAGE, value=1)
    before = m.counters()
    p.madvise(BASE + 5 * PAGE, 3 * PAGE, fs.MADV_REMOVE)
    m.validate()
    stats = m.counters_since(before)["mthp_stats"]
    assert stats == {"32kB": {"split": 1}, "2048kB": {"split": 1}}
    assert p.mincore(BASE, 9 * PAGE) == bytes([1] * 5 + [0] * 3 + [1])


def test_a_split_drops_what_lies_behind_the_end():
    m = machine(shmem_enabled="always")
    f = m.create_file("memfd", 4 * PAGE, fill=1)
    assert f.cached_pages == 512
    f.punch(PAGE, 8 * PAGE)
    m.validate()
    assert f.cached_pages == 1


def test_a_reference_keeps_the_huge_folio_whole():
    m = machine(shmem_enabled="always")
    f = m.create_file("memfd", 2 * MIB)
    p = mapped(m, f, 2 * MIB)
    p.write(BASE, 20 * PAGE, value=5)
    with p.get_user_pages(BASE, PAGE):
        f.punch(5 * PAGE, 3 * PAGE)
        m.validate()
        assert f.cached_pages == 512
    assert p.read(BASE + 4 * PAGE, 5 * PAGE) == bytes([5, 0, 0, 0, 5])
    m.validate()


def test_write_back_makes_pages_clean_and_read_only():
    m = machine()
    f = m.create_file("disk", 4 * PAGE, fill=0)
    p = mapped(m, f, 4 * PAGE)
    p.write(BASE, 2 * PAGE, value=1)
    assert flags_at(p, m, BASE) & fs.KPF_DIRTY
    p.msync(BASE, PAGE, fs.MS_SYNC)
    m.validate()
    assert not flags_at(p, m, BASE) & fs.KPF_DIRTY and flags_at(p, m, BASE + PAGE) & fs.KPF_DIRTY
    assert p.walk([BASE], access="write")["error"][0] and not p.walk([BASE + PAGE], access="write")["error"][0]
    p.write(BASE, PAGE, value=2)
    m.validate()
    assert flags_at(p, m, BASE) & fs.KPF_DIRTY


def test_msync_errors():
    m = machine()
    p = mapped(m, m.create_file("memfd", 4 * PAGE), 4 * PAGE)
    for addr, flags, errno in ((BASE + 1, fs.MS_SYNC, "EINVAL"), (BASE, fs.MS_SYNC | fs.MS_ASYNC, "EINVAL"),
                               (BASE - PAGE, fs.MS_ASYNC, "ENOMEM"), (BASE, 8, "EINVAL")):
        with pytest.raises(fs.SyscallError, match=errno):
            p.msync(addr, 4 * PAGE, flags)
    p.mlock(BASE, PAGE)
    with pytest.raises(fs.SyscallError, match="EBUSY"):
        p.msync(BASE, PAGE, fs.MS_INVALIDATE)
    m.validate()


def test_long_term_writers_of_disk_files_are_refused():
    m = machine()
    for kind, allowed in (("memfd", True), ("disk", False)):
        p = mapped(m, m.create_file(kind, 4 * PAGE, fill=0), 4 * PAGE)
        p.write(BASE, PAGE, value=1)
        if allowed:
            p.pin_user_pages(BASE, PAGE, longterm=True, write=True).release()
        else:
            with pytest.raises(fs.SyscallError, match="EFAULT"):
                p.pin_user_pages(BASE, PAGE, longterm=True, write=True)
        p.pin_user_pages(BASE, PAGE, write=True).release()
        m.validate()


def test_reclaimed_pages_come_back_from_the_disk_active():
    m = machine()
    f = m.create_file("disk", 4 * PAGE, fill=1)
    p = mapped(m, f, 4 * PAGE)
    p.read(BASE, 4 * PAGE)
    p.madvise(BASE, 4 * PAGE, fs.MADV_PAGEOUT)
    m.validate()
    assert f.cached_pages == 0 and p.mincore(BASE, 4 * PAGE) == bytes(4)
    assert p.read(BASE, 4 * PAGE) == bytes([1, 2, 3, 4])
    assert flags_at(p, m, BASE) & fs.KPF_ACTIVE
    m.validate()


@pytest.mark.parametrize("advice, cached", [(fs.MADV_NORMAL, 300), (fs.MADV_RANDOM, 1), (fs.MADV_SEQUENTIAL, 150)])
def test_a_hole_on_disk_is_read_as_advised(advice, cached):
    m = machine()
    f = m.create_file("disk", 300 * PAGE, fill=0)
    f.punch(0, 300 * PAGE)
    p = mapped(m, f, 300 * PAGE)
    p.madvise(BASE, 300 * PAGE, advice)
    p.read(BASE + 150 * PAGE, PAGE)
    m.validate()
    assert f.cached_pages == cached


def test_a_child_finds_shared_pages_in_the_page_cache():
    m = machine()
    p = mapped(m, m.create_file("tmpfs", 4 * PAGE, fill=1), 4 * PAGE)
    p.write(BASE, PAGE, value=77)
    child = p.fork()
    m.validate()
    assert not child.pagemap(BASE, 4 * PAGE).any()
    child.write(BASE + PAGE, PAGE, value=78)
    assert p.read(BASE, 2 * PAGE) == bytes([77, 78])
    m.validate()


def test_life_of_a_file():
    m = machine()
    free = m.vmstat()["nr_free_pages"]
    with m.create_file("memfd", 100 * PAGE, fill=0) as f:
        p = mapped(m, f, 100 * PAGE)
    with pytest.raises(ValueError, match="closed"):
        f.ftruncate(0)
    assert p.read(BASE, 2 * PAGE) == bytes([0, 1])
    p.exit()
    m.validate()
    assert m.vmstat()["nr_free_pages"] >= free - 1024
    with pytest.raises(ValueError, match="kind"):
        m.create_file("pipe", PAGE)
    with pytest.raises(ValueError, match="another machine"):
        machine().spawn().mmap(PAGE, flags=SHARED, file=m.create_file("memfd", PAGE))
    with pytest.raises(fs.SyscallError, match="EBADF"):
        m.spawn().mmap(PAGE, flags=SHARED)
    with pytest.raises(fs.SyscallError, match="EINVAL"):
        m.create_file("disk", PAGE).punch(0, 0)


@pytest.mark.parametrize("length", [2 * PAGE, 16 << 20])
@pytest.mark.parametrize("fill", ["a", 1.5, [0]])
def test_a_fill_that_is_no_number_leaves_the_machine_usable(length, fill):
    """It was looked at in the middle of the operation: the machine believed itself busy ever after."""
    m = machine()
    with pytest.raises(TypeError):
        m.create_file("disk", length, fill=fill)
    assert m.files() == [] and m.create_file("disk", length, fill=-1).length == length
    m.validate()
