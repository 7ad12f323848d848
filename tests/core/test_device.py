"""Device memory: leaves of 1 GiB, 2 MiB and 4 KiB without folios, and what the system calls make of them.

The rules are those of vfio-pci's mappings (VM_PFNMAP | VM_IO) in Linux 6.18; entries as insert_pfn writes them."""
import errno

import numpy as np
import pytest

import foliosim as fs

GIB, MIB = 1 << 30, 1 << 20
BAR = 1 << 40
AT = (1 << 45) + 64 * GIB
SHARED = fs.MAP_SHARED | fs.MAP_FIXED
RW, READ, NONE = fs.PROT_READ | fs.PROT_WRITE, fs.PROT_READ, fs.PROT_NONE
# P, RW, US, PCD, A, special, NX; and PS.
PTE, LEAF = 0x8000000000000237, 0x80000000000002b7
DIRTY, SAVED_DIRTY, ACCESSED = 1 << 6, 1 << 58, 1 << 5
PF = 0x80000000


@pytest.fixture
def machine():
    m = fs.Machine(memory="64M", thp="always")
    yield m
    m.validate()


@pytest.fixture
def bar(machine):
    return machine.create_device(BAR, 8 * GIB)


@pytest.fixture
def process(machine):
    return machine.spawn()


def map_bar(process, bar, length=4 * GIB, addr=AT, prot=RW, offset=0):
    return process.mmap(length, prot=prot, file=bar, flags=SHARED, addr=addr, offset=offset)


def levels(process, *addrs):
    """Of the leaves that map addresses; None: nothing does."""
    walked = process.walk(addrs)
    return [None if error else level for level, error in zip(walked["level"].tolist(), walked["error"].tolist())]


def entry(process, addr):
    """(level, entry) of the leaf that maps an address, or of the empty entry."""
    table, level = process.pgd, 3
    while True:
        value = int(process.machine.table(table)[addr >> 12 + 9 * level & 511])
        if level == 0 or value & 0x81 != 1:
            return level, value
        table, level = value >> 12 & 0xffffffffff, level - 1


def errno_of(call, *args, **keywords):
    with pytest.raises(fs.SyscallError) as caught:
        call(*args, **keywords)
    return caught.value.errno


# ---- faults ----

def test_the_largest_leaf_that_fits(process, bar):
    """As in the mapping that vfio's maintainers counted: small at both ends, large in the middle."""
    a = map_bar(process, bar, addr=AT - 2 * MIB - 8192, length=GIB + 4 * MIB + 16384, offset=GIB - 2 * MIB - 8192)
    process.touch(a, GIB + 4 * MIB + 16384)
    assert levels(process, AT - 2 * MIB - 8192, AT - 2 * MIB, AT, AT + GIB, AT + GIB + 2 * MIB) == [0, 1, 2, 1, 0]
    addrs = np.arange(a, a + GIB + 4 * MIB + 16384, 4096, dtype=np.uint64)
    walked = process.walk(addrs)
    assert (walked["error"] == 0).all()
    assert (walked["pa"] == addrs - np.uint64(AT) + np.uint64(BAR + GIB)).all()
    assert process.translate(AT + 12345) == BAR + GIB + 12345
    counts = process.counts()
    assert (counts["nr_ptes"], counts["nr_pmds"], counts["nr_puds"]) == (2, 2, 1)
    assert counts["rss_anon"] == counts["rss_file"] == counts["rss_shmem"] == 0


def test_entries(process, bar):
    map_bar(process, bar)
    process.touch(AT, 1)
    assert entry(process, AT) == (2, BAR | LEAF)
    process.touch(AT, 1, write=True)
    assert entry(process, AT) == (2, BAR | LEAF | DIRTY)
    process.madvise(AT + GIB, GIB, fs.MADV_NOHUGEPAGE)
    process.touch(AT + GIB + 4096, 1)
    assert entry(process, AT + GIB + 4096) == (0, BAR + GIB + 4096 | PTE)


def test_offsets_that_do_not_fit_the_address(process, bar):
    map_bar(process, bar, offset=2 * MIB)
    process.touch(AT, 1)
    assert levels(process, AT) == [1]
    map_bar(process, bar, offset=4096)
    process.touch(AT, 1)
    assert levels(process, AT) == [0] and process.translate(AT) == BAR + 4096


@pytest.mark.parametrize("thp, advice, level", [
    ("never", fs.MADV_HUGEPAGE, 0), ("madvise", None, 0), ("madvise", fs.MADV_HUGEPAGE, 2), ("always", None, 2),
    ("always", fs.MADV_NOHUGEPAGE, 0)])
def test_sysfs_rules_huge_leaves(thp, advice, level):
    m = fs.Machine(memory="64M", thp=thp)
    process = m.spawn()
    map_bar(process, m.create_device(BAR, 8 * GIB))
    if advice:
        process.madvise(AT, 4 * GIB, advice)
    process.touch(AT, 1)
    assert levels(process, AT) == [level]
    assert process.smaps()["THPeligible"].tolist() == [level > 0]
    m.validate()


def test_a_pud_that_has_a_table_gets_no_leaf(process, bar):
    map_bar(process, bar)
    process.mprotect(AT, 2 * MIB, READ)
    process.touch(AT, 1)
    process.mprotect(AT, 2 * MIB, RW)
    process.touch(AT + 4 * MIB, 1)
    assert levels(process, AT, AT + 4 * MIB) == [1, 1]


def test_rights(process, bar):
    map_bar(process, bar, prot=READ)
    process.touch(AT, 4 * GIB)
    with pytest.raises(fs.SegvError, match="ACCERR"):
        process.touch(AT, 1, write=True)
    assert process.walk([AT], access="write")["error"].tolist() == [PF | 0x7]
    assert process.walk([AT], access="fetch")["error"].tolist() == [PF | 0x15]


def test_it_has_no_content(process, bar):
    map_bar(process, bar)
    for call in (lambda: process.read(AT, 1), lambda: process.write(AT - 4096, 8192, value=1)):
        with pytest.raises(fs.UnsupportedError, match="device memory has no content"):
            call()


# ---- what cuts a leaf ----

def test_munmap_of_a_part_drops_the_whole_leaf(machine, process, bar):
    map_bar(process, bar)
    process.touch(AT, 4 * GIB)
    before = machine.vmstat()
    process.munmap(AT + GIB, 4096)
    assert machine.vmstat()["thp_split_pud"] - before["thp_split_pud"] == 1
    assert levels(process, AT, AT + GIB + 4096, AT + 2 * GIB) == [2, None, 2]
    process.touch(AT + GIB + 4096, GIB - 4096)
    assert levels(process, AT + GIB + 4096, AT + GIB + 2 * MIB) == [0, 1]
    process.munmap(AT + GIB + 2 * MIB + 4096, 4096)
    assert machine.vmstat()["thp_split_pmd"] - before["thp_split_pmd"] == 1
    assert levels(process, AT + GIB + 2 * MIB, AT + GIB + 4 * MIB) == [None, 1]
    machine.validate()
    process.munmap(AT, 4 * GIB)
    assert [process.counts()[name] for name in ("nr_ptes", "nr_pmds", "nr_puds")] == [0, 0, 0]


def test_mprotect_of_whole_leaves(process, bar):
    map_bar(process, bar)
    process.touch(AT, 2 * GIB, write=True)
    process.mprotect(AT, GIB, READ)
    assert entry(process, AT) == (2, BAR | (LEAF & ~2) | SAVED_DIRTY)
    process.mprotect(AT, GIB, NONE)
    hidden = (BAR ^ 0x000fffffc0000000) | 0x3b0 | SAVED_DIRTY     # address inverted; PROT_NONE is bit 8, P is clear
    assert entry(process, AT) == (2, hidden)
    process.machine.validate()
    assert process.walk([AT])["error"].tolist() == [PF | 0x4]
    with pytest.raises(fs.SegvError, match="ACCERR"):
        process.touch(AT, 1)
    process.mprotect(AT, GIB, RW)
    assert entry(process, AT) == (2, BAR | LEAF | DIRTY)


def test_mprotect_of_a_part_drops_the_leaf(machine, process, bar):
    map_bar(process, bar)
    process.touch(AT, GIB, write=True)
    process.mprotect(AT + 2 * MIB, 4096, READ)
    assert entry(process, AT)[1] == 0 and machine.vmstat()["thp_split_pud"] == 1
    process.touch(AT, 2 * MIB + 4096)
    assert levels(process, AT, AT + 2 * MIB) == [1, 0]
    assert process.maps()["perms"].tolist() == ["rw-s", "r--s", "rw-s"]


# ---- other system calls ----

def test_flags_of_the_area(process, bar):
    map_bar(process, bar, offset=GIB)
    area = process.smaps()[0]
    assert area["VmFlags"] == "rd wr sh mr mw me ms pf io de dd ??"
    assert (area["offset"], area["Rss"], area["inode"], area["THPeligible"]) == (GIB, 0, bar.inode, 1)
    process.touch(AT, GIB)
    assert process.smaps()[0]["Rss"] == 0
    assert not process.pagemap(AT, 64 * 4096).any()
    assert process.mincore(AT, 16 * 4096) == bytes(16)


def test_mmap_refuses(process, bar):
    assert errno_of(process.mmap, 4096, file=bar, flags=fs.MAP_PRIVATE) == errno.EINVAL
    assert errno_of(process.mmap, GIB, file=bar, flags=fs.MAP_SHARED, offset=8 * GIB) == errno.EINVAL
    assert errno_of(process.mmap, 8 * GIB + 4096, file=bar, flags=fs.MAP_SHARED) == errno.EINVAL


def test_a_refused_fixed_mapping_leaves_a_gap(process, bar):
    """The device is asked when what was there is gone (vms_abort_munmap_vmas)."""
    process.mmap(3 * 4096, addr=AT, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    assert errno_of(process.mmap, 4096, file=bar, flags=SHARED, addr=AT + 4096, offset=8 * GIB) == errno.EINVAL
    assert process.maps()["start"].tolist() == [AT, AT + 8192]


def test_areas_do_not_merge(process, bar):
    map_bar(process, bar, length=GIB)
    map_bar(process, bar, length=GIB, addr=AT + GIB, offset=GIB)
    assert len(process.maps()) == 2


def test_it_goes_where_pages_fit(process, bar):
    """No alignment is looked for: who wants 1 GiB leaves picks the address."""
    low = process.mmap(4096)
    assert process.mmap(GIB, file=bar, flags=fs.MAP_SHARED) == low - GIB


MADVISE = {
    fs.MADV_DONTNEED: errno.EINVAL, fs.MADV_DONTNEED_LOCKED: errno.EINVAL, fs.MADV_FREE: errno.EINVAL,
    fs.MADV_COLD: errno.EINVAL, fs.MADV_PAGEOUT: errno.EINVAL, fs.MADV_REMOVE: errno.ENODEV,
    fs.MADV_GUARD_INSTALL: errno.EINVAL, fs.MADV_GUARD_REMOVE: errno.EINVAL, fs.MADV_COLLAPSE: errno.EINVAL,
    fs.MADV_POPULATE_READ: errno.EINVAL, fs.MADV_POPULATE_WRITE: errno.EINVAL, fs.MADV_DODUMP: errno.EINVAL,
    fs.MADV_DOFORK: errno.EINVAL, fs.MADV_WIPEONFORK: errno.EINVAL, fs.MADV_WILLNEED: 0, fs.MADV_SEQUENTIAL: 0,
    fs.MADV_DONTFORK: 0, fs.MADV_HUGEPAGE: 0,
}


@pytest.mark.parametrize("advice", MADVISE)
def test_madvise(process, bar, advice):
    map_bar(process, bar)
    process.touch(AT, GIB)
    if MADVISE[advice]:
        assert errno_of(process.madvise, AT, GIB, advice) == MADVISE[advice]
    else:
        process.madvise(AT, GIB, advice)
    assert levels(process, AT) == [2]


def test_references_cannot_be_had(process, bar):
    map_bar(process, bar)
    for size in (GIB, 2 * MIB, 4096):                             # by leaves of each size
        process.mprotect(AT, 2 * size, READ)
        process.mprotect(AT, 2 * size, RW)
        process.touch(AT, size)
        assert errno_of(process.get_user_pages, AT, 4096) == errno.EFAULT
        assert errno_of(process.pin_user_pages, AT, 4096, longterm=True) == errno.EFAULT
        assert errno_of(process.register_buffers, [(AT, 4096)]) == errno.EFAULT
        process.munmap(AT, size)
        map_bar(process, bar, length=size)


def test_it_is_never_locked(process, bar):
    map_bar(process, bar)
    process.mlock(AT, GIB)
    process.mlockall(fs.MCL_CURRENT | fs.MCL_FUTURE)
    process.mmap(GIB, file=bar, flags=fs.MAP_SHARED | fs.MAP_LOCKED | fs.MAP_POPULATE)
    assert process.counts()["locked_vm"] == 0
    assert levels(process, AT) == [None]
    assert not any("lo" in flags.split() for flags in process.smaps()["VmFlags"])


def test_mremap(process, bar):
    map_bar(process, bar)
    process.touch(AT, 4 * GIB)
    assert errno_of(process.mremap, AT, 4 * GIB, 5 * GIB, flags=fs.MREMAP_MAYMOVE) == errno.EFAULT
    to = {"flags": fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, "new_addr": AT + (1 << 40)}
    with pytest.raises(fs.UnsupportedError):
        process.mremap(AT, 4 * GIB, 4 * GIB, **to)
    keep = {**to, "flags": to["flags"] | fs.MREMAP_DONTUNMAP}
    assert errno_of(process.mremap, AT, 4 * GIB, 4 * GIB, **keep) == errno.EINVAL
    assert process.mremap(AT, 4 * GIB, GIB) == AT
    assert levels(process, AT, AT + GIB) == [2, None]


def test_msync_and_the_file(process, bar):
    map_bar(process, bar)
    assert errno_of(process.msync, AT, GIB, fs.MS_SYNC) == errno.EINVAL
    process.msync(AT, GIB, fs.MS_ASYNC)
    assert errno_of(bar.ftruncate, 4096) == errno.EINVAL
    assert errno_of(bar.punch, 0, 4096) == errno.ENODEV
    assert (bar.physical, bar.length, bar.cached_pages) == (BAR, 8 * GIB, 0)


# ---- processes and copies ----

def test_fork_copies_the_leaves(machine, process, bar):
    map_bar(process, bar, length=3 * GIB)
    process.mprotect(AT + GIB, 2 * MIB, READ)
    process.mprotect(AT + GIB, 2 * MIB, RW)                       # a table for the second GiB
    process.madvise(AT + 2 * GIB, GIB, fs.MADV_NOHUGEPAGE)
    for at in (AT, AT + GIB, AT + GIB + 4 * MIB, AT + 2 * GIB):
        process.touch(at, 4096, write=True)
    child = process.fork()
    machine.validate()
    kept = LEAF & ~ACCESSED | DIRTY
    assert entry(child, AT) == (2, BAR | kept)
    assert entry(child, AT + GIB + 4 * MIB)[1] == BAR + GIB + 4 * MIB | kept
    assert entry(child, AT + 2 * GIB) == (0, BAR + 2 * GIB | PTE & ~ACCESSED)      # PTEs of shared memory become clean
    assert entry(process, AT) == (2, BAR | LEAF | DIRTY)
    child.touch(AT, 1, write=True)
    process.exit()
    assert child.translate(AT) == BAR
    child.exit()


def test_dontfork(process, bar):
    map_bar(process, bar)
    process.madvise(AT, 4 * GIB, fs.MADV_DONTFORK)
    assert len(process.fork().maps()) == 0


def test_neighbours_of_a_leaf(machine, process, bar):
    """Anonymous memory whose PMD table hangs in the same PUD table is not disturbed, nor disturbs."""
    map_bar(process, bar, length=GIB)
    for at in (AT - GIB, AT + GIB):
        process.mmap(GIB, addr=at, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED | fs.MAP_NORESERVE)
        process.write(at, 4 * MIB, value=5)
    process.touch(AT, GIB)
    child = process.fork()
    process.munmap(AT - GIB, GIB)
    process.madvise(AT + GIB, GIB, fs.MADV_DONTNEED)
    machine.validate()
    assert levels(process, AT - GIB, AT, AT + GIB) == [None, 2, None]
    assert child.read(AT + GIB, 1) == b"\x05"
    process.touch(AT - 8192 + GIB, 1)
    process.munmap(AT, GIB)
    assert child.translate(AT) == BAR


def test_the_mapping_outlives_the_file(machine, process):
    with machine.create_device(BAR, GIB) as bar:
        map_bar(process, bar, length=GIB)
    process.touch(AT, GIB)
    assert process.translate(AT) == BAR
    process.exit()
    assert machine.processes() == []


def test_copies_of_the_machine(machine, process, bar, tmp_path):
    map_bar(process, bar)
    process.touch(AT, GIB)
    branch = machine.branch()
    assert branch.twin(bar).physical == BAR
    branch.twin(process).munmap(AT, 4096)
    assert levels(process, AT) == [2]
    branch.validate()
    machine.save(tmp_path / "m")
    loaded = fs.Machine.load(tmp_path / "m")
    other = loaded.process(process.pid)
    assert levels(other, AT) == [2]
    other.touch(AT, GIB, write=True)
    loaded.validate()
    assert loaded.files()[0].physical == BAR


def test_metrics(machine, process, bar):
    before = machine.ledger()
    map_bar(process, bar)
    process.touch(AT, 2 * GIB)
    change = machine.ledger() - before
    assert change["faults.minor"] == 2
    assert sum(abs(value) for name, value in change.items() if name.startswith("rss")) == 0


def test_five_levels():
    m = fs.Machine(memory="64M", thp="always", va_bits=57)
    process, at = m.spawn(), 1 << 50
    map_bar(process, m.create_device(BAR, 4 * GIB), addr=at)
    process.touch(at, 4 * GIB)
    assert levels(process, at + 3 * GIB) == [2]
    process.munmap(at, 4096)
    m.validate()


@pytest.mark.parametrize("size, pmd", [("4K", 2 * MIB), ("16K", 32 * MIB), ("64K", 512 * MIB)])
def test_arm64(size, pmd):
    """No leaves of PUDs; device memory type, and the dirty state also where the CPU leaves it to software."""
    for hw_afdbm in (True, False):
        m = fs.Machine(arch="arm64", page_size=size, memory="2G", thp="always", hw_afdbm=hw_afdbm)
        process = m.spawn()
        map_bar(process, m.create_device(BAR, 4 * GIB))
        process.touch(AT, 2 * pmd, write=True)
        process.touch(AT, 2 * pmd)
        assert levels(process, AT, AT + 2 * pmd - 1, AT + 2 * pmd) == [1, 1, None]
        process.munmap(AT + m.page_size, m.page_size)
        process.touch(AT, m.page_size, write=True)
        assert levels(process, AT, AT + m.page_size, AT + pmd) == [0, None, 1]
        process.fork().exit()
        process.mprotect(AT + pmd, pmd, NONE)
        m.validate()


# ---- what cannot be ----

@pytest.mark.parametrize("physical, length, message", [
    (BAR + 1, 4096, "must be a multiple of 0x1000, from 0x4000000"),
    (0, 4096, "must be a multiple of 0x1000, from 0x4000000, where memory ends, to 0x100000000000"),
    (1 << 44, 4096, "to 0x100000000000"),
    (BAR, 0, "device of 0x0 bytes"),
    (BAR, 100, "device of 0x64 bytes: must be a multiple of 0x1000"),
    ((1 << 44) - 4096, 4096, "and end before 0x100000000000"),
])
def test_a_device_that_cannot_be(machine, physical, length, message):
    with pytest.raises(ValueError, match=message):
        machine.create_device(physical, length)
    assert machine.files() == []


def test_soft_dirty_is_not_there():
    with pytest.raises(fs.UnsupportedError, match="soft-dirty"):
        fs.Machine(memory="64M", soft_dirty=True).create_device(BAR, GIB)
    with pytest.raises(ValueError, match="kind 'device'"):
        fs.Machine(memory="64M").create_file("device", 4096)
