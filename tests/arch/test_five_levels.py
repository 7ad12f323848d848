"""x86-64 with 57-bit addresses: what lies above 47 bits is mapped for those who ask, through five levels of tables."""
import numpy as np
import pytest

import foliosim as fs

WINDOW = (1 << 47) - 4096
TASK_SIZE = (1 << 56) - 4096
HIGH = 1 << 50
PF, GP = 0x80000000, 0x40000000
LAZY = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_NORESERVE
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


@pytest.fixture
def process():
    m = fs.Machine(memory="256M", va_bits=57, thp="always")
    yield m.spawn()
    m.validate()


def test_without_a_hint_it_is_as_with_four_levels(process):
    four = fs.Machine(memory="64M").spawn()
    for length in (4096, 1 << 20, 2 << 20, 1 << 40):
        assert process.mmap(length, flags=LAZY) == four.mmap(length, flags=LAZY) < WINDOW


def test_a_hint_below_the_window_stays_below_it(process):
    assert process.mmap(4096, addr=1 << 46) == 1 << 46
    assert process.mmap(4096, addr=1 << 46) < WINDOW
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        process.mmap(WINDOW, addr=1 << 46)


def test_a_hint_above_the_window(process):
    assert process.mmap(1 << 21, addr=HIGH) == HIGH
    second = process.mmap(1 << 21, addr=HIGH)
    assert WINDOW < second < TASK_SIZE and second != HIGH
    anywhere = process.mmap(1 << 21, addr=(1 << 64) - 4096)     # what programs that want high addresses say
    assert WINDOW < anywhere < TASK_SIZE
    assert process.mmap(1 << 52, addr=HIGH, flags=LAZY) > WINDOW    # more than fits below


def test_a_hint_across_the_border_is_no_hint(process):
    """mmap_address_hint_valid: such a mapping would be reachable by chance only."""
    at = process.mmap(1 << 20, addr=WINDOW - (1 << 19))
    assert at + (1 << 20) <= WINDOW
    assert process.mmap(1 << 20, addr=WINDOW - (1 << 20)) == WINDOW - (1 << 20)


def test_fixed_anywhere(process):
    for at in (HIGH, WINDOW - (1 << 20), TASK_SIZE - 4096):
        assert process.mmap(4096, addr=at, flags=FIXED) == at
    for at in (TASK_SIZE, 1 << 56):
        with pytest.raises(fs.SyscallError, match="ENOMEM"):
            process.mmap(4096, addr=at, flags=FIXED)


def test_four_levels_end_at_47_bits():
    p = fs.Machine(memory="64M").spawn()
    assert p.mmap(4096, addr=HIGH) < WINDOW
    with pytest.raises(fs.SyscallError, match="ENOMEM"):
        p.mmap(4096, addr=HIGH, flags=FIXED)


def test_walk(process):
    addrs = np.array([HIGH, HIGH + (4 << 20), 1 << 46], dtype=np.uint64)
    for at in addrs:
        process.mmap(2 << 20, addr=int(at), flags=FIXED)
    process.write(HIGH, 2 << 20, value=3)
    process.madvise(HIGH + (4 << 20), 2 << 20, fs.MADV_NOHUGEPAGE)
    process.write(HIGH + (4 << 20), 4096, value=4)
    walked = process.walk(addrs)
    assert walked["level"].tolist() == [1, 0, 4]
    assert walked["error"].tolist() == [0, 0, PF | 0x4]
    assert walked["pa"][:2].tolist() == [process.translate(int(at)) for at in addrs[:2]]
    assert process.read(HIGH, 1) == b"\x03" and process.read(HIGH + (4 << 20), 1) == b"\x04"
    counts = process.counts()
    assert (counts["nr_ptes"], counts["nr_pmds"], counts["nr_puds"]) == (2, 1, 1)


def test_levels_at_which_a_walk_ends(process):
    a = process.mmap(4096, addr=HIGH)
    process.touch(a, 4096, write=True)
    ends = [HIGH + (1 << shift) for shift in (48, 39, 30, 21, 12)]
    assert process.walk(ends)["level"].tolist() == [4, 3, 2, 1, 0]
    canonical = process.walk([(1 << 56) - 1, 1 << 56, (1 << 64) - (1 << 56), (1 << 64) - (1 << 56) - 1])
    assert canonical["error"].tolist() == [PF | 0x4, GP, PF | 0x4, GP]


def test_fork_move_and_unmap(process):
    a = process.mmap(4 << 20, addr=HIGH)
    process.write(a, 4 << 20, value=9)
    child = process.fork()
    process.machine.validate()
    process.write(a, 4096, value=1)
    assert (process.read(a, 1), child.read(a, 1)) == (b"\x01", b"\x09")
    low = child.mmap(4 << 20, addr=1 << 45)
    child.mremap(a, 4 << 20, 4 << 20, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, new_addr=low)
    assert child.read(low, 1) == b"\x09"
    child.mprotect(low, 1 << 20, fs.PROT_READ)
    process.machine.validate()
    process.munmap(a, 4 << 20)
    assert process.counts()["nr_puds"] == 0
    child.exit()


def test_views_and_copies(process, tmp_path):
    a = process.mmap(4 << 20, addr=HIGH)
    process.write(a, 4 << 20, value=9)
    assert process.maps()["start"].tolist() == [HIGH]
    assert (process.pagemap(a, 4 << 20) >> np.uint64(63)).all()
    twin = process.machine.branch().twin(process)
    assert twin.walk([a]).tolist() == process.walk([a]).tolist()
    process.machine.save(tmp_path / "m")
    assert fs.Machine.load(tmp_path / "m").process(process.pid).read(a, 1) == b"\x09"


def test_other_bits_are_refused():
    with pytest.raises(ValueError, match="va_bits 52: valid for x86_64 with 4K pages are 48, 57"):
        fs.Machine(va_bits=52)
