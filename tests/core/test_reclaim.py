"""A memory limit, two-list reclaim and the policies that decide in it: P03, P27, P29."""
import pytest

import foliosim as fs

PAGE, HUGE, HALF = 4096, 2 << 20, 1 << 20
RW = fs.PROT_READ | fs.PROT_WRITE
BYTES = bytes((1 + 2 * i) % 256 for i in range(512))


def machine_with(limit="16M", swap="64M", **settings):
    return fs.Machine(memory="256M", limit=limit, swap=swap, **settings)


def huge(machine):
    process = machine.spawn()
    addr = process.mmap(HUGE)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    process.write(addr, HUGE, value=1, delta=2)             # odd values: no page of zeros
    return process, addr


def swapped(process, addr, length=HUGE):
    """Runs of pages by where they are: "m" in memory, "s" in swap, "-" neither."""
    words = process.pagemap(addr, length).tolist()
    letters = "".join("m" if word & fs.PM_PRESENT else "s" if word & fs.PM_SWAP else "-" for word in words)
    return {letter: letters.count(letter) for letter in dict.fromkeys(letters)}


def order(process, addr):
    return process.machine.folio(process.translate(addr) >> 12).order


class TestLimit:
    def test_it_holds_and_no_byte_is_lost(self):
        machine = machine_with("8M")
        process = machine.spawn()
        addr = process.mmap(24 << 20)
        process.write(addr, 24 << 20, value=1, delta=1)
        machine.validate()
        assert machine.usage <= machine.limit == 8 << 20
        assert machine.swap_usage()[0] >= (16 << 20) // PAGE
        assert process.read(addr, 24 << 20) == bytes((1 + i) % 256 for i in range(6144))
        machine.validate()

    def test_tables_are_charged(self):
        machine = fs.Machine(memory="64M")
        process = machine.spawn()
        assert machine.usage == PAGE                            # the root table
        process.write(process.mmap(PAGE), PAGE, value=1)
        assert machine.usage == 5 * PAGE                        # three tables below it, and the page
        process.exit()
        assert machine.usage == 0

    def test_lowering_it_reclaims(self):
        machine = machine_with(None)
        process = machine.spawn()
        addr = process.mmap(HUGE)
        process.write(addr, HUGE, value=3)
        machine.limit = "1M"
        machine.validate()
        assert machine.usage <= HALF
        machine.limit = None
        assert process.read(addr, HUGE) == b"\x03" * 512

    def test_without_swap_the_page_cache_goes_and_then_there_is_nothing(self):
        machine = machine_with("4M", swap=None)
        process = machine.spawn()
        file = machine.create_file("disk", HUGE, fill=1)
        shared = process.mmap(HUGE, file=file, flags=fs.MAP_SHARED)
        assert process.read(shared, HUGE)[:3] == b"\1\2\3"
        addr = process.mmap(4 << 20)
        process.write(addr, 3 << 20, value=1)                   # dirty pages are written back on the way
        assert machine.vmstat()["pgsteal_file"] > 0
        with pytest.raises(fs.OutOfMemory) as caught:
            process.write(addr, 4 << 20, value=1)
        machine.validate()
        report = caught.value.report
        assert (report["limit"], report["swap_total"]) == (1024, 0)
        assert report["anon"] > 900 and "limit 1024" in str(caught.value)
        assert process.read(addr, 3 << 20) == b"\1" * 768
        file.close()

    def test_what_is_locked_or_pinned_is_named(self):
        machine = machine_with("4M")
        process = machine.spawn()
        addr = process.mmap(4 << 20)
        process.mlock(addr, HUGE)
        with process.pin_user_pages(addr + HUGE, HALF, longterm=True, write=True), \
                pytest.raises(fs.OutOfMemory) as caught:
            process.mlock(addr, 4 << 20)
        machine.validate()
        assert caught.value.report["mlocked"] >= 512 and caught.value.report["pinned"] == 256
        process.munlock(addr, 4 << 20)
        process.write(addr, 4 << 20, value=1)                   # and the machine can be used further
        machine.validate()

    @pytest.mark.parametrize("wrong", [-1, 1, "4k", "nonsense", 1.5])
    def test_bad_limits(self, wrong):
        machine = machine_with("8M")
        with pytest.raises((ValueError, TypeError)):
            machine.limit = wrong
        assert machine.limit == 8 << 20

    def test_the_default_machine_has_none(self, machine):
        assert (machine.limit, machine.swap_usage()) == (None, (0, 0))
        process = machine.spawn()
        process.write(process.mmap(HUGE), HUGE, value=1)
        assert machine.reclaim(100) == 0


class TestAgeing:
    def test_what_is_used_stays(self):
        """Second chance: of two equal blocks the one that is read again and again is kept."""
        machine = machine_with("8M")
        process = machine.spawn()
        hot, cold = process.mmap(HUGE), process.mmap(HUGE)
        process.write(hot, HUGE, value=1)
        process.write(cold, HUGE, value=2)
        filler = process.mmap(32 << 20)
        for i in range(64):
            process.read(hot, HUGE)
            process.write(filler + i * HALF // 2, HALF // 2, value=3)
        kept = swapped(process, hot)["m"], swapped(process, cold).get("m", 0)
        assert kept[0] == 512 and kept[1] == 0
        machine.validate()

    def test_counters_have_the_kernels_names(self):
        machine = machine_with("4M")
        process = machine.spawn()
        process.write(process.mmap(8 << 20), 8 << 20, value=1)
        counters = machine.vmstat()
        assert counters["pgscan_direct"] == counters["pgscan_anon"] + counters["pgscan_file"]
        assert counters["pgsteal_direct"] == counters["pgsteal_anon"] + counters["pgsteal_file"]
        assert counters["pswpout"] == counters["pgsteal_anon"] == machine.swap_usage()[0]

    def test_a_page_that_comes_back_soon_is_active(self):
        machine = machine_with("4M")
        process = machine.spawn()
        addr = process.mmap(8 << 20)
        process.write(addr, 8 << 20, value=1)
        process.read(addr, 8 << 20)
        counters = machine.vmstat()
        assert counters["workingset_refault_anon"] == counters["pswpin"] > 0


class TestPartialEvict:
    """The second half of a huge folio is locked, and there is pressure."""

    def half_locked(self, answer, first_half=False):
        machine = machine_with(policy={"partial_evict": answer})
        process, addr = huge(machine)
        process.mlock(addr if first_half else addr + HALF, HALF)
        process.clear_refs(1)
        machine.reclaim(512)
        machine.validate()
        return machine, process, addr

    @pytest.mark.parametrize("answer, where, split, free", [
        ("unmap_rest", {"s": 256, "m": 256}, 0, 0), ("split_then_sort", {"s": 256, "m": 256}, 1, 256),
        ("skip_folio", {"m": 512}, 0, 0), ("evict_none_until_unlock", {"m": 512}, 0, 0)])
    def test_alternatives(self, answer, where, split, free):
        machine, process, addr = self.half_locked(answer)
        assert swapped(process, addr) == where
        assert machine.vmstat()["thp_split_page"] == split
        assert machine.vmstat()["pgsteal_anon"] == free         # unmap_rest frees nothing, as 6.18
        assert process.read(addr, HUGE) == BYTES

    def test_unmap_rest_stops_at_the_first_locked_area(self):
        machine, process, addr = self.half_locked("unmap_rest", first_half=True)
        assert swapped(process, addr) == {"m": 512}

    def test_evict_none_until_unlock(self):
        machine, process, addr = self.half_locked("evict_none_until_unlock")
        assert machine.vmstat()["nr_unevictable"] == 512
        process.munlock(addr + HALF, HALF)
        assert machine.vmstat()["nr_unevictable"] == 0
        machine.reclaim(512)
        assert swapped(process, addr) == {"s": 512}
        machine.validate()


class TestMlockAtReclaim:
    """Both halves are locked, one after the other: mlock() finds the folio in none of its ranges whole."""

    @pytest.mark.parametrize("preset", ["linux-6.18", "linux-6.12", "linux-6.7"])
    def test_a_folio_locked_whole_is_seen(self, preset):
        machine = machine_with(policy=preset)
        process, addr = huge(machine)
        process.mlock(addr, HALF)
        process.mlock(addr + HALF, HALF)
        before = machine.ledger()
        assert (before["mlock_undershoot"], before["acct.Mlocked"]) == (HUGE, 0)
        process.clear_refs(1)
        machine.reclaim(512)
        machine.validate()
        after = machine.ledger()
        assert (after["mlock_undershoot"], after["acct.Mlocked"], after["splits.ok"]) == (0, HUGE, 0)
        assert swapped(process, addr) == {"m": 512}

    def test_before_6_7_it_is_split_and_its_pages_are(self):
        machine = machine_with(policy="linux-6.1")
        process, addr = huge(machine)
        process.mlock(addr, HALF)
        process.mlock(addr + HALF, HALF)
        process.clear_refs(1)
        machine.reclaim(512)
        machine.validate()
        assert machine.ledger()["acct.Mlocked"] == HUGE and machine.ledger()["splits.ok.reclaim"] == 1
        assert swapped(process, addr) == {"m": 512}


class TestAgeUnit:
    @pytest.mark.parametrize("used, answer, where", [
        (1, "folio_any", {"m": 512}), (1, "majority", {"s": 512}), (1, "per_page", {"m": 1, "s": 511}),
        (300, "majority", {"m": 512}), (300, "per_page", {"m": 300, "s": 212})])
    def test_alternatives(self, used, answer, where):
        machine = machine_with(policy={"age_unit": answer})
        process, addr = huge(machine)
        process.mprotect(addr, PAGE, fs.PROT_READ)              # mapped page by page from here on
        process.mprotect(addr, PAGE, RW)
        other = process.mmap(64 * PAGE)                         # newer than the huge folio, and cold
        process.write(other, 64 * PAGE, value=1)
        process.clear_refs(1)
        process.read(addr, used * PAGE)
        machine.reclaim(1)
        machine.validate()
        assert swapped(process, addr) == where
        assert process.read(addr, HUGE) == BYTES


class TestSwapLarge:
    @pytest.mark.parametrize("answer, whole, split, back", [
        ("whole", 1, 0, 0), ("split_first", 0, 1, 0), ("order0", 1, 0, 0), ("original_order", 1, 0, 8),
        ("pmd_whole", 1, 0, 0)])
    def test_huge(self, answer, whole, split, back):
        machine = machine_with(policy={"swap_large": answer})
        process, addr = huge(machine)
        process.clear_refs(1)
        machine.reclaim(512)
        machine.validate()
        assert swapped(process, addr) == {"s": 512}
        counters = machine.vmstat()
        assert (counters["thp_swpout"], counters["thp_split_page"], counters["pswpout"]) == (whole, split, 512)
        assert process.read(addr, HUGE) == BYTES
        assert order(process, addr) == back
        machine.validate()

    def test_before_6_10_what_ptes_map_is_split(self):
        machine = machine_with(policy={"swap_large": "pmd_whole"})
        process, addr = huge(machine)
        process.mprotect(addr, PAGE, fs.PROT_READ)
        process.clear_refs(1)
        machine.reclaim(512)
        assert machine.vmstat()["thp_split_page"] == 1 and machine.vmstat()["thp_swpout"] == 0
        assert process.read(addr, HUGE) == BYTES
        machine.validate()

    @pytest.mark.parametrize("answer, back", [
        ("whole", 4), ("order0", 0), ("pmd_whole", 0), ("split_first", 0), ("original_order", 4)])
    def test_mthp(self, answer, back):
        machine = machine_with(policy={"swap_large": answer}, mthp={"64kB": "always"})
        process = machine.spawn()
        addr = process.mmap(HUGE)
        process.write(addr, 16 * PAGE, value=5)
        process.clear_refs(1)
        machine.reclaim(16)
        process.read(addr, PAGE)
        machine.validate()
        assert order(process, addr) == back
        assert machine.mthp_stats()[4]["swpout"] == (answer not in ("split_first", "pmd_whole"))
        assert machine.mthp_stats()[4]["swpin"] == (back == 4)

    def test_fallback_when_no_cluster_is_free(self):
        machine = machine_with(swap=f"{600 * 4}k")
        process = machine.spawn()
        addr = process.mmap(HUGE)
        process.write(addr, 100 * PAGE, value=1)
        process.clear_refs(1)
        machine.reclaim(100)
        other, there = huge(machine)
        other.clear_refs(1)
        machine.reclaim(400)
        machine.validate()
        assert machine.vmstat()["thp_swpout_fallback"] == 1
        assert other.read(there, HUGE) == BYTES


def test_a_read_pin_of_swapped_pages_that_others_share_ends():
    """What is to be unshared is not taken by reclaim while its copy is charged, or there is no end to it."""
    m = fs.Machine(memory="32M", limit="8M", swap="64M")
    p = m.spawn()
    a = p.mmap(8 << 20)
    p.write(a, 8 << 20, value=1)
    p.fork()
    with pytest.raises(fs.SyscallError, match="EFAULT"):   # more than the limit has room for
        p.pin_user_pages(a, 8 << 20, longterm=True)
    with p.pin_user_pages(a, 1 << 20, longterm=True) as pin:
        assert pin.nbytes == 1 << 20
    m.validate()
