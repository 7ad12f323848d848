"""Every process sees the bytes that a model without folios says; and the comparison can fail."""
import pytest
from effort import BIG, effort
from hypothesis.stateful import run_state_machine_as_test

import foliosim as fs
from foliosim.testing import oracle
from foliosim.testing.stateful import SETTINGS, ByteIsolation

STEPS = 100 if BIG else 30
NAMES = ["base pages", "always", "mthp", "mixed sizes"]


def machine_of(settings):
    return type("ByteIsolationOf", (ByteIsolation,), {"settings": (settings,)})


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_bytes(settings):
    run_state_machine_as_test(machine_of(settings), settings=effort(20, 2000, stateful_step_count=STEPS))


# ---- mistakes planted in the model: the comparison must see each of them ----

def keep_exclusive(process, page):
    return page


def keep_pinned_shared(process, page):
    page.exclusive = False
    return page


def always_reuse(page):
    return page.mapped > 0


def never_own(process, place):
    if place.shared is not None or place.page is None:
        return OWN(process, place)
    place.put(oracle.Page(place.page.data))
    return place.page


def drop_nothing(process, addr, length):
    process.no_effect(addr, length)


def populate_nothing(process, numbers):
    for number in numbers:
        if not process.places[number].prot:
            raise oracle.Failure(12)


def wipe_nothing(process, addr, length, value):
    def check(place):
        if value and place.shared is not None:
            raise oracle.Failure(22)
    process._advise(addr, length, check)


def store_into_file(process, place):
    return process._load(place) if place.file is not None else OWN(process, place)


def move_and_keep(process, old, length, new):
    process.munmap(new, length)
    for number in oracle.pages(old, length):
        place = process.places[number]
        process.places[number + (new - old) // oracle.PAGE] = place.copy(place.page)


OWN = oracle.Process._own
MISTAKES = {
    "no copy on write": ("_page_for_child", keep_exclusive),
    "pinned page shared": ("_page_for_child", keep_pinned_shared),
    "reuse while shared": ("_can_reuse", staticmethod(always_reuse)),
    "always copy": ("_own", never_own),
    "DONTNEED keeps": ("dontneed", drop_nothing),
    "mlock copies nothing": ("_populate", populate_nothing),
    "no WIPEONFORK": ("set_wipeonfork", wipe_nothing),
    "guards guard nothing": ("guard_install", drop_nothing),
    "REMOVE keeps": ("remove", drop_nothing),
    "private stores reach the file": ("_own", store_into_file),
    "DONTUNMAP copies": ("mremap_dontunmap", move_and_keep),
}
PAGE_0 = {"who": 0, "first": 0, "count": 1}
PIN = ("pin", {**PAGE_0, "offset": 0, "longterm": True, "write": True})
GET = ("get", {**PAGE_0, "offset": 0})
FORK = ("fork", {"who": 0})


def store(value):
    return "store", {**PAGE_0, "value": value}


SCRIPTS = {
    "no copy on write": [store(1), FORK, store(2)],
    "pinned page shared": [store(1), PIN, FORK, store(2)],
    "reuse while shared": [store(1), FORK, store(2)],
    "always copy": [store(1), GET, store(2)],
    "DONTNEED keeps": [store(1), ("dontneed", {**PAGE_0, "locked": False})],
    "mlock copies nothing": [("mlock", {**PAGE_0, "lock": True}), GET, store(1)],
    "no WIPEONFORK": [store(1), ("wipeonfork", {**PAGE_0, "on": True}), FORK],
    "guards guard nothing": [store(1), ("guard", {**PAGE_0, "install": True})],
    "REMOVE keeps": [("mmap", {**PAGE_0, "prot": 3, "shared": True, "populate": False}), store(1), FORK,
                     ("read", {**PAGE_0, "who": 1, "offset": 0}), ("remove", PAGE_0),
                     ("read", {**PAGE_0, "who": 1, "offset": 0})],
    "private stores reach the file": [
        ("mmap_file", {**PAGE_0, "prot": 3, "shared": False, "populate": False}), FORK, store(9),
        ("read", {**PAGE_0, "who": 1, "offset": 0})],
    "DONTUNMAP copies": [store(1), ("mremap_dontunmap", {**PAGE_0, "to": 3})],
}


def play(script):
    """The steps of a script, with the checks of the state machine after each."""
    machine = machine_of(SETTINGS[0])()
    machine.build(number=0)
    for rule, arguments in script:
        getattr(machine, rule)(**arguments)
        machine.counts_are_right()
        machine.bytes_are_right()
        machine.areas_are_right()
        machine.references_are_right()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_found(monkeypatch, mistake):
    play(SCRIPTS[mistake])
    monkeypatch.setattr(oracle.Process, *MISTAKES[mistake])
    with pytest.raises(AssertionError):
        play(SCRIPTS[mistake])


# ---- the smallest cases, spelled out ----

ADDR = 0x200000000000


@pytest.fixture
def model():
    return oracle.Oracle(large=False).spawn()


def test_reference_before_and_after_fork(model):
    model.mmap(ADDR, 4096, 3)
    model.write(ADDR, 4096, 1)
    reference = model.get(ADDR, 4096)
    model.write(ADDR, 4096, 2)
    assert reference.allowed() == [{2}]
    child = model.fork()
    model.write(ADDR, 4096, 3)
    assert reference.allowed() == [{2}]
    assert (model.read(ADDR, 4096), child.read(ADDR, 4096)) == (b"\3", b"\2")


def test_reference_of_nothing_is_the_zero_page(model):
    model.mmap(ADDR, 4096, 3)
    reference = model.get(ADDR, 4096)
    model.write(ADDR, 4096, 2)
    assert reference.allowed() == [{0}]


def test_pin_survives_fork(model):
    model.mmap(ADDR, 4096, 3)
    pin = model.pin(ADDR, 4096, longterm=True, write=True)
    child = model.fork()
    model.write(ADDR, 4096, 2)
    assert pin.allowed() == [{2}]
    assert child.read(ADDR, 4096) == b"\0"


def test_large_folios_leave_it_open_where_a_store_goes():
    model = oracle.Oracle(large=True).spawn()
    model.mmap(ADDR, 4096, 3)
    model.write(ADDR, 4096, 1)
    model.fork().exit()
    reference = model.get(ADDR, 4096)
    model.write(ADDR, 4096, 2)
    assert reference.allowed() == [{1, 2}]


def test_faults(model):
    model.mmap(ADDR, 8192, fs.PROT_READ)
    with pytest.raises(oracle.Fault) as caught:
        model.write(ADDR, 8192, 1)
    assert (caught.value.addr, caught.value.code) == (ADDR, "ACCERR")
    with pytest.raises(oracle.Fault) as caught:
        model.read(ADDR, 3 * 4096)
    assert (caught.value.addr, caught.value.code) == (ADDR + 8192, "MAPERR")
