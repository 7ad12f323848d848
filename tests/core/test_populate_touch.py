"""Populating memory that is there touches it; what x86 does with a huge page differs between reads and writes."""
import foliosim as fs

MIB = 1 << 20
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


def referenced_kb(p):
    return int(p.smaps()["Referenced"].sum())


def test_populate_read_leaves_a_huge_page_unreferenced_and_populate_write_does_not():
    m = fs.Machine(memory="64M")
    p = m.spawn()
    a = p.mmap(2 * MIB, addr=0x200000000000, flags=FIXED)
    p.madvise(a, 2 * MIB, fs.MADV_HUGEPAGE)
    p.write(a, 4096, value=1)
    p.clear_refs(1)
    m.validate()
    assert referenced_kb(p) == 0
    p.madvise(a, 2 * MIB, fs.MADV_POPULATE_READ)
    m.validate()
    assert referenced_kb(p) == 0
    p.madvise(a, 2 * MIB, fs.MADV_POPULATE_WRITE)
    m.validate()
    assert referenced_kb(p) == 2048


def test_populate_read_references_single_pages():
    m = fs.Machine(memory="64M")
    p = m.spawn()
    a = p.mmap(65536, addr=0x200000000000, flags=FIXED)
    p.write(a, 65536, value=1)
    p.clear_refs(1)
    p.madvise(a, 32768, fs.MADV_POPULATE_READ)
    m.validate()
    assert referenced_kb(p) == 32
