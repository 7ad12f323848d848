"""The fixtures that users get, and an audit that can fail."""
import pytest
from hypothesis import find, given, settings

import foliosim as fs
from foliosim.testing.shapes import build, shapes_of
from foliosim.testing.strategies import OPS, addresses, perform, scripts, spans

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


# ---- arch ----

def test_machine_is_of_the_arch(arch, machine, process):
    assert (machine.arch, machine.page_size) == (arch.arch, arch.page_size)
    addr = process.mmap(arch.pmd_size)
    assert process.write(addr, arch.pmd_size, value=1) == arch.pmd_size // arch.page_size


# ---- strategies ----

few = settings(max_examples=30, deadline=None, derandomize=True)


@few
@given(spans(0x1000, 3 << 20), addresses(0x1000, 64 << 10, page_size=16 << 10))
def test_places_are_whole_pages_of_the_range(span, addr):
    start, length = span
    assert start % 4096 == length % 4096 == 0
    assert 0x1000 <= start < start + length <= 0x1000 + (3 << 20)
    assert addr in range(0x1000, 0x1000 + (64 << 10), 16 << 10)


@pytest.mark.parametrize("ops, rare", [(OPS, {"exit"}), (("fork", "exit", "write"), set())])
def test_scripts_can_be_performed(ops, rare):
    came = set()

    @few
    @given(scripts(ops=ops, max_steps=20))
    def one(script):
        results = perform(fs.Machine(memory="64M", thp="always"), script)
        assert len(results) == len(script)
        assert all("ret" in result or "errno" in result or "signal" in result for result in results)
        came.update(step["op"] for step in script)

    one()
    assert {"mmap", *ops} - rare <= came <= {"mmap", *ops}


@few
@given(scripts(ops=["madvise"], advices=["free"]))
def test_what_may_come_can_be_chosen(script):
    assert {step.get("advice") for step in script[1:]} <= {"free"}


def test_an_unknown_op_is_named():
    with pytest.raises(ValueError, match="ops 'jump': valid are write, "):
        find(scripts(ops=["jump"]), lambda script: True)


def test_a_step_that_breaks_a_count_is_named(machine):
    script = [{"op": "mmap", "proc": "p0", "addr": "0x200000000000", "length": 4096, "prot": "rw",
               "flags": ["private", "anonymous", "fixed"]},
              {"op": "write", "proc": "p0", "addr": "0x200000000000", "length": 4096, "value": 1}]
    perform(machine, script)
    frame = machine.processes()[0].translate(0x200000000000) >> 12
    machine.corrupt("page", frame, "mapcount", 1)
    with pytest.raises(fs.ValidationError) as caught:
        perform(machine, script)
    assert caught.value.__notes__[0].startswith("after step 0 of the script: {'op': 'mmap'")
    machine.corrupt("page", frame, "mapcount", -1)
