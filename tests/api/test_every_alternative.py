"""No alternative is a mere name: each leaves another machine behind than the default and than the point's others do."""
from functools import cache

import pytest

import foliosim as fs
from foliosim._core.policy import compiled_alternatives
from foliosim.policy import POINTS

HUGE, HALF, PAGE = 2 << 20, 1 << 20, 4096
ALL_SIZES = {f"{4 << n}kB": "always" for n in range(2, 10)}
NUMBERS = {"retry": 3, "fixed": 4, "window": 3, "up_to": 3, "split_now_if_order": 8, "lower_uniform": 4, "backoff": 2,
           "zero_filled": 100, "eagerness": 8, "bucketed_lru": 2}


def made(policy, *, size=2 * HUGE, fill=HUGE, swap="8M", **settings):
    machine = fs.Machine(**{"memory": "64M", "thp": "always", "swap": swap, "policy": policy, **settings})
    process = machine.spawn()
    addr = process.mmap(size, addr=16 * HUGE, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    if fill:
        process.write(addr, fill, value=7)
    return machine, process, addr


def tried(call, *args, **keywords):
    try:
        return call(*args, **keywords)
    except fs.SyscallError as error:
        return error.errno


def seen(machine):
    """What can be seen of a machine, but for how much work it was."""
    machine.validate()
    ledger = {name: value for name, value in machine.ledger().items() if not name.startswith(("ops.", "time"))}
    return ledger, [[held(machine, word) for word in process.pagemap(16 * HUGE, 2 * HUGE).tolist()[::15]]
                    for process in machine.processes()]


def held(machine, word):
    """What a page has: the order of a folio, or a word."""
    frame = word & fs.PM_PFRAME_MASK
    if not word & fs.PM_PRESENT:
        return "swap" if word & fs.PM_SWAP else "none"
    return "zero" if machine.kpageflags([frame])[0] & fs.KPF_ZERO_PAGE else machine.folio(frame).order


# ---- scenes: a policy in, what it led to out ----

def cut(policy):
    for trouble in (False, True):
        machine, process, addr = made(policy)
        held = process.get_user_pages(addr, PAGE) if trouble else None
        yield tried(process.mprotect, addr, HALF, fs.PROT_READ), seen(machine)
        if held:
            held.release()
        tried(process.mprotect, addr, HALF, fs.PROT_READ | fs.PROT_WRITE)
        machine.shrink_deferred()
        yield seen(machine)


def lock(policy):
    machine, process, addr = made(policy)
    for length in (HALF, HUGE):
        process.mlock(addr, length)
        yield seen(machine)
    machine, process, addr = made(policy)
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.mprotect(addr, PAGE, fs.PROT_READ | fs.PROT_WRITE)      # by PTEs from here on
    process.mlock(addr, HUGE)
    yield seen(machine)
    machine, process, addr = made(policy, size=HUGE, fill=0, shmem_enabled="always")
    shared = process.mmap(HUGE, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    process.mlock(shared, HUGE)
    yield seen(machine)


def evict_partly_locked(policy):
    machine, process, addr = made(policy)
    process.mlock(addr + HALF, HALF)
    process.clear_refs(1)
    machine.reclaim(512)
    yield seen(machine)


def protect_in_child(policy):
    machine, process, addr = made(policy)
    process.fork().mprotect(addr + HALF, HALF, fs.PROT_READ)
    yield seen(machine)


def write_in_child(policy):
    for by_tables in (False, True):
        machine, process, addr = made(policy)
        if by_tables:
            process.mprotect(addr, PAGE, fs.PROT_READ)
        process.fork().write(addr + HALF, PAGE, value=9)
        yield seen(machine)


def written_along(policy):
    return write_in_child({"cow_order": "fixed(4)", **policy})


def keep(policy):
    for children, unmapped in ((1, 0), (2, 0), (1, HUGE - PAGE)):
        machine, process, addr = made(policy)
        process.mprotect(addr, PAGE, fs.PROT_READ)
        family = [process.fork() for _ in range(children)]
        for child in family:
            child.exit()
        if unmapped:
            process.munmap(addr, unmapped)
        process.write(addr + HUGE - PAGE, PAGE, value=9)
        yield seen(machine)
    machine, process, addr = made(policy)
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.fork().munmap(addr + HALF, HALF)
    process.write(addr + HALF, PAGE, value=9)
    yield seen(machine)
    machine, process, addr = made(policy, fill=PAGE, thp="never", soft_dirty=True)
    with process.get_user_pages(addr, PAGE):
        process.clear_refs(4)
        process.write(addr, PAGE, value=9)
        yield seen(machine)


def unmapped_by_two(policy):
    for first, second in ((HALF, 0), (HALF, HALF)):
        machine, process, addr = made(policy)
        child = process.fork()
        process.munmap(addr + first, HALF)
        child.munmap(addr + second, HALF)
        yield seen(machine)


def pinned(policy, longterm):
    for trouble in (False, True):
        machine, process, addr = made(policy)
        held = process.get_user_pages(addr, PAGE) if trouble else None
        pin = tried(process.pin_user_pages, addr + HALF, PAGE, longterm=longterm, write=True)
        yield isinstance(pin, int), seen(machine)
        if held:
            held.release()
        yield tried(machine.split_folio, process.translate(addr + HALF) >> 12), seen(machine)


def registered(policy):
    machine, process, addr = made(policy)
    ring = process.register_buffers([(addr, PAGE), None])
    ring.update(1, addr + PAGE, PAGE)
    yield seen(machine)
    ring.unregister(0)
    yield seen(machine)


def forked_with_pins(policy):
    machine, process, addr = made(policy)
    process.pin_user_pages(addr, PAGE, longterm=True, write=True)
    process.fork()
    yield seen(machine)


def first_touch(policy):
    for settings in ({"mthp": {"64kB": "always", "2048kB": "never"}}, {"thp": "madvise"}):
        for advised in (False, True):
            machine, process, addr = made(policy, fill=0, **settings)
            if advised:
                process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
            process.write(addr, PAGE, value=1)
            yield seen(machine)
            machine.khugepaged_scan(process)
            yield seen(machine)


def scarce(policy):
    machine, process, addr = made(policy, fill=0, mthp=ALL_SIZES)
    with machine.inject.failure(times=None, kinds=("folio",), min_order=7):
        process.write(addr, PAGE, value=1)
    yield seen(machine)


def read_then_written(policy):
    machine, process, addr = made(policy, fill=0)
    process.read(addr, PAGE)
    yield seen(machine)
    process.write(addr, PAGE, value=1)
    yield seen(machine)


def partly_freed(policy):
    for fault_order in ("always", "up_to(4)"):
        machine, process, addr = made({"fault_order": fault_order, **policy})
        yield seen(machine)
        process.madvise(addr, 9 * PAGE, fs.MADV_DONTNEED)
        yield seen(machine)
        process.munmap(addr + HALF, 16 * PAGE)
        yield seen(machine), machine.mthp_stats()[4]["split_deferred"]


def split_and_kept(policy):
    machine, process, addr = made({"vma_split": "split_try", **policy})
    process.write(addr + HALF, HALF, value=0)
    process.mprotect(addr, 16 * PAGE, fs.PROT_READ)
    yield seen(machine)
    machine, process, addr = made(policy)
    process.write(addr + HALF, HALF, value=0)
    machine.split_folio(process.translate(addr) >> 12)
    yield seen(machine)


def freed_lazily(policy):
    machine, process, addr = made(policy)
    process.madvise(addr, HALF, fs.MADV_FREE)
    yield seen(machine)
    machine, process, addr = made({"fault_order": "up_to(4)", **policy})
    with process.get_user_pages(addr, PAGE):
        process.madvise(addr + PAGE, 32 * PAGE, fs.MADV_FREE)
    yield seen(machine)


def collapsed(policy):
    for pages, none, huge in ((8, 511, "never"), (8, 300, "always"), (64, 480, "always"), (512, 255, "always")):
        machine, process, addr = made(policy, size=HUGE, fill=0, mthp={**ALL_SIZES, "2048kB": huge},
                                      khugepaged={"max_ptes_none": none})
        process.madvise(addr, HUGE, fs.MADV_NOHUGEPAGE)
        process.write(addr, pages * PAGE, value=0 if pages == 512 else 7)
        for _ in range(2):
            process.madvise(addr, 4 * PAGE, fs.MADV_POPULATE_WRITE)
        process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
        for _ in range(2):
            machine.khugepaged_scan(process)
            yield seen(machine)


def collapsed_again(policy):
    machine, process, addr = made(policy)
    process.madvise(addr, HALF, fs.MADV_DONTNEED)
    for _ in range(3):
        machine.khugepaged_scan(process)
        yield seen(machine)
    machine, process, addr = made(policy)
    process.madvise(addr, HALF, fs.MADV_DONTNEED)
    process.write(addr, HALF, value=1)
    machine.khugepaged_scan(process)
    yield seen(machine)


def hardly_used(policy):
    for none, used in ((511, 0), (256, 100), (450, 100)):
        machine, process, addr = made(policy, fill=0, khugepaged={"max_ptes_none": none})
        process.write(addr, PAGE, value=0)
        process.write(addr, used * PAGE, value=5)
        machine.shrink_deferred()
        yield seen(machine)
    machine, process, addr = made(policy)
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.clear_refs(1)
    machine.shrink_deferred()
    yield seen(machine)


def aged(policy):
    machine, process, addr = made(policy)
    process.mprotect(addr, PAGE, fs.PROT_READ)
    process.write(addr + HUGE, PAGE, value=1)
    process.clear_refs(1)
    process.read(addr, PAGE)
    machine.reclaim(1)
    yield seen(machine)


def folded(policy):
    machine, process, addr = made(policy, arch="arm64", thp="never", mthp={"64kB": "always"}, swap=None)
    yield machine.ledger()["tlb_entries.contpte"]
    for access in (fs.PROT_READ, fs.PROT_READ | fs.PROT_WRITE):
        process.mprotect(addr + 15 * PAGE, PAGE, access)        # the last of a block
    yield machine.ledger()["tlb_entries.contpte"]


def swapped(policy):
    for by_tables, sizes in ((False, {}), (True, {}), (False, {"64kB": "always", "2048kB": "never"})):
        machine, process, addr = made(policy, mthp=sizes)
        if by_tables:
            process.mprotect(addr, PAGE, fs.PROT_READ)
        process.clear_refs(1)
        machine.reclaim(512)
        yield seen(machine)
        process.read(addr + PAGE, HUGE - PAGE)
        yield seen(machine)


SCENES = {
    "vma_split": cut, "mlock_rule": lock, "partial_evict": evict_partly_locked, "fork_child_mprotect": protect_in_child,
    "cow_order": write_in_child, "dirty_neighbours": written_along, "cow_reuse": keep, "reuse_around": keep,
    "mapcount_model": unmapped_by_two, "pin_short": lambda policy: pinned(policy, False),
    "pin_long": lambda policy: pinned(policy, True), "pin_account": registered, "fork_pinned": forked_with_pins,
    "fault_order": first_touch, "fault_fallback": scarce, "zero_page": read_then_written,
    "partial_unmap": partly_freed, "deferred_members": partly_freed, "split_target": split_and_kept,
    "drop_zero_pages": split_and_kept, "madv_free_partial": freed_lazily, "collapse_rule": collapsed,
    "collapse_vs_free": collapsed_again, "underused": hardly_used, "age_unit": aged, "contpte": folded,
    "swap_large": swapped,
}


def written(one):
    return f"{one.name}({NUMBERS[one.name]})" if one.number else one.name


@cache
def outcome(point, answer):
    return repr(list(SCENES[point]({point: answer})))


@pytest.mark.parametrize("point, answer", [
    (name, written(one)) for name, point in POINTS.items() for one in point.alternatives[1:]])
def test_it_differs_from_the_default(point, answer):
    assert outcome(point, answer) != outcome(point, POINTS[point].names[0])


@pytest.mark.parametrize("point", POINTS)
def test_a_scene_is_the_same_again(point):
    """So that what differs does so by the policy."""
    default = POINTS[point].names[0]
    assert repr(list(SCENES[point]({point: default}))) == outcome(point, default)


@pytest.mark.parametrize("point, one", [
    (name, one) for name, point in POINTS.items() for one in point.alternatives if one.number])
def test_the_number_matters(point, one):
    outcomes = {outcome(point, f"{one.name}({number})") for number in (NUMBERS[one.name], *one.number[1:])}
    assert len(outcomes) > 1


def test_all_are_tried():
    """The table has what is compiled in, and every point a scene; nothing else has one."""
    assert set(SCENES) == set(POINTS) == set(compiled_alternatives())
    assert all(set(point.names) == set(compiled_alternatives()[name]) for name, point in POINTS.items())
    assert set(NUMBERS) == {one.name for point in POINTS.values() for one in point.alternatives if one.number}


@pytest.mark.parametrize("point", POINTS)
def test_no_two_are_the_same(point):
    outcomes = {written(one): outcome(point, written(one)) for one in POINTS[point].alternatives}
    same = [(a, b) for a in outcomes for b in outcomes if a < b and outcomes[a] == outcomes[b]]
    assert not same


def test_deferred_to_khugepaged():
    """P14 `defer`: single pages at the fault, a huge folio after khugepaged has been there."""
    machine, process, addr = made({"fault_order": "defer"}, fill=0, thp="never")
    process.write(addr, PAGE, value=5)
    assert machine.folio(process.translate(addr) >> 12).order == 0
    assert machine.khugepaged_scan(process) == 1
    machine.validate()
    assert machine.folio(process.translate(addr) >> 12).order == 9
    assert process.read(addr, HUGE) == b"\5" + bytes(511)
