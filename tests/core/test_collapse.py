"""MADV_COLLAPSE: what moves, what stays, and which errno the last failure gives."""
import errno

import pytest

import foliosim as fs

MIB = 1 << 20
HUGE = 2 * MIB
BASE = 0x200000000000


def start(flags=fs.MAP_PRIVATE, **settings):
    """A process with 8 MiB of anonymous memory at BASE."""
    m = fs.Machine(memory="256M", **settings)
    p = m.spawn()
    p.mmap(4 * HUGE, addr=BASE, flags=flags | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    return m, p


def collapse(m, p, addr=BASE, length=HUGE):
    p.madvise(addr, length, fs.MADV_COLLAPSE)
    m.validate()


def fails(m, p, code, addr=BASE, length=HUGE):
    with pytest.raises(OSError) as caught:
        p.madvise(addr, length, fs.MADV_COLLAPSE)
    assert caught.value.errno == code
    m.validate()


def folio_at(m, p, addr):
    return m.folio(p.translate(addr) >> 12)


def test_small_pages_move_and_holes_become_zeros():
    m, p = start()
    p.write(BASE, 8 * 4096, value=7, delta=1)
    p.read(BASE + 64 * 4096, 4096)
    old = p.translate(BASE)
    collapse(m, p)
    assert p.translate(BASE) != old
    assert folio_at(m, p, BASE).order == 9
    assert p.read(BASE, 10 * 4096) == bytes([7, 8, 9, 10, 11, 12, 13, 14, 0, 0])
    p.write(BASE + 65 * 4096 + 5, 1, value=1)
    m.validate()


def test_a_table_without_pages_collapses_but_a_missing_one_stops():
    m, p = start()
    p.write(BASE, 4096, value=1)
    p.madvise(BASE, 4096, fs.MADV_DONTNEED)
    p.write(BASE + 2 * HUGE, 4096, value=2)
    fails(m, p, errno.EINVAL, length=4 * HUGE)
    assert folio_at(m, p, BASE).order == 9
    assert folio_at(m, p, BASE + 2 * HUGE).order == 0


def test_memory_that_was_never_written_is_refused():
    m, p = start()
    p.read(BASE, HUGE)
    fails(m, p, errno.EINVAL)


def test_ranges_without_a_whole_block():
    m, p = start()
    p.write(BASE, 4096, value=1)
    collapse(m, p, length=4096)
    fails(m, p, errno.EINVAL, addr=BASE + 4096, length=4096)
    assert folio_at(m, p, BASE).order == 0


def test_a_reference_gives_eagain_and_the_next_block_is_tried():
    m, p = start()
    p.write(BASE, 4096, value=1)
    p.write(BASE + HUGE, 4096, value=2)
    with p.get_user_pages(BASE, 4096):
        fails(m, p, errno.EAGAIN, length=2 * HUGE)
        assert folio_at(m, p, BASE).order == 0
        assert folio_at(m, p, BASE + HUGE).order == 9
    collapse(m, p)


def test_shared_pages_stay_with_the_other_process():
    m, p = start()
    p.write(BASE, 4 * 4096, value=3)
    child = p.fork()
    collapse(m, p)
    assert folio_at(m, child, BASE).order == 0
    p.write(BASE, 4096, value=9)
    assert child.read(BASE, 2 * 4096) == bytes([3, 3])
    collapse(m, child)
    assert child.read(BASE, 2 * 4096) == bytes([3, 3])
    child.exit()
    m.validate()


def test_a_guard_region_stops():
    m, p = start()
    p.write(BASE, 4096, value=1)
    p.write(BASE + HUGE, 4096, value=2)
    p.madvise(BASE + 8192, 4096, fs.MADV_GUARD_INSTALL)
    fails(m, p, errno.EINVAL, length=2 * HUGE)
    assert folio_at(m, p, BASE).order == 0
    assert folio_at(m, p, BASE + HUGE).order == 0


def test_part_of_a_large_folio_stays_shared():
    m, p = start(mthp={"64kB": "always"})
    p.write(BASE, 32 * 4096, value=3, delta=1)
    child = p.fork()
    p.write(BASE + 4096, 4096, value=99)
    collapse(m, p)
    assert folio_at(m, child, BASE).order == 4
    assert child.read(BASE, 3 * 4096) == bytes([3, 4, 5])
    assert p.read(BASE, 3 * 4096) == bytes([3, 99, 5])


def test_locked_memory_gets_a_locked_folio():
    m, p = start()
    p.write(BASE, 100 * 4096, value=1)
    p.mlock2(BASE, HUGE, fs.MLOCK_ONFAULT)
    collapse(m, p)
    assert "mlocked" in folio_at(m, p, BASE).flag_names
    p.munlock(BASE, HUGE)
    m.validate()


@pytest.mark.parametrize("flags, allowed", [(0, False), (2, True)])
def test_prctl(flags, allowed):
    m, p = start()
    p.write(BASE, 4096, value=1)
    p.prctl_thp_disable(1, flags)
    if allowed:
        collapse(m, p)
    else:
        fails(m, p, errno.EINVAL)


def test_shared_memory_moves_in_the_cache_and_is_mapped_again():
    m, p = start(flags=fs.MAP_SHARED, mthp_shmem={"2048kB": "inherit"})
    p.write(BASE, 4 * 4096, value=5, delta=1)
    child = p.fork()
    child.read(BASE, 4096)
    collapse(m, p)
    child.write(BASE + 4096, 4096, value=77)
    m.validate()
    assert p.read(BASE, 5 * 4096) == bytes([5, 77, 7, 8, 0])
    assert p.translate(BASE) == child.translate(BASE)
    collapse(m, child)


def test_shared_memory_with_nothing_cached_is_refused():
    m, p = start(flags=fs.MAP_SHARED, mthp_shmem={"2048kB": "inherit"})
    fails(m, p, errno.EINVAL)
    p.write(BASE, 4096, value=1)
    with p.get_user_pages(BASE, 4096):
        fails(m, p, errno.EAGAIN)


def test_shared_memory_obeys_the_size_setting():
    m, p = start(flags=fs.MAP_SHARED, mthp_shmem={"2048kB": "never"})
    p.write(BASE, 4096, value=1)
    fails(m, p, errno.EINVAL)
