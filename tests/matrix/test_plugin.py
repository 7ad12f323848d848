"""The fixtures that users get, and an audit that can fail."""
import pytest

import foliosim as fs
from foliosim.testing.shapes import build, shapes_of

seen = []


@pytest.mark.foliosim(thp="always", memory="64M")
def test_machine_takes_settings(machine, process):
    addr = process.mmap(4 << 20)
    process.touch(addr, 4 << 20, write=True)
    assert machine.vmstat()["thp_fault_alloc"] >= 1
    assert process.machine is machine


def test_default_machine(machine, process):
    addr = process.mmap(4 << 20)
    process.touch(addr, 4 << 20, write=True)
    assert machine.vmstat()["thp_fault_alloc"] == 0


@pytest.mark.folio_shapes("base_page", "thp_pmd")
def test_shapes_can_be_chosen(folio_shape):
    seen.append(folio_shape.name)
    assert folio_shape.name in ("base_page", "thp_pmd")


def test_chosen_shapes_came():
    assert not seen or set(seen) == {"base_page", "thp_pmd"}


def test_every_shape_has_the_order_that_it_says(folio_shape):
    s = folio_shape
    assert s.name in shapes_of(s.machine.arch, s.page)
    orders = {folio.order for folio in s.folios().values()}
    assert orders == (set() if s.kind == "zero" else {s.order})
    assert s.pmd_mapped == (s.name in ("thp_pmd", "thp_partly_shared", "huge_zero_page"))


def wrong_byte(s):
    s.process.write(s.addr, 1, value=200)


def lost_page(s):
    s.process.madvise(s.addr, s.page, fs.MADV_DONTNEED)


def forgotten_process(s):
    s.process.fork()


def forgotten_reference(s):
    s.keep = s.process.get_user_pages(s.addr, s.page)


def damaged_count(s):
    s.machine.corrupt("page", s.frames()[0], "mapcount", 1)


@pytest.mark.parametrize("damage", [wrong_byte, lost_page, forgotten_process, forgotten_reference, damaged_count])
def test_audit_sees(damage):
    s = build("base_page")
    damage(s)
    with pytest.raises((AssertionError, fs.ValidationError)):
        s.audit()


def test_unknown_shape_is_named():
    with pytest.raises(KeyError, match="no_such_shape"):
        build("no_such_shape", "arm64")
