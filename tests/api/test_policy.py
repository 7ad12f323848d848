import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim.cli import main
from foliosim.policy import POINTS, PRESETS, Alternative, Point, preset

HUGE, HALF, PAGE, AT = 2 << 20, 1 << 20, 4096, 0x200000000000


def thp_in(machine):
    process = machine.spawn()
    addr = process.mmap(HUGE)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    process.write(addr, HUGE, value=7)
    return process, addr


def orders(machine, process, addr):
    return [machine.folio(process.translate(addr + i * PAGE) >> 12).order for i in (0, 255, 256, 511)]


def unevictable(machine, process, addr):
    words = process.pagemap(addr, HUGE) & fs.PM_PFRAME_MASK
    return int((machine.kpageflags(words) & fs.KPF_UNEVICTABLE != 0).sum())


class TestTable:
    def test_presets_give_every_point(self):
        for name, choices in PRESETS.items():
            assert list(choices) == list(POINTS)
            assert all(choices[point] in POINTS[point].names for point in POINTS)
            assert preset(name) == choices and preset(name) is not choices

    def test_the_default_is_linux(self):
        assert fs.Machine(memory="64M").policy == PRESETS["linux-6.18"]

    @pytest.mark.parametrize("point, name", [
        (name, one.name + (f"({one.number[1]})" if one.number else ""))
        for name, point in POINTS.items() for one in point.alternatives])
    def test_every_alternative_is_compiled_in(self, point, name):
        machine = fs.Machine(memory="64M", policy={point: name})
        assert machine.policy == {**PRESETS["linux-6.18"], point: name}

    def test_sources_are_kernel_functions_or_mails(self):
        sources = [one.source for point in POINTS.values() for one in point.alternatives]
        assert all(sources) and not [source for source in sources if re.search(r"reference P|P\d\d", source)]

    def test_an_unknown_policy_leaves_the_machine_as_it_was(self, machine):
        machine.set_policy({"mlock_rule": "whole"})
        before = dict(machine.policy)
        for wrong in ("linux-9.9", {"mlock_rule": "split", "no_point": "x"}, {"mlock_rule": "split", "pin_long": "x"},
                      object()):
            with pytest.raises(ValueError):
                machine.set_policy(wrong)
            assert machine.policy == before
        process, addr = thp_in(machine)
        process.mlock(addr, HALF)
        assert unevictable(machine, process, addr) == 512        # still whole

    def test_points_left_out_stay(self, machine):
        machine.set_policy({"mlock_rule": "whole"})
        machine.set_policy({"vma_split": "split_try"})
        assert (machine.policy["mlock_rule"], machine.policy["vma_split"]) == ("whole", "split_try")


class TestAlternatives:
    @pytest.mark.parametrize("rule, locked", [
        ("contained_eager", 0), ("contained_lazy", 0), ("pmd_only", 0), ("whole", 512), ("split", 256), ("forbid", 256),
    ])
    def test_mlock_rule(self, machine, rule, locked):
        machine.set_policy({"mlock_rule": rule})
        process, addr = thp_in(machine)
        process.mlock(addr, HALF)
        machine.validate()
        assert unevictable(machine, process, addr) == locked
        process.munlock(addr, HALF)
        machine.validate()
        assert unevictable(machine, process, addr) == 0

    @pytest.mark.parametrize("answer, after", [
        ("keep", 9), ("split_try", 0), ("split_try_defer", 0), ("defer_always", 9)])
    def test_vma_split(self, machine, answer, after):
        machine.set_policy({"vma_split": answer})
        process, addr = thp_in(machine)
        process.mprotect(addr, HALF, fs.PROT_READ)
        machine.validate()
        assert orders(machine, process, addr) == [after] * 4
        folio = machine.folio(process.translate(addr) >> 12)
        assert folio.partially_mapped == (answer == "defer_always")
        assert process.read(addr, HUGE) == b"\x07" * 512

    def test_vma_split_nonuniform(self, machine):
        machine.set_policy({"vma_split": "split_nonuniform"})
        process, addr = thp_in(machine)
        process.mprotect(addr, HALF, fs.PROT_READ)
        machine.validate()
        assert orders(machine, process, addr)[:2] == [8, 8]
        assert process.read(addr, HUGE) == b"\x07" * 512

    @pytest.mark.parametrize("answer, queued", [("split_try", False), ("split_try_defer", True)])
    def test_a_split_that_fails(self, machine, answer, queued):
        machine.set_policy({"vma_split": answer})
        process, addr = thp_in(machine)
        with process.get_user_pages(addr, PAGE):
            process.mprotect(addr, HALF, fs.PROT_READ)
            machine.validate()
        assert orders(machine, process, addr) == [9] * 4
        assert machine.folio(process.translate(addr) >> 12).partially_mapped == queued
        assert machine.mthp_stats()[9]["split_failed"] == 1

    @pytest.mark.parametrize("answer, order", [("order0", 0), ("inherit", 9)])
    def test_cow_order(self, machine, answer, order):
        machine.set_policy({"cow_order": answer})
        process, addr = thp_in(machine)
        child = process.fork()
        child.write(addr + HALF, PAGE, value=9)
        machine.validate()
        assert machine.folio(child.translate(addr + HALF) >> 12).order == order
        assert process.read(addr + HALF, PAGE) == b"\x07"
        assert child.read(addr + HALF, 2 * PAGE) == b"\x09\x07"

    @pytest.mark.parametrize("point, longterm", [("pin_short", False), ("pin_long", True)])
    @pytest.mark.parametrize("answer, order", [("no_split", 9), ("split", 0)])
    def test_pins(self, machine, point, longterm, answer, order):
        machine.set_policy({point: answer})
        process, addr = thp_in(machine)
        if longterm:
            reference = process.pin_user_pages(addr, PAGE, longterm=True, write=True)
        else:
            reference = process.get_user_pages(addr, PAGE)
        machine.validate()
        assert orders(machine, process, addr) == [order] * 4
        assert reference.peek() == b"\x07"
        reference.release()
        machine.validate()


class Asked:
    """A policy that notes what it is asked and answers with one thing."""

    def __init__(self, point, answer):
        self.seen = []
        self.answer = answer
        setattr(self, point, self.ask)

    def ask(self, *args):
        self.seen.append(args)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


def cut(process, addr):
    process.mprotect(addr, HALF, fs.PROT_READ)


def lock(process, addr):
    process.mlock(addr, HALF)


def copy_page(process, addr):
    process.fork().write(addr, PAGE, value=9)


def reference(process, addr):
    process.get_user_pages(addr, PAGE).release()


def pin(process, addr):
    process.pin_user_pages(addr, PAGE, longterm=True).release()


def register(process, addr):
    process.register_buffers([(addr, PAGE)]).unregister()


def protect_shared(process, addr):
    process.fork().mprotect(addr, HALF, fs.PROT_READ)


def copy_with_neighbours(process, addr):
    process.machine.set_policy({"cow_order": "fixed(2)"})
    copy_page(process, addr)


def keep(process, addr):
    process.fork().exit()
    process.write(addr, PAGE, value=9)


def keep_by_pte(process, addr):
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.fork().exit()
    process.write(addr + HALF, PAGE, value=9)


def unmap_part(process, addr):
    process.madvise(addr, PAGE, fs.MADV_DONTNEED)


def fork_with_pin(process, addr):
    with process.pin_user_pages(addr, PAGE, longterm=True, write=True):
        process.fork()


def fault(process, addr):
    process.mmap(HUGE)
    process.write(process.mmap(HUGE), PAGE, value=1)


def fault_without_memory(process, addr):
    """Everything but single pages is in use."""
    machine = process.machine
    small = process.mmap(machine.vmstat()["nr_free_pages"] * PAGE)
    heap = process.mmap(2 * HUGE)
    process.madvise(heap, 2 * HUGE, fs.MADV_HUGEPAGE)
    while machine.vmstat()["nr_free_pages"] >= 64:
        process.write(small, PAGE, value=1)
        small += PAGE
    process.write(heap + HUGE, PAGE, value=1)


def read_hole(process, addr):
    process.madvise(addr, HUGE, fs.MADV_DONTNEED)
    process.read(addr, PAGE)


def fault_huge(process, addr):
    read_hole(process, addr)
    process.write(addr, PAGE, value=1)


def split(process, addr):
    process.madvise(addr, PAGE, fs.MADV_FREE)


def split_zeros(process, addr):
    process.write(addr, HUGE, value=0)
    process.machine.split_folio(process.translate(addr) >> 12)


def evict_half_locked(process, addr):
    process.mlock(addr, HALF)
    reclaim_old(process, addr)


def reclaim_old(process, addr):
    process.clear_refs(1)
    process.machine.reclaim(512)


def shrink(process, addr):
    process.machine.shrink_deferred()


def collapse_again(process, addr):
    process.madvise(addr, PAGE, fs.MADV_DONTNEED)
    process.machine.khugepaged_scan(process)


def split_by_cut(process, addr):
    process.mprotect(addr, PAGE, fs.PROT_READ)


OPERATIONS = {"vma_split": cut, "mlock_rule": lock, "fork_child_mprotect": protect_shared, "cow_order": copy_page,
              "dirty_neighbours": copy_with_neighbours, "cow_reuse": keep, "reuse_around": keep_by_pte,
              "mapcount_model": unmap_part, "pin_short": reference, "pin_long": pin, "pin_account": register, "fork_pinned": fork_with_pin,
              "fault_order": fault, "fault_fallback": fault_without_memory, "zero_page": read_hole,
              "partial_unmap": unmap_part, "deferred_members": fault_huge, "split_target": split,
              "drop_zero_pages": split_zeros, "madv_free_partial": split, "partial_evict": evict_half_locked,
              "collapse_rule": collapse_again, "collapse_vs_free": collapse_again, "underused": shrink,
              "age_unit": reclaim_old, "contpte": split_by_cut, "swap_large": reclaim_old}
ANSWERS = {"vma_split": "split_try", "mlock_rule": True, "fork_child_mprotect": "cow_part", "cow_order": "inherit",
           "dirty_neighbours": "no", "cow_reuse": "copy", "reuse_around": "window(2)", "mapcount_model": "large_only",
           "pin_short": "split", "pin_long": "split", "pin_account": "pages", "fork_pinned": "copy_pinned_page",
           "fault_order": "up_to(4)",
           "fault_fallback": "straight_to_0", "zero_page": "small", "partial_unmap": "split_now",
           "deferred_members": True, "split_target": "lower_uniform(3)", "drop_zero_pages": "no",
           "madv_free_partial": "mark_whole", "partial_evict": "split_then_sort", "collapse_rule": True,
           "collapse_vs_free": "off", "underused": True, "age_unit": "young", "contpte": False, "swap_large": "order0"}
ONLY_ARM64 = {"contpte"}
WITH_SWAP = {"partial_evict", "age_unit", "swap_large"}


def test_each_point_is_tried():
    assert set(OPERATIONS) == set(ANSWERS) == set(POINTS)


@pytest.mark.parametrize("point", OPERATIONS)
class TestPythonPolicies:
    @pytest.fixture
    def machine(self, point):
        return fs.Machine(memory="64M", swap="8M" if point in WITH_SWAP else None,
                          arch="arm64" if point in ONLY_ARM64 else "x86_64")

    def test_it_takes_the_slot(self, machine, point):
        policy = Asked(point, ANSWERS[point])
        machine.set_policy(policy)
        process, addr = thp_in(machine)
        OPERATIONS[point](process, addr)
        machine.validate()
        assert policy.seen
        assert all(len(args) == len(POINTS[point].arguments) for args in policy.seen)
        assert machine.policy[point] == policy.ask

    def test_a_callable_in_a_dict(self, machine, point):
        policy = Asked(point, ANSWERS[point])
        machine.set_policy({point: policy.ask})
        OPERATIONS[point](*thp_in(machine))
        assert policy.seen

    def test_an_exception_reaches_the_caller(self, machine, point):
        error = LookupError("no idea")
        process, addr = thp_in(machine)
        machine.set_policy(Asked(point, error))
        with pytest.raises(LookupError) as caught:
            OPERATIONS[point](process, addr)
        assert caught.value is error
        machine.validate()
        machine.set_policy("linux-6.18")
        cut(process, addr)                                       # and nothing is left over
        machine.validate()

    def test_a_wrong_answer_is_named(self, machine, point):
        process, addr = thp_in(machine)
        machine.set_policy(Asked(point, "nonsense"))
        with pytest.raises(ValueError, match="nonsense"):
            OPERATIONS[point](process, addr)
        machine.validate()

    @pytest.mark.parametrize("call", [
        lambda machine, process, addr: process.mmap(PAGE),
        lambda machine, process, addr: process.write(addr, PAGE, value=1),
        lambda machine, process, addr: process.fork(),
        lambda machine, process, addr: process.exit(),
        lambda machine, process, addr: process.pagemap(addr, PAGE),
        lambda machine, process, addr: machine.spawn(),
        lambda machine, process, addr: machine.split_folio(process.translate(addr) >> 12),
        lambda machine, process, addr: machine.set_policy("linux-6.18"),
    ])
    def test_reentry_is_refused(self, machine, point, call):
        process, addr = thp_in(machine)
        machine.set_policy(Asked(point, lambda: call(machine, process, addr)))
        with pytest.raises(fs.ReentryError):
            OPERATIONS[point](process, addr)
        machine.validate()
        assert machine.policy[point] != "linux-6.18"


def test_arguments_of_a_hook(machine):
    policy = Asked("vma_split", "keep")
    machine.set_policy(policy)
    process, addr = thp_in(machine)
    process.mprotect(addr, 64 * PAGE, fs.PROT_READ)
    assert policy.seen == [(9, 64, False)]


def test_another_machine_may_be_asked_in_a_hook(machine):
    other = fs.Machine(memory="64M")
    machine.set_policy(Asked("vma_split", lambda: "keep" if other.spawn() else None))
    cut(*thp_in(machine))
    other.validate()


def test_two_methods_take_two_slots(machine):
    class Both:
        def mlock_rule(self, event, order, nr_mapped, pmd, within):
            return event != "map"

        def vma_split(self, order, page, shared):
            return "keep"

    machine.set_policy(Both())
    process, addr = thp_in(machine)
    process.mlock(addr, HALF)
    machine.validate()
    assert unevictable(machine, process, addr) == 512


class TestParse:
    def test_a_number_behind_the_name(self):
        point = Point("P00", "order", "?", (), (Alternative("none", "", ""), Alternative("fixed", "", "", ("n", 1, 9))))
        assert point.parse("none") == ("none", 0) and point.parse("fixed(9)") == ("fixed", 9)
        for wrong in ("fixed", "fixed(0)", "fixed(10)", "fixed(2", "fixed(x)", "none(1)", "other", "", None, 3):
            with pytest.raises(ValueError, match="order"):
                point.parse(wrong)


    @pytest.mark.parametrize("point, text, want", [
        ("fault_order", "always(2M)", ("always", 0)), ("collapse_rule", "quadruple_active(3 of 4)", ("quadruple_active", 0)),
        ("partial_unmap", "split_now_if_order<=4", ("split_now_if_order", 4))])
    def test_as_the_literature_writes_it(self, point, text, want):
        assert POINTS[point].parse(text) == want
        assert fs.Machine(memory="64M", policy={point: text}).policy[point] == text


class Entry:
    def __init__(self, name, value):
        self.name, self.value = name, value

    def load(self):
        return self.value


class TestInstalled:
    """Policies that other packages offer."""

    @pytest.fixture
    def offer(self, monkeypatch):
        def offer(name, value):
            monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry(name, value)])

        return offer

    def test_a_preset(self, offer):
        offer("mine", {"vma_split": "split_try"})
        assert fs.Machine(memory="64M", policy="mine").policy == {**PRESETS["linux-6.18"], "vma_split": "split_try"}

    def test_a_class(self, offer):
        class Mine:
            def vma_split(self, order, page, shared):
                return "split_try"

        offer("mine", Mine)
        machine = fs.Machine(memory="64M", policy="mine")
        process, addr = thp_in(machine)
        cut(process, addr)
        assert orders(machine, process, addr) == [0] * 4

    def test_an_alternative(self, offer):
        offer("vma_split.mine", lambda order, page, shared: "split_try")
        machine = fs.Machine(memory="64M", policy={"vma_split": "mine"})
        process, addr = thp_in(machine)
        cut(process, addr)
        assert orders(machine, process, addr) == [0] * 4

    def test_an_unknown_one_is_named(self, offer):
        offer("mine", {})
        with pytest.raises(ValueError, match="'yours'.*mine"):
            fs.Machine(memory="64M", policy="yours")
        offer("vma_split.theirs", len)
        with pytest.raises(ValueError, match="'yours'.*fail, theirs$"):
            fs.Machine(memory="64M", policy={"vma_split": "yours"})

    def test_packages_are_asked_once_and_only_for_unknown_names(self, monkeypatch):
        asked = []
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: asked.append(group) or [
            Entry("vma_split.mine", lambda *known: "keep"), Entry("pin_long.mine", lambda *known: "no_split")])
        fs.Machine(memory="64M", policy={"vma_split": "fail", "cow_order": "fixed(2)"})
        assert not asked
        fs.Machine(memory="64M", policy={"vma_split": "mine", "pin_long": "mine"})
        assert len(asked) == 1


class TestCommand:
    def test_it_lists_all(self):
        result = CliRunner().invoke(main, ["policies"])
        assert result.exit_code == 0
        for point in POINTS.values():
            assert point.name in result.output and all(one.written in result.output for one in point.alternatives)
        assert all(name in result.output for name in PRESETS)

    def test_json(self):
        got = json.loads(CliRunner().invoke(main, ["policies", "--json"]).output)
        assert got["releases"]["linux-6.1"]["cow_reuse"] == ["exclusive_or_last", "do_wp_page, do_huge_pmd_wp_page"]
        assert got["presets"] == PRESETS and [point["name"] for point in got["points"]] == list(POINTS)


def test_a_policy_of_which_one_point_is_refused_changes_nothing():
    import datetime

    machine = fs.Machine(memory="64M", policy={"cow_order": "inherit"})
    with pytest.raises(ValueError, match="capsule"):
        machine.set_policy({"cow_order": "order0", "mlock_rule": datetime.datetime_CAPI})
    assert machine.policy["cow_order"] == "inherit"
    with pytest.raises(ValueError):
        machine.set_policy_point("vma_split", ("keep",))


def test_the_ledger_of_what_is_no_machine():
    from foliosim.ledger import Ledger

    with pytest.raises(TypeError, match="must be a Machine"):
        Ledger.read(5)


@pytest.mark.parametrize("read", [
    lambda m, p: p.maps(), lambda m, p: p.smaps(), lambda m, p: p.pagemap(AT, HUGE),
    lambda m, p: m.kpagecount(np.array([p.translate(AT) >> 12], np.uint64))])
def test_what_a_hook_raises_while_proc_is_read_reaches_the_reader(read):
    class Boom(Exception):
        pass

    def hook(*_):
        raise Boom

    m = fs.Machine(memory="64M", thp="always")
    p = m.spawn()
    p.mmap(HUGE, addr=AT, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.write(AT, HUGE, value=1)
    p.fork()
    m.set_policy({"mapcount_model": hook})
    with pytest.raises(Boom):
        read(m, p)
    m.drain()


def test_a_fork_of_small_pages_asks_nothing_about_huge_leaves():
    asked = []
    m = fs.Machine(memory="64M", thp="never")
    p = m.spawn()
    p.mmap(2 * HUGE, addr=AT, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    p.write(AT, 2 * HUGE, value=1)
    m.set_policy({"mapcount_model": lambda *facts: asked.append(facts) or "per_page"})
    p.fork()
    assert not asked
