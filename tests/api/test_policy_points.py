"""One test for each alternative: what it changes against the default, in the smallest scenario."""
import pytest

import foliosim as fs
from foliosim.policy import POINTS, PRESETS

HUGE, HALF, PAGE = 2 << 20, 1 << 20, 4096


def make(policy=None, *, size=HUGE, advise=True, **settings):
    machine = fs.Machine(memory="64M", policy=policy or {}, **settings)
    process = machine.spawn()
    addr = process.mmap(size)
    if advise:
        process.madvise(addr, size, fs.MADV_HUGEPAGE)
    return machine, process, addr


def written(policy=None, **settings):
    machine, process, addr = make(policy, **settings)
    process.write(addr, HUGE, value=7)
    return machine, process, addr


def folio(machine, process, addr):
    return machine.folio(process.translate(addr) >> 12)


def order(machine, process, addr):
    return folio(machine, process, addr).order


def writable(process, addr):
    return bool(process.walk([addr], access="write")["error"][0] == 0)


def copied(machine):
    return machine.vmstat()["cow_bytes"]


# ---- P01 ----

@pytest.mark.parametrize("answer, orders, copies, queued", [
    ("keep", (9, 9), 0, False), ("split_try", (9, 9), 0, False), ("copy_out", (8, 9), HALF, True),
    ("retry(3)", (9, 9), 0, False), ("retry", (9, 9), 0, False), (lambda *_: "retry", (9, 9), 0, False),
    ("defer_recheck", (9, 9), 0, True)])
def test_vma_split_that_fails(answer, orders, copies, queued):
    machine, process, addr = written({"vma_split": answer})
    with process.get_user_pages(addr + HALF, PAGE):
        process.mprotect(addr, HALF, fs.PROT_READ)
        machine.validate()
    assert (order(machine, process, addr), order(machine, process, addr + HALF)) == orders
    assert copied(machine) == copies
    assert folio(machine, process, addr + HALF).partially_mapped == queued
    tries = 101 if callable(answer) else {"keep": 0, "defer_recheck": 0, "retry(3)": 4, "retry": 101}.get(answer, 1)
    assert machine.mthp_stats()[9]["split_failed"] == tries
    assert process.read(addr, HUGE) == b"\x07" * 512


def test_vma_split_fail():
    machine, process, addr = written({"vma_split": "fail"})
    with process.get_user_pages(addr, PAGE):
        with pytest.raises(fs.SyscallError, match="EAGAIN"):
            process.mprotect(addr, HALF, fs.PROT_READ)
        machine.validate()
        assert len(process.maps()) == 1
    process.mprotect(addr, HALF, fs.PROT_READ)
    machine.validate()
    assert order(machine, process, addr) == 0 and len(process.maps()) == 2


def test_vma_split_copy_out_spares_what_is_pinned():
    machine, process, addr = written({"vma_split": "copy_out"})
    with process.pin_user_pages(addr, PAGE, longterm=True, write=True) as pin:
        process.mprotect(addr, HALF, fs.PROT_READ)
        machine.validate()
        assert pin.page_frames == [process.translate(addr) >> 12]


def test_vma_split_where_a_merge_moves_the_edge():
    machine, process, addr = written({"vma_split": "split_try"}, size=2 * HUGE)
    process.write(addr + HUGE, HUGE, value=7)
    process.mprotect(addr, HUGE, fs.PROT_READ)
    process.mprotect(addr + HUGE, HALF, fs.PROT_READ)
    machine.validate()
    assert order(machine, process, addr) == 9 and order(machine, process, addr + HUGE) == 0


@pytest.mark.parametrize("answer, merged, order_after", [
    ("defer_recheck", True, 9), ("defer_recheck", False, 0), ("defer_always", True, 0), ("keep", False, 9)])
def test_vma_split_seen_again_by_the_shrinker(answer, merged, order_after):
    machine, process, addr = written({"vma_split": answer, "deferred_members": "exclude_fully_unmapped"})
    process.mprotect(addr, HALF, fs.PROT_READ)
    if merged:
        process.mprotect(addr, HALF, fs.PROT_READ | fs.PROT_WRITE)
    assert folio(machine, process, addr).deferred == (answer != "keep")
    machine.shrink_deferred()
    machine.validate()
    assert order(machine, process, addr) == order_after
    assert not folio(machine, process, addr).deferred and not folio(machine, process, addr).partially_mapped
    assert machine.ledger()["deferred.len"] == 0
    assert process.read(addr, HUGE) == b"\x07" * 512


def test_defer_recheck_splits_what_lost_a_page():
    machine, process, addr = written({"vma_split": "defer_recheck"})
    process.mprotect(addr, HALF, fs.PROT_READ)
    process.mprotect(addr, HALF, fs.PROT_READ | fs.PROT_WRITE)
    process.madvise(addr, PAGE, fs.MADV_DONTNEED)
    machine.shrink_deferred()
    machine.validate()
    assert order(machine, process, addr + PAGE) == 0


# ---- P02 ----

@pytest.mark.parametrize("rule, orders, copies", [
    ("contained_eager", (9, 9), 0), ("split", (0, 0), 0), ("copy_out", (8, 9), HALF)])
def test_mlock_rule(rule, orders, copies):
    machine, process, addr = written({"mlock_rule": rule})
    process.mlock(addr, HALF)
    machine.validate()
    assert (order(machine, process, addr), order(machine, process, addr + HALF)) == orders
    assert copied(machine) == copies
    assert bool(folio(machine, process, addr).flags & fs.KPF_UNEVICTABLE) == (rule != "contained_eager")
    assert not folio(machine, process, addr + HALF).flags & fs.KPF_UNEVICTABLE


# ---- P05 ----

@pytest.mark.parametrize("answer, child_order, parent_order, copies, shared", [
    ("pmd_split_child", 9, 9, 0, True), ("split_both", 0, 0, 0, True), ("cow_whole", 9, 9, HUGE, False),
    ("cow_part", 8, 9, HALF, True)])
def test_fork_child_mprotect(answer, child_order, parent_order, copies, shared):
    machine, process, addr = written({"fork_child_mprotect": answer})
    child = process.fork()
    child.mprotect(addr + HALF, HALF, fs.PROT_READ)
    machine.validate()
    assert order(machine, child, addr + HALF) == child_order
    assert order(machine, process, addr) == parent_order
    assert copied(machine) == copies
    before = copied(machine)
    process.write(addr, PAGE, value=9)
    machine.validate()
    assert (copied(machine) > before) == shared                 # the parent is the sole owner only after cow_whole
    assert child.read(addr, HUGE) == b"\x07" * 512


# ---- P06 ----

@pytest.mark.parametrize("answer, copies", [
    ("order0", PAGE), ("inherit", HUGE), ("fixed(4)", 16 * PAGE), ("fixed(9)", HUGE), ("whole_huge", HUGE)])
def test_cow_order(answer, copies):
    machine, process, addr = written({"cow_order": answer})
    child = process.fork()
    child.write(addr + HALF, PAGE, value=9)
    machine.validate()
    assert copied(machine) == copies
    assert process.read(addr, HUGE) == b"\x07" * 512
    assert child.read(addr + HALF, 2 * PAGE) == b"\x09\x07"


def test_cow_order_whole_huge_leaves_tables_alone():
    machine, process, addr = written({"cow_order": "whole_huge"})
    process.mprotect(addr, PAGE, fs.PROT_READ)                  # no PMD any more
    child = process.fork()
    child.write(addr + HALF, PAGE, value=9)
    assert copied(machine) == PAGE
    machine.validate()


def test_cow_order_of_single_pages():
    machine, process, addr = make({"cow_order": "fixed(2)"}, advise=False)
    process.write(addr, 16 * PAGE, value=7)
    child = process.fork()
    child.write(addr + 5 * PAGE, PAGE, value=9)
    machine.validate()
    assert copied(machine) == 4 * PAGE and order(machine, child, addr + 4 * PAGE) == 2
    assert child.read(addr, 16 * PAGE) == b"\x07" * 5 + b"\x09" + b"\x07" * 10


def test_cow_order_falls_back_for_pins():
    machine, process, addr = written({"cow_order": "fixed(4)"})
    process.mprotect(addr, PAGE, fs.PROT_READ)
    child = process.fork()
    with process.get_user_pages(addr, PAGE), child.pin_user_pages(addr + HALF, PAGE):
        before = copied(machine)
        process.write(addr + HALF + 16 * PAGE, PAGE, value=9)
        assert copied(machine) == before + 16 * PAGE
        machine.validate()


def test_cow_order_falls_back_where_soft_dirty_is_tracked():
    machine, process, addr = written({"cow_order": "fixed(4)"}, soft_dirty=True)
    process.clear_refs(4)
    child = process.fork()
    child.write(addr, PAGE, value=9)
    machine.validate()
    assert copied(machine) == PAGE


@pytest.mark.parametrize("answer, neighbour", [("yes", True), ("no", False)])
def test_dirty_neighbours(answer, neighbour):
    machine, process, addr = written({"cow_order": "fixed(2)", "dirty_neighbours": answer})
    child = process.fork()
    child.write(addr, PAGE, value=9)
    machine.validate()
    assert writable(child, addr) and writable(child, addr + PAGE) == neighbour
    before = copied(machine)
    child.write(addr + PAGE, PAGE, value=9)
    assert copied(machine) == before                            # it is the child's own in any case


# ---- P07 ----

def forked_once(rule):
    """A folio mapped by PTEs that a child has shared; the child is gone."""
    machine, process, addr = written({"cow_reuse": rule})
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.fork().exit()
    return machine, process, addr


@pytest.mark.parametrize("rule, copies", [
    ("mm_owner_two_slots", 0), ("anon_exclusive_only", PAGE), ("exclusive_or_last", PAGE), ("refcount_one", PAGE),
    ("exact_owner_set", 0), ("saturating", 0)])
def test_cow_reuse_of_a_large_folio(rule, copies):
    machine, process, addr = forked_once(rule)
    process.write(addr + HALF, PAGE, value=9)
    machine.validate()
    assert copied(machine) == copies


@pytest.mark.parametrize("rule, copies", [
    ("mm_owner_two_slots", PAGE), ("anon_exclusive_only", PAGE), ("exclusive_or_last", 0), ("exact_owner_set", 0)])
def test_cow_reuse_of_the_last_page(rule, copies):
    machine, process, addr = forked_once(rule)
    process.munmap(addr + PAGE, HUGE - PAGE)
    process.mprotect(addr, PAGE, fs.PROT_READ | fs.PROT_WRITE)
    process.write(addr, PAGE, value=9)
    machine.validate()
    assert copied(machine) == copies


@pytest.mark.parametrize("rule, copies", [("mm_owner_two_slots", 0), ("saturating", PAGE), ("exact_owner_set", 0)])
def test_cow_reuse_after_three_processes(rule, copies):
    machine, process, addr = written({"cow_reuse": rule})
    process.mprotect(addr, PAGE, fs.PROT_READ)
    children = [process.fork(), process.fork()]
    for child in children:
        child.exit()
    process.write(addr + HALF, PAGE, value=9)
    machine.validate()
    assert copied(machine) == copies


@pytest.mark.parametrize("rule, copies", [("mm_owner_two_slots", PAGE), ("exact_owner_set", 0)])
def test_cow_reuse_of_a_page_that_only_one_maps(rule, copies):
    machine, process, addr = written({"cow_reuse": rule})
    process.mprotect(addr, PAGE, fs.PROT_READ)
    child = process.fork()
    child.munmap(addr + HALF, HALF)
    process.write(addr + HALF, PAGE, value=9)
    machine.validate()
    assert copied(machine) == copies
    assert child.read(addr, HALF) == b"\x07" * 256


@pytest.mark.parametrize("rule, copies", [("mm_owner_two_slots", 0), ("refcount_one", PAGE)])
def test_cow_reuse_of_a_page_with_a_reference(rule, copies):
    machine, process, addr = make({"cow_reuse": rule}, advise=False, soft_dirty=True)
    process.write(addr, PAGE, value=7)
    with process.get_user_pages(addr, PAGE):
        process.clear_refs(4)                                   # write-protects, so the next write asks
        assert not writable(process, addr)
        process.write(addr, PAGE, value=9)
        machine.validate()
    assert copied(machine) == copies


@pytest.mark.parametrize("answer, around", [("off", False), ("window(3)", True)])
def test_reuse_around(answer, around):
    machine, process, addr = written({"reuse_around": answer})
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.fork().exit()
    process.write(addr + HALF, PAGE, value=9)
    machine.validate()
    assert writable(process, addr + HALF + 7 * PAGE) == around
    assert not writable(process, addr + HALF + 8 * PAGE)


def test_reuse_of_a_shared_page_is_refused():
    machine, process, addr = written({"cow_reuse": lambda *known: "reuse"})
    child = process.fork()
    with pytest.raises(ValueError, match="cow_reuse.*another process"):
        child.write(addr, PAGE, value=9)
    machine.validate()
    assert process.read(addr, PAGE) == b"\x07"


def test_reuse_of_a_page_that_another_has_in_swap_is_refused():
    """The reader's page is in the swap cache, and the child's entry still names the slot: a store would reach both."""
    machine = fs.Machine(memory="64M", swap="8M", policy={"cow_reuse": lambda *known: "reuse"})
    process = machine.spawn()
    addr = process.mmap(4096)
    process.write(addr, 4096, value=1)
    process.madvise(addr, 4096, fs.MADV_PAGEOUT)
    child = process.fork()
    process.read(addr, 4096)
    with pytest.raises(ValueError, match="cow_reuse.*or has in swap"):
        process.write(addr, 4096, value=2)
    machine.set_policy("linux-6.18")
    machine.reclaim(64)
    machine.validate()
    assert child.read(addr, 4096) == b"\1"


# ---- P08 ----

@pytest.mark.parametrize("model, halves, half_each, quarter_each", [
    ("per_page+nr_mapped", False, True, True), ("large_only", False, False, True),
    ("per_vma_table", False, False, False)])
def test_mapcount_model(model, halves, half_each, quarter_each):
    """What is seen to be partly mapped: two processes map a half each, the same half, the same quarter."""
    seen = []
    for first, second in ((HALF, -HALF), (HALF, HALF), (HALF + HALF // 2, HALF + HALF // 2)):
        machine, process, addr = written({"mapcount_model": model})
        child = process.fork()
        process.munmap(addr + HUGE - first, first)
        child.munmap(addr + HUGE - second if second > 0 else addr, abs(second))
        machine.validate()
        seen.append(folio(machine, process, addr).partially_mapped)
    assert seen == [halves, half_each, quarter_each]


@pytest.mark.parametrize("model, private", [("per_page+nr_mapped", 1024), ("large_only", 0), ("per_vma_table", 0)])
def test_mapcount_model_in_smaps(model, private):
    machine, process, addr = written({"mapcount_model": model})
    child = process.fork()
    child.munmap(addr + HALF, HALF)
    area = process.smaps()[0]
    assert area["Private_Dirty"] + area["Private_Clean"] == private


# ---- P10, P11 ----

@pytest.mark.parametrize("answer, splits", [("no_split", False), ("per_page_count", True)])
def test_pins_by_page(answer, splits):
    machine, process, addr = written({"pin_short": answer})
    with process.pin_user_pages(addr, PAGE, write=True) as pin:
        if splits:
            machine.split_folio(process.translate(addr) >> 12)
        else:
            with pytest.raises(fs.SyscallError, match="EAGAIN"):
                machine.split_folio(process.translate(addr) >> 12)
        machine.validate()
        assert order(machine, process, addr) == (0 if splits else 9)
        assert pin.page_frames == [process.translate(addr) >> 12] and pin.peek() == b"\x07"
    machine.validate()


@pytest.mark.parametrize("answer, orders", [
    ("no_split", (9, 9)), ("split_try", (9, 9)), ("move_out", (0, 9)), ("split", None)])
def test_pin_long_where_a_split_fails(answer, orders):
    machine, process, addr = written({"pin_long": answer})
    with process.get_user_pages(addr, PAGE):
        if orders is None:
            with pytest.raises(fs.SyscallError, match="EAGAIN"):
                process.pin_user_pages(addr + HALF, PAGE, longterm=True, write=True)
            machine.validate()
            return
        with process.pin_user_pages(addr + HALF, PAGE, longterm=True, write=True) as pin:
            machine.validate()
            assert (order(machine, process, addr + HALF), order(machine, process, addr)) == orders
            assert pin.page_frames == [process.translate(addr + HALF) >> 12]
    machine.validate()


def test_pin_long_of_memory_that_was_not_touched():
    machine, process, addr = make({"pin_long": "split"})
    with process.pin_user_pages(addr, PAGE, longterm=True, write=True):
        machine.validate()
        assert order(machine, process, addr) == 0


# ---- P13 ----

@pytest.mark.parametrize("answer, copies", [("copy_whole_folio", HUGE), ("copy_pinned_page", PAGE)])
def test_fork_pinned(answer, copies):
    machine, process, addr = written({"fork_pinned": answer})
    with process.pin_user_pages(addr, PAGE, longterm=True, write=True) as pin:
        child = process.fork()
        machine.validate()
        assert copied(machine) == copies
        process.write(addr, PAGE, value=9)
        assert pin.peek() == b"\x09" and child.read(addr, PAGE) == b"\x07"
    machine.validate()


def test_fork_pinned_dontfork():
    machine, process, addr = written({"fork_pinned": "dontfork"})
    pin = process.pin_user_pages(addr + HALF + 100, 8, longterm=True, write=True)
    assert len(process.maps()) == 3 and "dc" in process.smaps()["VmFlags"][1].split()
    child = process.fork()
    machine.validate()
    assert copied(machine) == HUGE - PAGE                       # the folio's other pages: pins are counted by folio
    with pytest.raises(fs.SegvError):
        child.read(addr + HALF, PAGE)                           # the pinned bytes' neighbours are gone too
    assert child.read(addr, HALF) == b"\x07" * 256
    process.write(addr + HALF, PAGE, value=9, offset=100)
    assert pin.peek() == b"\x09"
    pin.release()
    machine.validate()
    assert len(process.maps()) == 1 and process.fork().read(addr + HALF, PAGE, offset=100) == b"\x09"
    machine.validate()


def test_dontfork_stays_where_another_pin_is():
    machine, process, addr = written({"fork_pinned": "dontfork"})
    wide, narrow, short = (process.pin_user_pages(addr + first * PAGE, n * PAGE, longterm=longterm, write=True)
                           for first, n, longterm in ((0, 8, True), (2, 2, True), (6, 1, False)))
    wide.release()
    assert [(area["start"] - addr) // PAGE for area in process.maps()] == [0, 2, 4]
    wide = process.pin_user_pages(addr + 3 * PAGE, 3 * PAGE, longterm=True, write=True)
    narrow.release()
    assert [(area["start"] - addr) // PAGE for area in process.maps()] == [0, 3, 6]
    machine.set_policy({"fork_pinned": "copy_whole_folio"})
    wide.release()
    short.release()
    assert len(process.maps()) == 1
    machine.validate()


def test_dontfork_in_a_copy_of_the_machine():
    machine, process, addr = written({"fork_pinned": "dontfork"})
    pin = process.pin_user_pages(addr, PAGE, longterm=True, write=True)
    copy = machine.branch()
    copy.twin(pin).release()
    copy.validate()
    assert (len(process.maps()), len(copy.twin(process).maps())) == (2, 1)


def test_dontfork_that_fails_pins_nothing():
    machine = fs.Machine(memory="64M", policy={"fork_pinned": "dontfork"}, max_map_count=2)
    process = machine.spawn()
    addr = process.mmap(4 * PAGE)
    with pytest.raises(fs.SyscallError, match="EAGAIN|ENOMEM"):
        process.pin_user_pages(addr + PAGE, PAGE, longterm=True, write=True)
    machine.validate()
    assert machine.ledger()["true.memlock"] == 0 and "dc" not in " ".join(process.smaps()["VmFlags"]).split()
    process.exit()
    machine.validate()


# ---- P14, P15 ----

@pytest.mark.parametrize("answer, plain, advised", [
    ("mthp", 4, 4), ("pmd_enabled", 0, 9), ("never", 0, 0), ("madvise", 0, 9), ("always", 9, 9), ("defer", 0, 9),
    ("vma_scaled", 4, 4), ("up_to(3)", 3, 3)])
def test_fault_order(answer, plain, advised):
    for advise, want in ((False, plain), (True, advised)):
        mthp = {"64kB": "always"} if answer == "mthp" else {}
        if answer == "mthp":
            mthp["2048kB"] = "never"
        machine, process, addr = make({"fault_order": answer}, advise=advise, mthp=mthp)
        process.write(addr, PAGE, value=7)
        machine.validate()
        assert order(machine, process, addr) == want


@pytest.mark.parametrize("answer, want", [("next_lower_enabled", 7), ("costly_then_0", 3), ("straight_to_0", 0)])
def test_fault_fallback(answer, want):
    sizes = {f"{4 << n}kB": "always" for n in range(2, 10)}
    machine, hog, addr = make({"fault_fallback": answer}, size=60 << 20, mthp=sizes)
    process = machine.spawn()
    heap = process.mmap(2 * HUGE)
    process.madvise(heap, PAGE, fs.MADV_NOHUGEPAGE)
    process.write(heap, PAGE, value=1)                          # its page tables are there
    machine.set_policy({"fault_order": "never"})
    while machine.vmstat()["nr_free_pages"] > 64:
        hog.write(addr, PAGE, value=1)
        addr += PAGE
    hog.munmap(addr - (64 << 12), 64 << 12)
    machine.set_policy({"fault_order": "mthp"})
    process.write(heap + HUGE, PAGE, value=7)
    machine.validate()
    assert order(machine, process, heap + HUGE) == want


# ---- P17 ----

@pytest.mark.parametrize("answer, read_pmd, written_order", [
    ("huge", True, 9), ("huge_then_small", True, 0), ("small", False, 0)])
def test_zero_page(answer, read_pmd, written_order):
    machine, process, addr = make({"zero_page": answer})
    process.read(addr, PAGE)
    machine.validate()
    assert (process.walk([addr])["level"][0] == 1) == read_pmd
    process.write(addr, PAGE, value=7)
    machine.validate()
    assert order(machine, process, addr) == written_order
    assert process.read(addr, 2 * PAGE) == b"\x07\x00"


# ---- P21, P22 ----

@pytest.mark.parametrize("answer, left, freed", [
    ("defer", 9, 0), ("split_now", 0, 255), ("split_now_if_order(8)", 9, 0), ("split_now_if_order(9)", 0, 255),
    ("free_part_only", 8, 255)])
def test_partial_unmap(answer, left, freed):
    machine, process, addr = written({"partial_unmap": answer})
    free = machine.vmstat()["nr_free_pages"]
    process.madvise(addr + HALF, HALF - PAGE, fs.MADV_DONTNEED)
    machine.validate()
    assert order(machine, process, addr) == left
    assert machine.vmstat()["nr_free_pages"] - free == freed
    assert process.read(addr, HALF) == b"\x07" * 256 and process.read(addr + HUGE - PAGE, PAGE) == b"\x07"


@pytest.mark.parametrize("rule, new_huge, new_small, partial, unmapped", [
    ("+all_new_thp", 1, 0, 1, 0), ("exclude_fully_unmapped", 0, 0, 1, 0), ("partially_mapped", 0, 0, 1, 1),
    ("order>=2", 1, 1, 1, 0)])
def test_deferred_members(rule, new_huge, new_small, partial, unmapped):
    machine, process, addr = written({"deferred_members": rule})
    assert machine.vmstat()["deferred_split_folios"] == new_huge
    process.munmap(addr + HALF, HALF)
    assert machine.vmstat()["deferred_split_folios"] == partial
    machine.validate()
    machine, process, addr = make({"deferred_members": rule, "fault_order": "up_to(4)"})
    process.write(addr, PAGE, value=7)
    assert machine.vmstat()["deferred_split_folios"] == new_small
    process.munmap(addr, 16 * PAGE)
    machine.validate()
    assert machine.mthp_stats()[4]["split_deferred"] == unmapped


# ---- P24, P25 ----

@pytest.mark.parametrize("answer, orders", [
    ("order0_uniform", (0, 0)), ("lower_uniform(4)", (4, 4)), ("nonuniform", (0, 8))])
def test_split_target(answer, orders):
    machine, process, addr = written({"split_target": answer, "vma_split": "split_try"})
    process.mprotect(addr, 16 * PAGE, fs.PROT_READ)
    machine.validate()
    assert (order(machine, process, addr + 16 * PAGE), order(machine, process, addr + HALF)) == orders


@pytest.mark.parametrize("answer, rss", [("yes", PAGE), ("no", HUGE)])
def test_drop_zero_pages(answer, rss):
    machine, process, addr = make({"drop_zero_pages": answer})
    process.write(addr, PAGE, value=7)
    machine.split_folio(process.translate(addr) >> 12)
    machine.validate()
    assert process.counts()["rss_anon"] * PAGE == rss


@pytest.mark.parametrize("answer, orders, lazy", [
    ("split_continue", (0, 0), True), ("give_up", (0, 0), True), ("mark_whole", (9, 9), True)])
def test_madv_free_partial(answer, orders, lazy):
    machine, process, addr = written({"madv_free_partial": answer})
    process.madvise(addr, HALF, fs.MADV_FREE)
    machine.validate()
    assert (order(machine, process, addr), order(machine, process, addr + HALF)) == orders
    assert bool(process.smaps()[0]["LazyFree"]) == lazy
    assert process.read(addr + HALF, HALF) == b"\x07" * 256
    process.madvise(addr, HUGE, fs.MADV_PAGEOUT)
    machine.validate()
    assert process.read(addr + HALF, HALF) == b"\x07" * 256     # what was not freed is never lost


@pytest.mark.parametrize("answer, lazy", [("split_continue", 4), ("give_up", 0)])
def test_madv_free_partial_after_a_folio_that_cannot_be_split(answer, lazy):
    machine, process, addr = make({"madv_free_partial": answer, "fault_order": "up_to(4)"})
    process.write(addr, 16 * PAGE, value=7)
    machine.set_policy({"fault_order": "never"})
    process.write(addr + 16 * PAGE, PAGE, value=7)
    with process.get_user_pages(addr, PAGE):
        process.madvise(addr + PAGE, 16 * PAGE, fs.MADV_FREE)
        machine.validate()
    assert process.smaps()[0]["LazyFree"] == lazy


@pytest.mark.parametrize("answer, split", [("split_continue", True), ("give_up", False)])
def test_madv_free_partial_judges_by_the_first_page(answer, split):
    """folio_estimated_sharers, which 6.7 asks: a folio whose first page is not mapped seems to be another's."""
    machine, process, addr = written({"madv_free_partial": answer})
    process.munmap(addr, PAGE)
    process.madvise(addr + HALF, 8 * PAGE, fs.MADV_FREE)
    machine.validate()
    assert (order(machine, process, addr + HALF) == 0, process.smaps()[0]["LazyFree"]) == (split, 8 * 4 if split else 0)


@pytest.mark.parametrize("eagerness, pages, collapses", [
    (10, 1, 1), (9, 256, 0), (9, 257, 1), (8, 384, 0), (8, 385, 1), (1, 511, 0), (1, 512, 1)])
def test_collapse_eagerness(eagerness, pages, collapses):
    machine, process, addr = make({"collapse_rule": f"eagerness({eagerness})"}, advise=False,
                                  khugepaged={"max_ptes_none": 17})             # of no meaning
    process.write(addr, pages * PAGE, value=7)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    assert machine.khugepaged_scan(process) == collapses
    machine.validate()


@pytest.mark.parametrize("buckets, used, split", [
    (1, 50, 1), (1, 51, 0), (2, 101, 1), (2, 102, 0), (9, 459, 0), (10, 459, 1), (10, 509, 1)])
def test_underused_bucketed_lru(buckets, used, split):
    machine, process, addr = make({"underused": f"bucketed_lru({buckets})"})
    process.write(addr, used * PAGE, value=7)
    assert machine.vmstat()["deferred_split_folios"] == 1
    assert machine.shrink_deferred() == split
    machine.validate()
    assert machine.vmstat()["deferred_split_folios"] == 1 - split


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run(name):
    machine, process, addr = written(name)
    assert machine.policy == PRESETS[name] and set(PRESETS[name]) == set(POINTS)
    child = process.fork()
    child.mprotect(addr, HALF, fs.PROT_READ)
    process.write(addr, HUGE, value=8)
    process.mlock(addr, HALF)
    process.madvise(addr + HALF, HALF, fs.MADV_DONTNEED)
    machine.validate()
    assert child.read(addr, HUGE) == b"\x07" * 512
