"""`validate()` must be able to fail: each count, damaged on purpose, is reported under its own name."""
import pytest

import foliosim as fs
from foliosim._core.corrupt import CORRUPTIBLE

MIB = 1 << 20


def build():
    """A machine with something of everything that is counted."""
    m = fs.Machine(memory="256M", mthp={"64kB": "madvise"}, swap="8M")
    p = m.spawn()
    a = p.mmap(8 * MIB, addr=0x200000000000, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.madvise(a, 6 * MIB, fs.MADV_HUGEPAGE)
    p.write(a, 2 * MIB, value=1)
    p.write(a + 2 * MIB, 4096, value=2)
    p.munmap(a + 2 * MIB + 65536, 65536)
    p.touch(a + 6 * MIB, MIB, write=True)
    shared = p.mmap(MIB, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    p.write(shared, MIB, value=3)
    p.mlock(a + 6 * MIB, 65536)
    p.madvise(a + 6 * MIB + (768 << 10), 65536, fs.MADV_PAGEOUT)
    pin = p.pin_user_pages(a, 8192, longterm=True, write=True)
    c = p.fork()
    pin.release()
    c.write(a + 6 * MIB, 8192, value=4)
    return m, p, c, a, shared


@pytest.fixture
def world():
    m, p, c, a, shared = build()
    m.validate()
    return m, p, c, a, shared


def pfn(process, addr):
    return process.translate(addr) >> 12


NUMBERS = {
    "mm": lambda w: w[1].pid, "vma": lambda w: w[3], "lru": lambda w: 0, "buddy": lambda w: 3, "mthp": lambda w: 9,
    "machine": lambda w: 0, "table": lambda w: w[1].pgd, "page": lambda w: pfn(w[1], w[3] + 6 * MIB),
    "folio": lambda w: pfn(w[1], w[3]) & ~511, "anon_vma": lambda w: 1, "mapping": lambda w: mapping_id(w),
    "slot": lambda w: (int(w[1].pagemap(w[3] + 6 * MIB + (768 << 10), 4096)[0]) & fs.PM_PFRAME_MASK) >> 5,
}


def mapping_id(world):
    """Mapping ids are small; the shared object's is the one that is no anon_vma's."""
    for number in range(1, 32):
        try:
            world[0].corrupt("mapping", number, "nrpages", 0)
            return number
        except LookupError:
            continue
    raise AssertionError("no shared object")


COUNTS = [(kind, field) for kind, fields in CORRUPTIBLE.items() if kind != "flags" for field in fields]


@pytest.mark.parametrize("kind, field", COUNTS, ids=[f"{kind}.{field}" for kind, field in COUNTS])
def test_damaged_count_is_named(world, kind, field):
    m = world[0]
    obj, name = m.corrupt(kind, NUMBERS[kind](world), field, 1)
    with pytest.raises(fs.ValidationError) as caught:
        m.validate()
    assert (obj, name) in {(o, n) for o, n, _, _ in caught.value.differences}
    difference = next(d for d in caught.value.differences if d[:2] == (obj, name))
    assert difference[2] != difference[3]
    m.corrupt(kind, NUMBERS[kind](world), field, -1)
    m.validate()


@pytest.mark.parametrize("flag", CORRUPTIBLE["flags"])
def test_toggled_flag_is_found(world, flag):
    m, p, _, a, _ = world
    frame = pfn(p, a + 6 * MIB + 524288) if flag == "anon_exclusive" else pfn(p, a) & ~511
    m.corrupt("flags", frame, flag)
    with pytest.raises(fs.ValidationError):
        m.validate()
    m.corrupt("flags", frame, flag)
    m.validate()


def test_a_file_that_no_vma_maps_is_no_anon_vma():
    machine = fs.Machine(memory="64M")
    file = machine.create_file("memfd", 8192, fill=1)
    with pytest.raises(LookupError):            # its mapping id is the machine's first
        machine.corrupt("anon_vma", 1, "refcount", 1)
    file.close()
    machine.validate()


def leaf_table(m, p, addr):
    """Frame of the PTE table of an address."""
    table = p.pgd
    for shift in (39, 30, 21):
        table = (int(m.table(table)[addr >> shift & 511]) >> 12) & 0xffffffffff
    return table


@pytest.mark.parametrize("change", ["clear", "writable", "other frame"])
def test_damaged_entry_is_found(world, change):
    m, p, _, a, _ = world
    addr = a + 6 * MIB + 524288
    table, index = leaf_table(m, p, addr), addr >> 12 & 511
    entry = int(m.table(table)[index])
    new = {"clear": 0, "writable": entry | 2, "other frame": entry + 4096}[change]
    assert m.poke_table(table, index, new) == entry
    with pytest.raises(fs.ValidationError):
        m.validate()
    m.poke_table(table, index, entry)
    m.validate()
