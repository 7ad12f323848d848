"""Entries of an x86-64 machine, bit for bit: the worked examples of states and what Linux 6.18 writes for them."""
import pytest

import foliosim as fs

PAGE, HUGE = 4096, 2 << 20
PFN, HUGE_PFN, ZERO_PFN = 0x12345, 0x40000, 0x2a00  # of the examples
R, W, X = fs.PROT_READ, fs.PROT_WRITE, fs.PROT_EXEC


def mapped(length=PAGE, *, machine=None, **keywords):
    """A process and an address that is aligned to 2 MiB."""
    process = (machine or fs.Machine(memory="64M", thp="madvise", soft_dirty=True)).spawn()
    area = process.mmap(length + HUGE, **keywords)
    addr = -(-area // HUGE) * HUGE
    if length == HUGE:
        process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    return process, addr


def written(length=PAGE, **keywords):
    process, addr = mapped(length, **keywords)
    process.touch(addr, length, write=True)
    return process, addr


def entries(process, addr):
    """The entries that lead to an address, the root's first."""
    out, frame = [], process.pgd
    for shift in (39, 30, 21, 12):
        out.append(int(process.machine.table(frame)[addr >> shift & 511]))
        if not out[-1] & 1 or out[-1] & 0x80:
            break
        frame = out[-1] >> 12 & 0xffffffffff
    return out


def entry(process, addr, frame, was=PFN):
    """The last of them with another frame number, as an example has it; inverted or not."""
    return entries(process, addr)[-1] ^ frame << 12 ^ was << 12


def frame_of(process, addr):
    return process.translate(addr) >> 12


def test_written_anonymous_memory():
    p, a = written()
    assert entry(p, a, frame_of(p, a)) == 0x8000000012345867


def test_the_zero_page():
    p, a = mapped()
    p.touch(a, PAGE)
    assert entry(p, a, frame_of(p, a), ZERO_PFN) == 0x8000000002a00225


def test_tables():
    p, a = written()
    assert [one & 0x800ffff000000fff for one in entries(p, a)[:-1]] == [0x67] * 3


def test_the_huge_zero_page():
    p, a = mapped(HUGE)
    p.touch(a, PAGE)
    assert entry(p, a, frame_of(p, a), HUGE_PFN) == 0x80000000400002a5


def test_fork():
    p, a = written()
    child, frame = p.fork(), frame_of(p, a)
    assert entry(p, a, frame) == 0x8400000012345825
    assert entry(child, a, frame) == 0x8400000012345805


def test_clear_refs():
    p, a = written()
    p.clear_refs(4)
    assert entry(p, a, frame_of(p, a)) == 0x8400000012345025


def test_protection():
    p, a = written()
    frame = frame_of(p, a)
    p.mprotect(a, PAGE, R)
    assert entry(p, a, frame) == 0x8400000012345825
    p.mprotect(a, PAGE, R | W)
    assert entry(p, a, frame) == 0x8000000012345867
    p.mprotect(a, PAGE, fs.PROT_NONE)
    assert entry(p, a, frame) == 0x040fffffedcba920


def test_a_huge_page():
    p, a = written(HUGE)
    frame = frame_of(p, a)
    assert entry(p, a, frame, HUGE_PFN) == 0x80000000400008e7
    p.mprotect(a, HUGE, R)
    assert entry(p, a, frame, HUGE_PFN) == 0x84000000400008a5
    p.mprotect(a, HUGE, fs.PROT_NONE)
    assert entry(p, a, frame, HUGE_PFN) == 0x040fffffbfe009a0


def test_fork_of_a_huge_page():
    p, a = written(HUGE)
    p.fork()
    assert entry(p, a, frame_of(p, a), HUGE_PFN) == 0x84000000400008a5


def swap_entry(offset, kind=0):
    """The offset is kept complemented, so that no address of real memory is in the entry."""
    return (~offset << 14 & (1 << 64) - 1) >> 5 | kind << 59


def test_swap():
    assert swap_entry(0x1234) == 0x07ffffffffdb9600
    p, a = written(machine=fs.Machine(memory="64M", swap="8M", soft_dirty=True))
    p.madvise(a, PAGE, fs.MADV_PAGEOUT)
    word = int(p.pagemap(a, PAGE)[0])
    assert word & fs.PM_SWAP and word & 31 == 0
    soft_dirty_and_exclusive = 0xa
    assert entries(p, a)[-1] == swap_entry(word >> 5 & (1 << 50) - 1) | soft_dirty_and_exclusive


def test_a_guard_region():
    p, a = written()
    p.madvise(a, PAGE, fs.MADV_GUARD_INSTALL)
    assert entries(p, a)[-1] == 0xfffffffffffff600


@pytest.mark.parametrize("prot, expected", [(R, 0x8000000000000025), (W, 0x8000000000000025), (R | W, 0x8000000000000025),
                                            (X, 0x25), (R | X, 0x25), (R | W | X, 0x25)])
def test_rights_of_private_memory(prot, expected):
    special = 0x200
    p, a = mapped(prot=prot)
    p.touch(a, PAGE)
    assert entry(p, a, frame_of(p, a), 0) == expected | special


@pytest.mark.parametrize("prot, expected", [(R, 0x8000000000000025), (R | W, 0x8000000000000027),
                                            (R | X, 0x25), (R | W | X, 0x27)])
def test_rights_of_shared_memory(prot, expected):
    p, a = mapped(prot=prot, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS, machine=fs.Machine(memory="64M", soft_dirty=False))
    p.touch(a, PAGE)
    assert entry(p, a, frame_of(p, a), 0) == expected
