"""What a free frame's record still says of a folio that was there is nobody's folio."""
import numpy as np
import pytest

import foliosim as fs

PAGE, HUGE = 4096, 2 << 20
LEFT = 200  # free frames


@pytest.fixture
def reused():
    """A machine whose memory is full but for the end of a block that was a huge folio with tails of their own."""
    m = fs.Machine(memory="64M", thp="madvise")
    p = m.spawn()
    addr = -(-p.mmap(2 * HUGE) // HUGE) * HUGE
    p.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    p.write(addr, HUGE, value=1)
    first = p.translate(addr) // PAGE
    p.munmap(addr, HUGE // 2)
    p.munmap(addr + HUGE // 2, HUGE // 2)
    size = (m.vmstat()["nr_free_pages"] - 1 - LEFT) * PAGE
    p.touch(p.mmap(size), size, write=True)
    block = range(first, first + HUGE // PAGE)
    return m, block, [pfn for pfn in block if m.folio(pfn) is None]


def test_a_free_frame_has_no_folio(reused):
    m, block, free = reused
    assert len(free) > LEFT // 2
    assert all(m.folio(pfn).pfn == pfn for pfn in block if pfn not in free)


def test_free_frames_belong_to_the_buddy(reused):
    m, _, free = reused
    frames = np.array(free, np.uint64)
    assert set(m.kpageflags(frames).tolist()) == {1 << 10} and not m.kpagecount(frames).any()


def test_a_free_frame_cannot_be_held_or_split(reused):
    m, _, free = reused
    for pfn in free:
        with pytest.raises(LookupError, match=f"pfn {pfn:#x}: no folio there"):
            m.inject.reference(pfn)
        with pytest.raises(ValueError, match=f"pfn {pfn:#x}: no folio there"):
            m.split_folio(pfn)
    m.validate()
