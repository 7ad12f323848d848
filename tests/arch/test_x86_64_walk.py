"""The x86-64 walk: worked examples, and machines whose tables it must agree with."""
import numpy as np
import pytest

import foliosim as fs
from foliosim._core.image import walk_image

NXE, WP, SMEP, SMAP, SET_AD = 0x100, 0x200, 0x400, 0x800, 0x2000
WRITE, USER, FETCH = 0x02, 0x04, 0x10
PF, GP = 0x80000000, 0x40000000
ROOT = 0x1000
ENTRIES = {
    0x17f0: 0x2007, 0x2240: 0x3007, 0x2248: 0x87, 0x3d10: 0x4007, 0x3d18: 0x800087, 0x3d20: 0xa04087,
    0x3d28: 0x5005, 0x4b38: 0x123007, 0x4b40: 0x8000000000124005, 0x4b50: 0x8000000126007, 0x4b58: 0x127003,
    0x4b60: 0x7005, 0x5000: 0x128007,
}
# id, address, access, extra processor state, physical address or error, MAXPHYADDR
VECTORS = [
    ("X1", 0x7f1234567018, USER, 0, 0x123018, 52),
    ("X2", 0x7f1234567ff8, USER | WRITE, 0, 0x123ff8, 52),
    ("X3", 0x7f12346abcd0, USER, 0, 0x8abcd0, 52),
    ("X4", 0x7f1240345678, USER, 0, 0x345678, 52),
    ("X5", 0x7f1234569008, USER, 0, PF | 0x4, 52),
    ("X6", 0x7f1234568000, USER | WRITE, 0, PF | 0x7, 52),
    ("X7", 0x7f1234568000, WRITE, 0, PF | 0x3, 52),
    ("X8", 0x7f1234568000, USER | FETCH, 0, PF | 0x15, 52),
    ("X9", 0x7f123456b000, USER, 0, PF | 0x5, 52),
    ("X10", 0x7f123456b000, 0, 0, 0x127000, 52),
    ("X11", 0x7f123456a000, USER, 0, PF | 0xd, 46),
    ("X11-52", 0x7f123456a000, USER, 0, 0x8000000126000, 52),
    ("X12", 0x7f1234800000, USER, 0, PF | 0xd, 52),
    ("X13", 0x7f1234a00000, USER | WRITE, 0, PF | 0x7, 52),
    ("X14", 0x7f1234a00000, USER, 0, 0x128000, 52),
    ("X15", 0x800000000000, USER, 0, GP, 52),
    ("X16", 0x7f123456c000, FETCH, SMEP, PF | 0x11, 52),
    ("X16-off", 0x7f123456c000, FETCH, 0, 0x7000, 52),
    ("X17", 0x7f1234567000, 0, SMAP, PF | 0x1, 52),
    ("X17-off", 0x7f1234567000, 0, 0, 0x123000, 52),
]


def image():
    memory = np.zeros(0x8000 // 8, dtype=np.uint64)
    for at, entry in ENTRIES.items():
        memory[at // 8] = entry
    return memory


@pytest.mark.parametrize("addr, access, state, expected, bits", [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_worked_example(addr, access, state, expected, bits):
    pa, error, _, rights = walk_image(image().view(np.uint8), ROOT, addr, access, flags=NXE | WP | state,
                                      maxphyaddr=bits)
    assert (pa, error) == ((0, expected) if expected & (PF | GP) else (expected, 0))
    assert bool(rights) == (not error)


def test_supervisor_write_ignores_read_only_without_wp():
    pa, error, _, _ = walk_image(image().view(np.uint8), ROOT, 0x7f1234568000, WRITE, flags=NXE)
    assert (pa, error) == (0x124000, 0)


def test_nx_bit_is_reserved_without_nxe():
    assert walk_image(image().view(np.uint8), ROOT, 0x7f1234568000, USER, flags=WP)[1] == PF | 0xd


def test_levels_of_leaves():
    memory = image().view(np.uint8)
    levels = [walk_image(memory, ROOT, a, USER, flags=NXE | WP)[2] for a in (0x7f1234567018, 0x7f12346abcd0, 0x7f1240345678)]
    assert levels == [0, 1, 2]


def test_accessed_and_dirty():
    memory = image()
    walk_image(memory.view(np.uint8), ROOT, 0x7f1234567ff8, USER | WRITE, flags=NXE | WP | SET_AD)
    assert memory[0x4b38 // 8] == 0x123067
    assert memory[0x3d10 // 8] == 0x4027
    untouched = {0x4b40, 0x3d18, 0x2248}
    assert all(memory[at // 8] == ENTRIES[at] for at in untouched)


def test_process_walk_agrees_with_its_pagemap():
    m = fs.Machine(memory="256M")
    p = m.spawn()
    a = p.mmap(8 << 20)
    p.madvise(a, 4 << 20, fs.MADV_HUGEPAGE)
    p.touch(a, 3 << 20, write=True)
    p.touch(a + (5 << 20), 1 << 20)
    p.mprotect(a + (1 << 20), 1 << 20, fs.PROT_NONE)
    addrs = np.arange(a, a + (8 << 20), 4096, dtype=np.uint64)
    walked = p.walk(addrs)
    words = p.pagemap(a, 8 << 20)
    present = (words & np.uint64(fs.PM_PRESENT)) != 0
    readable = np.ones(len(addrs), dtype=bool)
    readable[256:512] = False
    reachable = walked["error"] == 0
    assert np.array_equal(reachable, present & readable)
    assert np.array_equal(walked["pa"][reachable] >> 12, words[reachable] & np.uint64(fs.PM_PFRAME_MASK))
    assert set(walked["level"][reachable]) == {0, 1}
    assert (p.walk(addrs[-1:], access="write")["error"] == PF | WRITE | USER).all()


def test_1_gib_leaf_is_walked():
    m = fs.Machine(memory="64M")
    p = m.spawn()
    a = 0x200000000000
    p.mmap(4096, addr=a, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.touch(a, 4096, write=True)
    pud = (int(m.table(p.pgd)[a >> 39 & 511]) >> 12) & 0xffffffffff
    m.poke_table(pud, 5, 0x40000000 | 0xe7)
    found = p.walk([a + (5 << 30) + 0x12345678])[0]
    assert (found["pa"], found["level"], found["error"]) == (0x40000000 + 0x12345678, 2, 0)
    m.poke_table(pud, 5, 0)
    m.validate()


# ---- the processor's state, by name ----

@pytest.fixture
def pages():
    """A process, and addresses of a read-only page, a writable one and an executable one."""
    p = fs.Machine(memory="64M").spawn()
    a = p.mmap(4 * 4096)
    p.touch(a, 4 * 4096, write=True)
    p.mprotect(a, 4096, fs.PROT_READ)
    p.mprotect(a + 8192, 4096, fs.PROT_READ | fs.PROT_EXEC)
    return p, a, a + 4096, a + 8192


@pytest.mark.parametrize("page, access, mode, state, error", [
    (0, "read", "user", {}, 0),
    (0, "write", "user", {}, PF | 0x7),
    (0, "write", "user", {"wp": False}, PF | 0x7),
    (0, "fetch", "user", {}, PF | 0x15),
    (2, "fetch", "user", {}, 0),
    (2, "fetch", "user", {"smep": True, "smap": True}, 0),
    (0, "read", "supervisor", {}, PF | 0x1),
    (0, "read", "supervisor", {"ac": True}, 0),
    (0, "read", "supervisor", {"smap": False}, 0),
    (1, "write", "supervisor", {}, PF | 0x3),
    (1, "write", "supervisor", {"ac": True}, 0),
    (0, "write", "supervisor", {"ac": True}, PF | 0x3),
    (0, "write", "supervisor", {"ac": True, "wp": False}, 0),
    (0, "write", "supervisor", {"wp": False}, PF | 0x3),
    (2, "fetch", "supervisor", {}, PF | 0x11),
    (2, "fetch", "supervisor", {"ac": True}, PF | 0x11),
    (2, "fetch", "supervisor", {"smep": False}, 0),
    (0, "fetch", "supervisor", {"smep": False}, PF | 0x11),
    (2, "read", "user", {"nxe": False}, 0),
    (0, "read", "user", {"nxe": False}, PF | 0xd),
    (0, "fetch", "user", {"nxe": False, "smep": False}, PF | 0xd),
    (0, "fetch", "user", {"nxe": False}, PF | 0x1d),
])
def test_processor_state(pages, page, access, mode, state, error):
    p, *at = pages
    walked = p.walk([at[page]], access=access, mode=mode, **state)[0]
    assert walked["error"] == error
    assert walked["pa"] == (0 if error else p.translate(at[page]))
    assert walked["level"] == 0 and bool(walked["rights"]) == (not error)


def test_address_bits_that_the_processor_lacks_are_reserved(pages):
    p, a, *_ = pages
    pmd = next(e for e in p.walk([a])["pa"])
    table = p.pgd
    for shift in (39, 30, 21):
        table = int(p.machine.table(table)[a >> shift & 511]) >> 12 & 0xffffffffff
    old = int(p.machine.table(table)[a >> 12 & 511])
    p.machine.poke_table(table, a >> 12 & 511, old | 1 << 45)
    assert p.walk([a])["pa"][0] == pmd | 1 << 45
    assert p.walk([a], pa_bits=45)["error"][0] == PF | 0xd
    p.machine.poke_table(table, a >> 12 & 511, old | 1 << 46)
    assert p.walk([a])["error"][0] == PF | 0xd
    assert p.walk([a], pa_bits=52)["pa"][0] == pmd | 1 << 46
    p.machine.poke_table(table, a >> 12 & 511, old)


@pytest.mark.parametrize("words, message", [
    ({"access": "execute"}, "access 'execute': valid are read, write, fetch"),
    ({"mode": "kernel"}, "mode 'kernel': valid are user, supervisor"),
    ({"pa_bits": 53}, "pa_bits 53: must be 32 to 52"),
    ({"pan": True}, "pan=True: valid for x86_64 are nxe, wp, smep, smap, ac"),
])
def test_bad_arguments(pages, words, message):
    p, a, *_ = pages
    with pytest.raises(ValueError) as caught:
        p.walk([a], **words)
    assert str(caught.value) == message
