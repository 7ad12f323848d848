import copy
import mmap
import pickle

import numpy as np
import pytest

import foliosim as fs

HUGE = 2 << 20


def test_names_of_the_issue():
    m = fs.Machine(arch="x86_64", memory="64G", policy="linux-6.18", thp="madvise", mthp={"64kB": "madvise"})
    p = m.spawn()
    a = p.mmap(4 << 20, prot=fs.PROT_READ | fs.PROT_WRITE, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS, addr=0)
    p.madvise(a, 4 << 20, fs.MADV_HUGEPAGE)
    assert p.write(a, 4 << 20, value=7) == 1024
    assert p.read(a, 4096) == b"\x07"
    assert p.touch(a, 4 << 20, write=True) == 1024
    m.validate()
    c = p.fork()
    c.mprotect(a, 1 << 20, fs.PROT_READ)
    m.validate()
    c.exit()
    p.mlock(a, 1 << 20)
    m.validate()
    p.munlock(a, 1 << 20)
    p.munmap(a, 4096)
    m.validate()
    ref = p.get_user_pages(a + 4096, 8192)
    assert ref.peek() == b"\x07\x07"
    m.validate()
    ref.release()
    pin = p.pin_user_pages(a + 4096, 8192, longterm=True, write=True)
    m.validate()
    pin.release()
    m.validate()


@pytest.mark.parametrize("name", [name for name in fs.__all__ if hasattr(mmap, name)])
def test_constants_are_those_of_the_mmap_module(name):
    assert getattr(fs, name) == getattr(mmap, name)


def test_all_names_exist():
    assert len(set(fs.__all__)) == len(fs.__all__)
    assert [name for name in fs.__all__ if not hasattr(fs, name)] == []


@pytest.mark.parametrize("wrong, named", [
    ({"arch": "vax"}, "vax"),
    ({"memory": "64Q"}, "64Q"),
    ({"memory": -1}, "-1"),
    ({"memory": 4096}, "4 KiB"),
    ({"policy": "linux-9.9"}, "linux-9.9"),
    ({"policy": {"no_point": "keep"}}, "no_point"),
    ({"policy": {"vma_split": "sometimes"}}, "sometimes"),
    ({"policy": object()}, "vma_split"),
    ({"thp": "perhaps"}, "perhaps"),
    ({"mthp": {"64kB": "perhaps"}}, "perhaps"),
    ({"mthp": {"65kB": "always"}}, "65kB"),
    ({"mthp": {"8kB": "always"}}, "8kB"),
    ({"shmem_enabled": "perhaps"}, "perhaps"),
    ({"mthp_shmem": {"64kB": "perhaps"}}, "perhaps"),
])
def test_a_bad_value_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        fs.Machine(**{"memory": "64M", **wrong})


@pytest.mark.parametrize("wrong", [{"memory": 1.5}, {"memory": True}, {"memory": None}])
def test_a_bad_type_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        fs.Machine(**wrong)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError):
        fs.Machine("x86_64")


def test_copies_of_machines_and_processes_are_branches(machine, process):
    for copied in (copy.deepcopy([machine, process]), pickle.loads(pickle.dumps([machine, process]))):
        assert copied[0] is not machine and copied[1].machine is copied[0] and copied[1].pid == process.pid


def test_folio_of_a_thp(machine, process, thp):
    pfn = process.translate(thp) >> 12
    folio = machine.folio(pfn + 300)
    assert (folio.pfn, folio.order, folio.nr_pages) == (pfn, 9, 512)
    assert (folio.refcount, folio.mapcount, folio.entire_mapcount, folio.pincount) == (1, 1, 1, 0)
    assert folio.deferred and not folio.partially_mapped
    assert folio.anon_exclusive and not folio.maybe_shared
    assert {"anon", "lru", "thp", "compound_head"} <= set(folio.flag_names)
    assert repr(folio).startswith(f"<Folio pfn={pfn:#x} order=9 refcount=1 mapcount=1 ")


def test_folio_is_a_picture_of_one_moment(machine, process, thp):
    pfn = process.translate(thp) >> 12
    before = machine.folio(pfn)
    process.fork()
    assert before.mapcount == 1
    assert machine.folio(pfn).mapcount == 2


def test_frames_that_are_no_folio(machine, process, thp):
    pfn = process.translate(thp) >> 12
    process.munmap(thp, HUGE)
    assert machine.folio(pfn) is None
    assert machine.folio(process.pgd) is None
    with pytest.raises(ValueError, match="0xffffffff"):
        machine.folio(0xffffffff)


def test_kpage_arrays(machine, process, thp):
    pfns = np.arange(512, dtype=np.uint64) + (process.translate(thp) >> 12)
    flags, counts = machine.kpageflags(pfns), machine.kpagecount(pfns)
    assert flags.dtype == counts.dtype == np.uint64
    assert (counts == 1).all()
    assert flags[0] & fs.KPF_COMPOUND_HEAD and not flags[0] & fs.KPF_COMPOUND_TAIL
    assert (flags[1:] & fs.KPF_COMPOUND_TAIL != 0).all()
    assert (flags & fs.KPF_THP != 0).all()


def test_split_folio(machine, process, thp):
    pfn = process.translate(thp) >> 12
    machine.split_folio(pfn, new_order=0)
    machine.validate()
    assert machine.folio(pfn + 7).order == 0
    assert process.read(thp, HUGE) == b"\x07" * 512
    assert machine.mthp_stats()[9]["split"] == 1
    with pytest.raises(ValueError, match="no folio"):
        machine.split_folio(process.pgd)


def test_split_folio_of_a_referenced_folio(machine, process, thp):
    pfn = process.translate(thp) >> 12
    with process.get_user_pages(thp, 4096):
        with pytest.raises(BlockingIOError):
            machine.split_folio(pfn)
        machine.validate()
        assert machine.folio(pfn).order == 9
        assert machine.mthp_stats()[9]["split_failed"] == 1
    machine.split_folio(pfn)


@pytest.mark.parametrize("order", [2, 4, 8])
def test_split_folio_to_an_order(machine, process, thp, order):
    pfn = process.translate(thp) >> 12
    machine.split_folio(pfn, new_order=order)
    machine.validate()
    assert [machine.folio(pfn + i).order for i in (0, 300, 511)] == [order] * 3


@pytest.mark.parametrize("order", [9, 10, -1, 1])
def test_split_folio_to_an_order_that_cannot_be(machine, process, thp, order):
    with pytest.raises((OSError, ValueError)):
        machine.split_folio(process.translate(thp) >> 12, new_order=order)
    machine.validate()
    assert machine.folio(process.translate(thp) >> 12).order == 9


def test_vmstat(machine, process, thp):
    events = machine.vmstat()
    assert events["thp_fault_alloc"] == 1 and events["pgfault"] == 1
    assert events["deferred_split_folios"] == 1
    assert events["nr_inactive_anon"] + events["nr_active_anon"] == 512
    free = events["nr_free_pages"]
    process.munmap(thp, HUGE)
    assert machine.vmstat()["nr_free_pages"] >= free + 512


def test_counters_since(machine, process, thp):
    before = machine.counters()
    assert machine.counters_since(before) == {"vmstat": {}, "mthp_stats": {}}
    process.munmap(thp, 4096)
    changes = machine.counters_since(before)
    assert changes["vmstat"] == {"thp_deferred_split_page": 1, "thp_split_pmd": 1}
    assert changes["mthp_stats"]["2048kB"] == {"nr_anon_partially_mapped": 1, "split_deferred": 1}


def test_a_damaged_count_is_named(process, thp):
    machine = process.machine
    named = machine.corrupt("folio", process.translate(thp) >> 12, "refcount", 1)
    with pytest.raises(fs.ValidationError) as caught:
        machine.validate()
    assert [difference[:2] for difference in caught.value.differences] == [named]
    assert "refcount" in str(caught.value)
    machine.corrupt("folio", process.translate(thp) >> 12, "refcount", -1)


def test_memory_comes_back(machine):
    free = []
    for _ in range(3):
        process = machine.spawn()
        addr = process.mmap(8 << 20)
        process.madvise(addr, 4 << 20, fs.MADV_HUGEPAGE)
        process.write(addr, 8 << 20, value=1)
        child = process.fork()
        child.write(addr, 8 << 20, value=2)
        machine.validate()
        process.exit()
        child.exit()
        machine.validate()
        free.append(machine.vmstat()["nr_free_pages"])
    assert free == [free[0]] * 3          # zero pages, once made, stay
    assert machine.vmstat()["nr_page_table_pages"] == 0


def test_machines_do_not_share_anything(process, thp):
    other = fs.Machine(memory="64M")
    assert other.vmstat()["pgfault"] == 0
    other.spawn()
    other.validate()
