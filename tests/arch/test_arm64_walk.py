"""The arm64 walk: worked examples, and machines whose tables it must agree with."""
import numpy as np
import pytest

import foliosim as fs
from foliosim import cores

walk_image = cores.find("arm64", "4K").image.walk_image
HA, HD, PAN, WXN, SET = 0x100, 0x200, 0x400, 0x800, 0x2000
WRITE, USER, FETCH = 0x02, 0x04, 0x10
FAULT = 0x80000000
ROOT = 0x101000
ENTRIES = {
    0x101fe8: 0x102003, 0x102b90: 0x103003, 0x102b98: 0xe8000040000f41, 0x103e60: 0x104003, 0x103e68: 0xe8000000800f41,
    0x103e78: 0x4800000000105003, 0x1043b0: 0xe8000000223f43, 0x1043b8: 0x60000000224fc3, 0x1043c0: 0x60000000225bc3,
    0x1043c8: 0x40000000226f03, 0x1043d0: 0x60000000227fc1, 0x1043e0: 0x68000000228fc3, 0x1043e8: 0x60000000229f82,
    0x105000: 0xe800000022af43,
}
# id, address, access, processor state, physical address or fault status code, level (0: PTE)
VECTORS = [
    ("A1", 0xfedcb9876018, USER | WRITE, 0, 0x223018, 0),
    ("A2", 0xfedcb9877010, USER, 0, 0x224010, 0),
    ("A3", 0xfedcb9877010, USER | WRITE, 0, FAULT | 0x0f, 0),
    ("A4", 0xfedcb9878000, USER, 0, FAULT | 0x0b, 0),
    ("A4-HA", 0xfedcb9878000, USER, HA, 0x225000, 0),
    ("A5", 0xfedcb9879000, USER, 0, FAULT | 0x0f, 0),
    ("A6", 0xfedcb9879000, WRITE, 0, 0x226000, 0),
    ("A7", 0xfedcb987a000, USER, 0, FAULT | 0x07, 0),
    ("A8", 0xfedcb987b000, USER, 0, FAULT | 0x07, 0),
    ("A9", 0xfedcb987c000, USER | WRITE, 0, FAULT | 0x0f, 0),
    ("A9-HD", 0xfedcb987c000, USER | WRITE, HA | HD, 0x228000, 0),
    ("A10", 0xfedcb987d000, USER, 0, FAULT | 0x07, 0),
    ("A11", 0xfedcb9aabcd0, USER, 0, 0x8abcd0, 1),
    ("A12", 0xfedcc0345678, USER, 0, 0x40345678, 2),
    ("A13", 0xfedcb9c00000, USER, 0, FAULT | 0x06, 1),
    ("A14", 0xfedd00000000, USER, 0, FAULT | 0x05, 2),
    ("A15", 0x1000, USER, 0, FAULT | 0x04, 3),
    ("A16", 0x4000000000000, USER, 0, FAULT | 0x04, 3),
    ("A17", 0xfedcb9e00008, USER | WRITE, 0, FAULT | 0x0f, 0),
    ("A17-HD", 0xfedcb9e00008, USER | WRITE, HA | HD, FAULT | 0x0f, 0),
    ("A18", 0xfedcb9e00008, USER, 0, 0x22a008, 0),
    ("PAN", 0xfedcb9876018, 0, PAN, FAULT | 0x0f, 0),
    ("PAN-off", 0xfedcb9876018, 0, 0, 0x223018, 0),
    ("UXN", 0xfedcb9877010, USER | FETCH, 0, FAULT | 0x0f, 0),
    ("PXN", 0xfedcb9877010, FETCH, 0, FAULT | 0x0f, 0),
    ("tag", 0x5a00fedcb9876018, USER, 0, 0x223018, 0),
]


def image():
    memory = np.zeros(0x106000 // 8, dtype=np.uint64)
    for at, entry in ENTRIES.items():
        memory[at // 8] = entry
    return memory


@pytest.mark.parametrize("addr, access, state, expected, level", [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_worked_example(addr, access, state, expected, level):
    pa, error, at, rights = walk_image(image().view(np.uint8), ROOT, addr, access, flags=state)
    assert (pa, error, at) == ((0, expected, level) if expected & FAULT else (expected, 0, level))
    assert bool(rights) == (not error)


def test_three_levels_are_enough_for_39_bits():
    found = walk_image(image().view(np.uint8), 0x102000, 0xfedcb9876018 & ((1 << 39) - 1), USER, flags=0, va_bits=39)
    assert found[:3] == (0x223018, 0, 0)
    beyond = walk_image(image().view(np.uint8), 0x102000, 1 << 39, USER, flags=0, va_bits=39)
    assert beyond[1] == FAULT | 0x04


@pytest.mark.parametrize("page_size, va_bits", [("4K", 48), ("4K", 39), ("16K", 48), ("16K", 36), ("64K", 48), ("64K", 42)])
def test_tags_are_not_part_of_an_address(page_size, va_bits):
    p = fs.Machine(arch="arm64", page_size=page_size, va_bits=va_bits, memory="2G").spawn()
    a = p.mmap(1 << 16)
    p.touch(a, 1 << 16)
    found = p.walk([a, a + 1, *(a | tag << 56 for tag in (1, 2, 0x5a, 0xff))])
    assert not found["error"].any()
    assert set(found["pa"][2:]) == {found["pa"][0]}


def test_the_processor_sets_accessed_and_dirty():
    memory = image()
    walk_image(memory.view(np.uint8), ROOT, 0xfedcb9878000, USER, flags=HA | SET)
    assert memory[0x1043c0 // 8] == 0x60000000225fc3
    walk_image(memory.view(np.uint8), ROOT, 0xfedcb987c000, USER | WRITE, flags=HA | HD | SET)
    assert memory[0x1043e0 // 8] == 0x68000000228f43
    assert memory[0x102b90 // 8] == 0x103003


def test_an_address_that_is_too_large_is_an_address_size_fault():
    memory = image()
    memory[0x1043b0 // 8] |= np.uint64(1 << 45)
    found = walk_image(memory.view(np.uint8), ROOT, 0xfedcb9876018, USER, flags=0, maxphyaddr=44)
    assert found[:3] == (0, FAULT | 0x03, 0)


def test_a_batch_is_as_many_walks_of_one():
    m = fs.Machine(arch="arm64", memory="256M", thp="always", mthp={"64kB": "always"})
    p = m.spawn()
    a = p.mmap(16 << 20)
    p.touch(a + (3 << 20), 6 << 20, write=True)
    p.mprotect(a + (4 << 20), 1 << 20, fs.PROT_READ)
    p.mprotect(a + (8 << 20), 1 << 19, fs.PROT_NONE)
    addrs = np.arange(a, a + (16 << 20), 0x1800, dtype=np.uint64)
    for access in ("read", "write", "fetch"):
        many = p.walk(addrs, access=access)
        one = [p.walk([addr], access=access)[0] for addr in addrs]
        assert many.tolist() == [record.item() for record in one]
        good = many["error"] == 0
        assert [p.translate(int(addr)) for addr in addrs[good]] == many["pa"][good].tolist()
    assert set(p.walk(addrs)["error"]) == {0, FAULT | 0x07, FAULT | 0x06}


@pytest.mark.parametrize("access, mode, state, error", [
    ("read", "user", {}, 0),
    ("write", "user", {}, FAULT | 0x0f),
    ("read", "supervisor", {}, FAULT | 0x0f),
    ("read", "supervisor", {"pan": False}, 0),
    ("write", "supervisor", {"pan": False}, FAULT | 0x0f),
    ("fetch", "supervisor", {"pan": False}, FAULT | 0x0f),
    ("read", "user", {"ha": False, "hd": False}, 0),
    ("read", "user", {"pa_bits": 32}, 0),
])
def test_processor_state(access, mode, state, error):
    p = fs.Machine(arch="arm64", memory="64M").spawn()
    a = p.mmap(4096)
    p.touch(a, 4096, write=True)
    p.mprotect(a, 4096, fs.PROT_READ)
    assert p.walk([a], access=access, mode=mode, **state)["error"][0] == error


def test_dirty_state_by_hardware_or_by_software():
    p = fs.Machine(arch="arm64", memory="64M").spawn()
    a = p.mmap(4096, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    p.touch(a, 4096)                                      # writable, clean, and old after clear_refs
    p.clear_refs(1)
    assert p.walk([a], access="write")["error"][0] == 0
    assert p.walk([a], access="write", hd=False)["error"][0] == FAULT | 0x0f
    assert p.walk([a], access="write", ha=False)["error"][0] == FAULT | 0x0b
    with pytest.raises(ValueError, match="smap=False: valid for arm64 are ha, hd, pan, wxn"):
        p.walk([a], smap=False)
