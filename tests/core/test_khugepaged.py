"""khugepaged and the deferred-split shrinker as steps, and the policies that decide in them: P18, P19, P23."""
import pytest

import foliosim as fs

PAGE, HUGE, HALF = 4096, 2 << 20, 1 << 20
ARENA = 0x200000000000
RW = fs.PROT_READ | fs.PROT_WRITE


def machine_with(**settings):
    return fs.Machine(**{"memory": "256M", "thp": "always", **settings})


def block(machine, pages=512, value=1):
    """A huge page range of small pages, of which the first ones are written."""
    process = machine.spawn()
    addr = process.mmap(HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.madvise(addr, HUGE, fs.MADV_NOHUGEPAGE)
    process.write(addr, pages * PAGE, value=value)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    return process, addr


def order(process, addr):
    return process.machine.folio(process.translate(addr) >> 12).order


def resident(process):
    return process.counts()["rss_anon"]


class TestScan:
    def test_it_fills_a_block(self):
        machine = machine_with()
        process, addr = block(machine, pages=1)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()
        assert order(process, addr) == 9 and resident(process) == 512
        assert process.read(addr, HUGE) == b"\1" + bytes(511)
        assert machine.khugepaged()["pages_collapsed"] == 1
        assert machine.khugepaged_scan(process) == 0

    @pytest.mark.parametrize("limit, pages, collapsed", [
        (511, 1, 1), (510, 1, 0), (510, 2, 1), (0, 511, 0), (0, 512, 1)])
    def test_max_ptes_none(self, limit, pages, collapsed):
        machine = machine_with(khugepaged={"max_ptes_none": limit})
        process, _ = block(machine, pages)
        assert machine.khugepaged_scan(process) == collapsed
        assert machine.vmstat()["thp_scan_exceed_none_pte"] == 1 - collapsed

    @pytest.mark.parametrize("limit, collapsed", [(64, 1), (63, 0)])
    def test_max_ptes_swap(self, limit, collapsed):
        machine = machine_with(swap="8M", khugepaged={"max_ptes_swap": limit})
        process, addr = block(machine, value=3)
        process.madvise(addr, 64 * PAGE, fs.MADV_PAGEOUT)
        assert machine.khugepaged_scan(process) == collapsed
        machine.validate()
        assert machine.vmstat()["thp_scan_exceed_swap_pte"] == 1 - collapsed
        assert process.read(addr, HUGE) == b"\3" * 512

    @pytest.mark.parametrize("limit, collapsed", [(256, 1), (255, 0)])
    def test_max_ptes_shared(self, limit, collapsed):
        machine = machine_with(khugepaged={"max_ptes_shared": limit})
        process, addr = block(machine)
        child = process.fork()
        process.write(addr, HALF, value=2)                      # copies, so the rest is shared
        assert machine.khugepaged_scan(process) == collapsed
        machine.validate()
        assert machine.vmstat()["thp_scan_exceed_share_pte"] == 1 - collapsed
        assert child.read(addr, HUGE) == b"\1" * 512

    def test_a_block_that_nobody_uses_is_left(self):
        machine = machine_with()
        process, addr = block(machine)
        process.clear_refs(1)
        assert machine.khugepaged_scan(process) == 0
        process.read(addr, PAGE)
        assert machine.khugepaged_scan(process) == 1

    def test_a_pinned_block_is_left(self):
        machine = machine_with()
        process, addr = block(machine)
        with process.pin_user_pages(addr, PAGE, longterm=True, write=True):
            assert machine.khugepaged_scan(process) == 0
        assert machine.khugepaged_scan(process) == 1

    def test_the_cursor_goes_round(self):
        machine = machine_with(khugepaged={"pages_to_scan": 512})
        first, addr = block(machine)
        second, _ = block(machine)
        assert machine.khugepaged_scan() == 1 and order(first, addr) == 9 and order(second, addr) == 0
        collapsed = [machine.khugepaged_scan() for _ in range(3)]
        assert sum(collapsed) == 1 and order(second, addr) == 9
        assert machine.khugepaged()["full_scans"] >= 1
        machine.validate()


class TestByItself:
    """Without a clock it wakes up by steps, if it is told to, and at the limit, if it is told to."""

    def steps_until(self, machine, process, addr, most=20):
        """How many steps pass until the block is huge; None: it never is."""
        for step in range(most):
            if machine.khugepaged()["pages_collapsed"]:
                return step
            process.touch(addr, PAGE)
        return None

    @pytest.mark.parametrize("settings, steps", [({}, None), ({"scan_sleep_steps": 1}, 0), ({"scan_sleep_steps": 7}, 2)])
    def test_it_wakes_up_each_time_so_many_steps_are_over(self, settings, steps):
        machine = machine_with(khugepaged=settings)
        process, addr = block(machine)
        assert machine.steps == 5                              # the limit, mmap, madvise, write, madvise
        assert self.steps_until(machine, process, addr) == steps
        machine.validate()
        assert order(process, addr) == (0 if steps is None else 9)

    @pytest.mark.parametrize("wakes", [False, True])
    def test_it_wakes_up_when_the_limit_was_hit(self, wakes):
        machine = machine_with(limit="12M", swap="32M", khugepaged={"wake_at_limit": wakes})
        process, addr = block(machine)
        other = process.mmap(16 << 20, addr=ARENA + (64 << 20), flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.madvise(other, 16 << 20, fs.MADV_NOHUGEPAGE)
        process.write(other, 2 << 20, value=3)
        assert machine.khugepaged()["pages_collapsed"] == 0      # the limit is not hit yet
        before = machine.khugepaged()["full_scans"]
        process.write(other, 16 << 20, value=3)
        machine.validate()
        assert (machine.khugepaged()["full_scans"] > before) is wakes
        assert process.read(addr, HUGE) == b"\1" * 512 and process.read(other, 16 << 20) == b"\3" * 4096

    def test_a_copy_goes_on_alike(self):
        machine = machine_with(khugepaged={"scan_sleep_steps": 4})
        process, addr = block(machine, pages=100)
        copy = machine.branch()
        for one in (machine, copy):
            self.steps_until(one, one.processes()[0], addr)
        assert machine.steps == copy.steps and machine.khugepaged() == copy.khugepaged()
        assert machine.ledger() == copy.ledger()

    def test_what_its_policy_raises_reaches_the_caller_of_the_step(self):
        def broken(*arguments):
            raise RuntimeError("no answer")

        machine = machine_with(policy={"collapse_rule": broken}, khugepaged={"scan_sleep_steps": 1})
        with pytest.raises(RuntimeError, match="no answer"):
            block(machine)
        machine.validate()

    @pytest.mark.parametrize("setting, value", [("scan_sleep_steps", -1), ("scan_sleep_steps", 1 << 40),
                                                ("wake_at_limit", 2), ("wake_at_limit", "yes"), ("max_ptes_none", 512),
                                                ("max_ptes_none", "1"), ("pages_to_scan", 0), ("pages_to_scan", 1.5),
                                                ("nonsense", 1)])
    def test_bad_settings_are_named_and_change_nothing(self, setting, value):
        machine = machine_with(khugepaged={"scan_sleep_steps": 3})
        before = machine.khugepaged()
        with pytest.raises((TypeError, ValueError), match=f"khugepaged .*{setting}.*: "):
            machine.set_khugepaged(**{"max_ptes_swap": 1, setting: value})
        assert machine.khugepaged() == before



class TestCollapseRule:
    def test_count_zero_as_none(self):
        """Half of the pages are zeros: what is collapsed by one rule is not by the other."""
        for rule, collapsed in (("pmd_only", 1), ("count_zero_as_none", 0)):
            machine = machine_with(policy={"collapse_rule": rule}, khugepaged={"max_ptes_none": 255})
            process, addr = block(machine)
            process.write(addr, HALF, value=0)
            assert machine.khugepaged_scan(process) == collapsed

    def test_quadruple_active_grows_with_use(self):
        machine = machine_with(policy={"collapse_rule": "quadruple_active"})
        process, addr = block(machine, pages=64, value=7)
        assert machine.khugepaged_scan(process) == 0            # nothing is active
        orders = []
        for _ in range(4):
            process.madvise(addr, 64 * PAGE, fs.MADV_POPULATE_WRITE)    # touches twice: active
            process.madvise(addr, 64 * PAGE, fs.MADV_POPULATE_WRITE)
            assert machine.khugepaged_scan(process) == 1 or orders[-1] == 6
            machine.validate()
            orders.append(order(process, addr))
        assert orders == [2, 4, 6, 6]
        assert process.read(addr, HUGE) == b"\7" * 64 + bytes(448)
        assert resident(process) == 64                          # no creep: nothing was filled

    def test_three_of_four(self):
        machine = machine_with(policy={"collapse_rule": "quadruple_active"})
        process, addr = block(machine, pages=8, value=7)
        for page in (0, 1, 2, 4, 5):                            # three of the first four, two of the next
            for _ in range(2):
                process.madvise(addr + page * PAGE, PAGE, fs.MADV_POPULATE_WRITE)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()
        assert (order(process, addr), order(process, addr + 4 * PAGE)) == (2, 0)


SIZES = {f"{4 << n}kB": "always" for n in range(2, 10)}


def largest(rule, max_ptes_none, touched, orders):
    """On paper: the order that holds the first pages of a block after a scan that finds `touched` of them."""
    base = {"": 511 if max_ptes_none == 511 else 0, "_capped": min(max_ptes_none, 255), "_scaled": max_ptes_none}[rule]
    for n in sorted(orders, reverse=True):
        limit = max_ptes_none if n == 9 else base >> (9 - n)
        if (1 << n) - touched <= limit:
            return n
    return 0


class TestBestFit:
    @pytest.mark.parametrize("rule", ["", "_capped", "_scaled"])
    @pytest.mark.parametrize("limit", [0, 255, 256, 384, 450, 510, 511])
    @pytest.mark.parametrize("pages", [1, 4])
    def test_creep(self, rule, limit, pages):
        """Scan by scan as it is on paper, until nothing changes any more."""
        machine = machine_with(thp="never", policy={"collapse_rule": f"bitmap_best_fit{rule}"},
                               khugepaged={"max_ptes_none": limit}, mthp=SIZES)
        process, addr = block(machine, pages=pages, value=5)
        held, grown = pages, 0
        for _ in range(9):
            machine.khugepaged_scan(process)
            machine.validate()
            grown = max(largest(rule, limit, held, range(2, 10)), grown)
            assert order(process, addr) == grown
            held = max(held, 1 << grown)
            assert resident(process) == held
        assert process.read(addr, HUGE) == b"\5" * pages + bytes(512 - pages)
        assert machine.khugepaged_scan(process) == 0

    def test_only_enabled_sizes(self):
        machine = machine_with(thp="never", policy={"collapse_rule": "bitmap_best_fit"},
                               mthp={"64kB": "always", "2048kB": "never"})
        process, addr = block(machine, pages=70, value=5)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()
        assert [order(process, addr + at * 16 * PAGE) for at in range(5)] == [4] * 5 and resident(process) == 80
        assert machine.khugepaged_scan(process) == 0

    def test_parts_that_are_used_become_what_fits(self):
        machine = machine_with(thp="never", policy={"collapse_rule": "bitmap_best_fit"}, mthp=SIZES,
                               khugepaged={"max_ptes_none": 0})
        process, addr = block(machine, pages=1)
        process.madvise(addr, PAGE, fs.MADV_DONTNEED)
        process.madvise(addr, HUGE, fs.MADV_NOHUGEPAGE)
        for first, nr in ((4, 4), (16, 48), (100, 3), (256, 256)):
            process.write(addr + first * PAGE, nr * PAGE, value=1)
        process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()
        found = {page: order(process, addr + page * PAGE) for page in (4, 16, 32, 100, 256)}
        assert found == {4: 2, 16: 4, 32: 5, 100: 0, 256: 8} and resident(process) == 311

    def test_swapped_and_shared_pages_are_left(self):
        machine = machine_with(thp="never", swap="8M", policy={"collapse_rule": "bitmap_best_fit"}, mthp={
            "16kB": "always", "2048kB": "never"}, khugepaged={"max_ptes_shared": 511})
        process, addr = block(machine, pages=300, value=5)
        process.madvise(addr, PAGE, fs.MADV_PAGEOUT)            # so few that the block may be looked at
        with machine.inject.reference((process, addr + 4 * PAGE)):
            assert machine.khugepaged_scan(process) == 0
        child = process.fork()
        process.write(addr + 8 * PAGE, 4 * PAGE, value=6)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()
        assert [order(process, addr + page * PAGE) for page in (1, 4, 8)] == [0, 0, 2]
        assert process.read(addr, 12 * PAGE) == b"\5" * 8 + b"\6" * 4 and child.read(addr, PAGE) == b"\5"

    def test_no_sizes_but_the_huge_one(self):
        machine = machine_with(policy={"collapse_rule": "bitmap_best_fit"}, khugepaged={"max_ptes_none": 510})
        process, addr = block(machine, pages=1)
        assert machine.khugepaged_scan(process) == 0
        assert machine.vmstat()["thp_scan_exceed_none_pte"] == 1
        process.write(addr + PAGE, PAGE, value=1)
        assert machine.khugepaged_scan(process) == 1 and order(process, addr) == 9

    def test_a_small_size_alone_makes_no_huge_folio(self):
        for rule in ("quadruple_active", "count_zero_as_none"):
            machine = machine_with(thp="never", policy={"collapse_rule": rule},
                                   mthp={"16kB": "always", "2048kB": "never"})
            process, addr = block(machine)
            assert machine.khugepaged_scan(process) == 0 and order(process, addr) == 0


class TestCollapseVsFree:
    def freed(self, policy):
        machine = machine_with(policy={"collapse_vs_free": policy})
        process = machine.spawn()
        addr = process.mmap(HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, HUGE, value=1)
        process.madvise(addr, HALF, fs.MADV_DONTNEED)
        return machine, process, addr

    @pytest.mark.parametrize("policy, scans", [
        ("on", [1, 0, 0, 0]), ("off", [0, 0, 0, 0]), ("backoff(2)", [0, 0, 1, 0]),
        ("respect_recent_dontneed", [0, 0, 0, 0])])
    def test_alternatives(self, policy, scans):
        machine, process, addr = self.freed(policy)
        assert [machine.khugepaged_scan(process) for _ in scans] == scans
        machine.validate()
        assert resident(process) == (512 if any(scans) else 256)

    def test_respect_ends_when_the_pages_are_used_again(self):
        machine, process, addr = self.freed("respect_recent_dontneed")
        assert machine.khugepaged_scan(process) == 0
        process.write(addr, HALF, value=2)
        assert machine.khugepaged_scan(process) == 1
        machine.validate()

    def test_backoff_starts_over(self):
        machine, process, addr = self.freed("backoff(2)")
        assert machine.khugepaged_scan(process) == 0
        process.madvise(addr + HALF, PAGE, fs.MADV_DONTNEED)
        assert [machine.khugepaged_scan(process) for _ in range(3)] == [0, 0, 1]


class TestShrinker:
    def test_partly_unmapped_folios(self):
        machine = machine_with()
        process = machine.spawn()
        addr = process.mmap(2 * HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, 2 * HUGE, value=1)
        process.madvise(addr, HALF, fs.MADV_DONTNEED)
        before = machine.usage
        assert machine.shrink_deferred() == 1
        machine.validate()
        assert machine.usage == before - HALF and order(process, addr + HALF) == 0
        assert order(process, addr + HUGE) == 9 and machine.vmstat()["deferred_split_folios"] == 0

    def test_one_at_a_time_and_what_is_held_stays_queued(self):
        machine = machine_with()
        process = machine.spawn()
        addr = process.mmap(2 * HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, 2 * HUGE, value=1)
        process.madvise(addr, PAGE, fs.MADV_DONTNEED)
        process.madvise(addr + HUGE, PAGE, fs.MADV_DONTNEED)
        with process.get_user_pages(addr + HALF, PAGE):
            assert machine.shrink_deferred(1) == 0              # held: it goes to the end of the queue
            assert machine.shrink_deferred(1) == 1
        assert machine.shrink_deferred() == 1
        machine.validate()

    def test_pressure_runs_it(self):
        machine = machine_with(limit="5M")
        process = machine.spawn()
        addr = process.mmap(2 * HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, 2 * HUGE, value=1)
        process.madvise(addr, HALF, fs.MADV_DONTNEED)           # stranded in the folio
        other = process.mmap(HUGE)
        process.madvise(other, HUGE, fs.MADV_NOHUGEPAGE)
        process.write(other, HUGE - (64 << 10), value=2)        # fits only if it is split
        machine.validate()
        assert machine.vmstat()["thp_split_page"] == 1

    @pytest.mark.parametrize("policy, none, written, split", [
        ("zero_filled", 511, 1, 0), ("zero_filled", 511, 0, 0),
        ("zero_filled", 256, 255, 1), ("zero_filled", 256, 256, 0),
        ("zero_filled(100)", 511, 400, 1), ("zero_filled(100)", 511, 412, 0), ("zero_filled(511)", 100, 0, 0),
        ("zero_filled_incl_511", 511, 0, 1), ("zero_filled_incl_511", 511, 1, 0), ("off", 0, 1, 0)])
    def test_underused(self, policy, none, written, split):
        machine = machine_with(policy={"underused": policy}, khugepaged={"max_ptes_none": none})
        process = machine.spawn()
        addr = process.mmap(HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, PAGE, value=0)
        process.write(addr, written * PAGE, value=5)
        assert machine.shrink_deferred() == split
        machine.validate()
        assert resident(process) == (written if split else 512)
        assert machine.vmstat()["thp_underused_split_page"] == split
        assert process.read(addr, HUGE) == b"\5" * written + bytes(512 - written)

    @pytest.mark.parametrize("first, count, split", [(0, 100, 1), (200, 100, 0), (300, 200, 1), (0, 256, 0), (0, 0, 1)])
    def test_accessed_half(self, first, count, split):
        machine = machine_with(policy={"underused": "accessed_half"})
        process = machine.spawn()
        addr = process.mmap(HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.write(addr, HUGE, value=5)
        process.mprotect(addr, PAGE, fs.PROT_READ)              # mapped page by page
        process.mprotect(addr, PAGE, RW)
        assert machine.shrink_deferred() == 0                   # all of it was just written
        process.read(addr + first * PAGE, count * PAGE)
        assert machine.shrink_deferred() == split
        machine.validate()
        assert order(process, addr) == (0 if split else 9)
