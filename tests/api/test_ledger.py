"""The ledger, on cases small enough to count by hand."""
import json

import pytest

import foliosim as fs
from foliosim import costs
from foliosim.ledger import is_bytes, is_counted

HUGE, HALF, PAGE = 2 << 20, 1 << 20, 4096
REASONS = "vma_split unmap reclaim underused swap madvise pin user"
# The metrics that decide policy questions, as they are named in writing.
METRICS = {
    "faults.": "minor cow reuse zero unshare",
    "cow_bytes.": "parent child syscall fork",
    "splits.attempt.": REASONS, "splits.ok.": REASONS, "splits.failed.": "extra_ref pinned locked nomem",
    "deferred.": "len bytes added removed",
    "acct.": "Mlocked AnonPages Rss Pss Uss AnonHugePages memlock",
    "pt_pages.": "pte pmd pud",
    "tlb_entries.": "plain coalesce4 contpte",
    "ops.": "ref mapcount rmap_call pte_set tlb_flush",
    "fail.": "enomem eagain einval",
    "": "cow_bytes zero_bytes splits.attempt splits.ok splits.failed pmd_splits stranded_bytes bloat_bytes mlock_overshoot"
        " mlock_undershoot pin_overshoot pt_bytes pt_deposited age_error",
}
NAMES = [group + name for group, names in METRICS.items() for name in names.split()]


@pytest.fixture
def thp(process):
    return huge(process)


def huge(process, addr=16 << 20):
    process.mmap(HUGE, addr=addr, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    process.write(addr, HUGE, value=7)
    return addr


def grown(machine, before, prefix=""):
    """What was counted since, without the zeros."""
    delta = machine.ledger() - before
    return {name: value for name, value in delta.items() if value and is_counted(name) and name.startswith(prefix)}


def test_every_name_is_there_and_zeros_are_written(machine):
    ledger = machine.ledger()
    assert set(NAMES) <= set(ledger)
    assert {ledger[name] for name in ledger} == {0}
    assert json.loads(json.dumps(dict(ledger))) == dict(ledger)


def test_which_are_bytes():
    assert all(is_bytes(name) for name in NAMES if "bytes" in name or name.startswith(("acct.", "mlock_", "pin_")))
    assert not any(is_bytes(name) for name in NAMES if name.startswith(("ops.", "faults.", "splits.", "tlb_", "fail.")))


class TestFaults:
    def test_a_huge_page_is_one_fault(self, machine, process):
        before = machine.ledger()
        huge(process)
        got = grown(machine, before)
        assert (got["faults.minor"], got["zero_bytes"]) == (1, HUGE)
        assert "faults.cow" not in got

    def test_single_pages_in_one_go_count_each(self, machine, process):
        addr = process.mmap(64 * PAGE)
        before = machine.ledger()
        process.touch(addr, 64 * PAGE, write=True)
        got = grown(machine, before)
        assert (got["faults.minor"], got["zero_bytes"], got["ops.pte_set"]) == (64, 64 * PAGE, 64)
        assert got["ops.rmap_call"] == got["ops.mapcount"] == got["ops.folio_alloc"] == 64

    def test_the_same_whether_in_one_go_or_one_by_one(self, machine, process):
        addr = process.mmap(64 * PAGE)
        process.touch(addr, PAGE, write=True)   # the table is there
        before = machine.ledger()
        process.touch(addr + PAGE, 20 * PAGE, write=True)
        together = grown(machine, before)
        before = machine.ledger()
        for page in range(30, 50):
            process.touch(addr + page * PAGE, PAGE, write=True)
        assert grown(machine, before) == together

    def test_zero_then_cow(self, machine, process):
        addr = process.mmap(PAGE)
        before = machine.ledger()
        process.read(addr, PAGE)
        assert grown(machine, before, "faults.") == {"faults.zero": 1}
        before = machine.ledger()
        process.write(addr, PAGE, value=1)
        assert grown(machine, before, "faults.") == {"faults.cow": 1}
        assert (machine.ledger()["cow_bytes"], machine.ledger()["zero_bytes"]) == (0, PAGE)

    def test_reuse(self, machine, process):
        addr = process.mmap(PAGE)
        process.write(addr, PAGE, value=1)
        process.fork().exit()
        before = machine.ledger()
        process.write(addr, PAGE, value=2)
        assert grown(machine, before, "faults.") == {"faults.reuse": 1}

    def test_unshare(self, machine, process):
        addr = process.mmap(PAGE)
        process.write(addr, PAGE, value=1)
        child = process.fork()
        before = machine.ledger()
        with child.pin_user_pages(addr, PAGE):
            got = grown(machine, before)
        assert (got["faults.unshare"], got["cow_bytes.syscall"]) == (1, PAGE)


class TestCopies:
    def test_who_caused_it(self, machine, process, thp):
        child = process.fork()
        before = machine.ledger()
        process.write(thp, PAGE, value=1)
        child.write(thp + PAGE, PAGE, value=1)
        child.mlock(thp + 2 * PAGE, 3 * PAGE)
        assert grown(machine, before, "cow_bytes") == {
            "cow_bytes": 5 * PAGE, "cow_bytes.parent": PAGE, "cow_bytes.child": PAGE, "cow_bytes.syscall": 3 * PAGE}

    def test_fork_copies_what_is_pinned(self, machine, process):
        addr = process.mmap(2 * PAGE)
        process.write(addr, 2 * PAGE, value=1)
        before = machine.ledger()
        with process.pin_user_pages(addr, PAGE, longterm=True, write=True):
            process.fork()
        assert grown(machine, before, "cow_bytes")["cow_bytes.fork"] == PAGE

    def test_needless_if_nobody_else_could_reach_it(self, machine, process, thp):
        child = process.fork()
        child.munmap(thp, HALF)
        before = machine.ledger()
        process.write(thp, PAGE, value=1)                   # the folio is shared, this page is not
        process.write(thp + HALF, PAGE, value=1)
        got = grown(machine, before, "cow_bytes")
        assert (got["cow_bytes.parent"], got["cow_bytes.needless"]) == (2 * PAGE, PAGE)

    def test_a_file(self, machine, process):
        file = machine.create_file("memfd", PAGE, fill=3)
        addr = process.mmap(PAGE, flags=fs.MAP_PRIVATE, file=file)
        before = machine.ledger()
        process.write(addr, PAGE, value=1)
        assert grown(machine, before, "cow_bytes") == {"cow_bytes": PAGE, "cow_bytes.file": PAGE}


class TestSplits:
    def test_reasons(self, machine, process, thp):
        other, third = huge(process, 32 << 20), huge(process, 64 << 20)
        before = machine.ledger()
        process.madvise(thp, PAGE, fs.MADV_COLD)
        machine.split_folio(process.translate(other) >> 12)
        machine.set_policy({"vma_split": "split_try"})
        process.mprotect(third, PAGE, fs.PROT_READ)
        assert grown(machine, before, "splits.ok") == {
            "splits.ok": 3, "splits.ok.madvise": 1, "splits.ok.user": 1, "splits.ok.vma_split": 1}

    def unmap(machine, process, addr):
        machine.set_policy({"partial_unmap": "split_now"})
        process.munmap(addr, PAGE)

    def reclaim(machine, process, addr):
        process.munmap(addr, PAGE)
        machine.shrink_deferred()

    def underused(machine, process, addr):
        process.write(addr, HUGE - PAGE, value=0)
        machine.set_khugepaged(max_ptes_none=510)           # 511 of its pages are zero-filled: one more
        machine.shrink_deferred()

    def swap(machine, process, addr):
        machine.set_policy({"swap_large": "split_first"})
        machine.reclaim(1)

    def pin(machine, process, addr):
        machine.set_policy({"pin_long": "split"})
        process.pin_user_pages(addr, PAGE, longterm=True, write=True).release()

    @pytest.mark.parametrize("why", [unmap, reclaim, underused, swap, pin], ids=lambda why: why.__name__)
    def test_further_reasons(self, why):
        machine = fs.Machine(memory="64M", swap="16M")
        process = machine.spawn()
        addr = huge(process)
        why(machine, process, addr)
        machine.validate()
        assert grown(machine, fs.Machine(memory="64M").ledger(), "splits") == {
            "splits.attempt": 1, f"splits.attempt.{why.__name__}": 1, "splits.ok": 1, f"splits.ok.{why.__name__}": 1}

    @pytest.mark.parametrize("what, failure", [("reference", "extra_ref"), ("pin", "pinned"), ("lock", "locked")])
    def test_failures(self, machine, process, thp, what, failure):
        before = machine.ledger()
        with getattr(machine.inject, what)((process, thp)):
            process.madvise(thp, PAGE, fs.MADV_COLD)
        got = grown(machine, before, "splits")
        assert got == {"splits.attempt": 1, "splits.attempt.madvise": 1, "splits.failed": 1,
                       f"splits.failed.{failure}": 1}
        process.madvise(thp, PAGE, fs.MADV_COLD)
        assert machine.ledger()["splits.ok.madvise"] == 1

    def test_no_memory_for_the_page_cache(self):
        machine = fs.Machine(memory="64M", shmem_enabled="always")
        process = machine.spawn()
        addr = process.mmap(HUGE, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
        process.write(addr, HUGE, value=1)
        pfn = process.translate(addr) >> 12
        with machine.inject.failure(kinds="xa_node"), pytest.raises(OSError, match="ENOMEM"):
            machine.split_folio(pfn)
        assert machine.ledger()["splits.failed.nomem"] == 1
        machine.validate()

    def test_the_deferred_queue(self, machine, process, thp):
        process.munmap(thp, PAGE)
        got = machine.ledger()
        assert [got[f"deferred.{name}"] for name in ("len", "partial", "bytes", "added", "removed")] == [
            1, 1, HUGE, 1, 0]
        process.munmap(thp, HUGE)
        assert (machine.ledger()["deferred.len"], machine.ledger()["deferred.removed"]) == (0, 1)


class TestWaste:
    def test_stranded(self, machine, process, thp):
        process.madvise(thp + HALF, HALF, fs.MADV_DONTNEED)
        got = machine.ledger()
        assert (got["stranded_bytes"], got["bloat_bytes"], got["acct.Rss"]) == (HALF, 0, HALF)

    def test_bloat(self, machine, process):
        process.mmap(HUGE, addr=16 << 20, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
        process.madvise(16 << 20, HUGE, fs.MADV_HUGEPAGE)
        process.write(16 << 20, HUGE, value=1, stride=16 * PAGE)
        assert machine.ledger()["bloat_bytes"] == HUGE - 32 * PAGE

    def test_pin_overshoot(self, machine, process, thp):
        with process.pin_user_pages(thp, 3 * PAGE):
            assert machine.ledger()["pin_overshoot"] == HUGE - 3 * PAGE
            process.madvise(thp, HUGE, fs.MADV_DONTNEED)
            got = machine.ledger()
            assert (got["pin_overshoot"], got["stranded_bytes"]) == (HUGE - 3 * PAGE, HUGE - 3 * PAGE)
        assert machine.ledger()["pin_overshoot"] == machine.ledger()["stranded_bytes"] == 0

    def test_mlock(self, machine, process, thp):
        process.mlock(thp, HALF)
        got = machine.ledger()
        assert (got["mlock_undershoot"], got["acct.Mlocked"], got["true.Mlocked"]) == (HALF, 0, HALF)
        assert got["acct.memlock"] == HALF

    def test_overshoot(self, machine, process, thp):
        machine.set_policy({"mlock_rule": "whole"})
        process.mlock(thp, HALF)
        got = machine.ledger()
        assert (got["mlock_overshoot"], got["acct.Mlocked"], got["true.Mlocked"]) == (HALF, HUGE, HALF)


class TestAges:
    """age_error: pages whose true last access disagrees with what reclaim did with their folio."""

    @pytest.fixture
    def machine(self):
        return fs.Machine(memory="64M", swap="16M", thp="never", mthp={"64kB": "always"})

    def ages(self, machine):
        got = machine.ledger()
        return [got[f"age_error{name}"] for name in ("", ".hot_reclaimed", ".cold_kept")]

    def test_what_was_just_used_is_reclaimed(self, machine, process):
        addr = process.mmap(16 * PAGE, addr=16 << 20)
        process.write(addr, 16 * PAGE, value=1)
        assert self.ages(machine) == [0, 0, 0]
        assert machine.reclaim(1) == 16
        assert self.ages(machine) == [16, 16, 0]

    def test_one_used_page_keeps_the_others_of_its_folio(self, machine, process):
        """Written, seen once by reclaim; then three pages are used and it is seen again: it becomes active, whole."""
        addr, length = process.mmap(1024 * PAGE, addr=16 << 20), 1024 * PAGE
        process.write(addr, length, value=1)
        machine.reclaim(1)
        here = process.pagemap(addr, length) >> 63
        kept = addr + int(here.argmax()) * PAGE                     # the oldest that is left is looked at next
        process.read(kept, 3 * PAGE)
        before = machine.ledger()
        machine.reclaim(1)
        assert "active" in machine.folio(process.translate(kept) // PAGE).flag_names
        assert machine.ledger()["age_error.cold_kept"] == 16 - 3
        assert (machine.ledger() - before)["age_error.hot_reclaimed"] == 0

    def test_times_are_by_page_where_one_bit_is_by_folio(self):
        """A PMD has one accessed bit for 512 pages; that one of them was used since is known all the same."""
        machine = fs.Machine(memory="64M", swap="16M", thp="always")
        process = machine.spawn()
        addr, other = huge(process), huge(process, 32 << 20)
        assert machine.reclaim(1) == 512
        assert self.ages(machine) == [512, 512, 0]
        used = addr if process.pagemap(addr, PAGE)[0] >> 63 else other
        process.write(used + 5 * PAGE, PAGE, value=1)
        machine.reclaim(1)
        assert self.ages(machine)[1] == 513

    def test_nobody_reclaims(self):
        machine = fs.Machine(memory="64M", thp="always")
        huge(machine.spawn())
        assert self.ages(machine) == [0, 0, 0]

    def test_what_the_program_gave_away_was_not_hot(self, machine, process):
        addr = process.mmap(16 * PAGE, addr=16 << 20)
        process.write(addr, 16 * PAGE, value=1)
        process.madvise(addr, 16 * PAGE, fs.MADV_FREE)
        machine.reclaim(1)
        assert process.read(addr, PAGE) == b"\0"
        assert self.ages(machine) == [0, 0, 0]


class TestAccounting:
    def test_shared(self, machine, process, thp):
        process.fork()
        got = machine.ledger()
        names = ("Rss", "Pss", "Uss", "AnonPages", "AnonHugePages")
        assert [got[f"acct.{name}"] for name in names] == [2 * HUGE, HUGE, 0, HUGE, 2 * HUGE]
        assert all(got[f"acct.{name}"] == got[f"true.{name}"] for name in names)

    def test_uss_of_a_folio_shared_in_part(self, machine, process, thp):
        child = process.fork()
        child.munmap(thp, HALF)
        got = machine.ledger()
        assert got["true.Uss"] == HALF
        assert got["true.Pss"] == HUGE

    def test_page_tables(self, machine, process, thp):
        got = machine.ledger()
        assert [got[f"pt_pages.{level}"] for level in ("pte", "pmd", "pud")] == [1, 1, 1]
        assert (got["pt_bytes"], got["pt_deposited"]) == (3 * PAGE, 1)
        assert got["pt_bytes"] >> 12 == sum(process.counts()[f"nr_{level}s"] for level in ("pte", "pmd", "pud"))


class TestTlb:
    def entries(self, machine):
        return tuple(machine.ledger()[f"tlb_entries.{model}"] for model in ("plain", "coalesce4", "contpte"))

    def test_a_leaf_and_its_parts(self, machine, process, thp):
        assert self.entries(machine) == (1, 1, 1)
        process.mprotect(thp, PAGE, fs.PROT_READ)
        assert self.entries(machine) == (512, 4 + 127, 16 + 31)     # one group is not of like rights
        process.mprotect(thp, PAGE, fs.PROT_READ | fs.PROT_WRITE)
        assert self.entries(machine) == (512, 128, 32)

    def test_accessed_and_dirty_bits_do_not_matter(self):
        machine = fs.Machine(memory="64M", thp="never", mthp={"64kB": "always"})
        process = machine.spawn()
        addr = process.mmap(16 * PAGE, addr=16 << 20)
        process.touch(addr, 16 * PAGE, write=True)
        process.clear_refs(1)
        process.read(addr, PAGE)
        assert self.entries(machine) == (16, 4, 1)

    def test_frames_must_be_aligned(self, machine, process):
        addr = process.mmap(8 * PAGE, addr=16 << 20)
        process.touch(addr + PAGE, PAGE, write=True)
        process.touch(addr, PAGE, write=True)
        process.touch(addr + 2 * PAGE, 6 * PAGE, write=True)
        assert self.entries(machine)[0] == 8

    def test_nothing_allowed_nothing_mapped(self, machine, process, thp):
        process.mprotect(thp, HUGE, fs.PROT_NONE)
        assert self.entries(machine) == (0, 0, 0)


class TestOperations:
    @pytest.mark.parametrize("order", [0, 2, 4, 9])
    def test_fork_and_munmap_by_order(self, order):
        """A PTE costs one entry and one mapcount, a folio one reference and one call; a leaf counts as one of each."""
        sizes = {f"{4 << order}kB": "always"} if order else {}
        machine = fs.Machine(memory="256M", thp="never", mthp=sizes)
        process = machine.spawn()
        addr = process.mmap(HUGE, addr=16 << 20)
        process.touch(addr, HUGE, write=True)
        ptes, folios = (1, 1) if order == 9 else (512, 512 >> order)
        for operation in (process.fork, lambda: process.munmap(addr, HUGE)):
            before = machine.ledger()
            operation()
            got = grown(machine, before, "ops.")
            assert (got["ops.pte_set"], got["ops.ref"], got["ops.rmap_call"]) == (ptes, folios, folios)
            assert got["ops.mapcount"] == ptes + (folios if order else 0)
            assert got["ops.tlb_flush"] == 1

    def test_mprotect(self, machine, process, thp):
        before = machine.ledger()
        process.mprotect(thp, HUGE, fs.PROT_READ)
        assert grown(machine, before, "ops.") == {"ops.pte_set": 1, "ops.tlb_flush": 1, "ops.syscall": 1}

    def test_errors(self, machine, process):
        for call in (lambda: process.munmap(1, 1), lambda: process.mprotect(16 << 20, PAGE, fs.PROT_READ),
                     lambda: process.read(16 << 20, PAGE)):
            with pytest.raises((OSError, fs.SegvError)):
                call()
        got = machine.ledger()
        assert (got["fail.einval"], got["fail.enomem"], got["fail.sigsegv"]) == (1, 1, 1)


class TestTime:
    def test_linear(self, machine, process, thp):
        table = costs.CostTable("mine", "made up", {"pte_set": 2.0, "syscall": 100.0})
        before = machine.ledger()
        process.fork()
        delta = machine.ledger() - before
        assert delta.time(table) == 2.0 * delta["ops.pte_set"] + 100.0

    def test_a_file(self, machine, tmp_path):
        table = costs.CostTable("mine", "made up", {"ref": 1.5})
        table.write(tmp_path / "mine.json")
        assert costs.load(tmp_path / "mine.json") == table
        assert machine.ledger().time(tmp_path / "mine.json") == 0

    def test_no_such_table(self, machine, tmp_path):
        with pytest.raises(ValueError, match="'pdp-11': valid are"):
            machine.ledger().time("pdp-11")
        (tmp_path / "bad.json").write_text("{}")
        with pytest.raises(ValueError, match="bad.json"):
            costs.load(tmp_path / "bad.json")


def test_counting_is_independent_of_looking(machine, process, thp):
    first = machine.ledger()
    assert dict(machine.ledger()) == dict(first)
    assert "not zero" in repr(first) and "pt_bytes" in str(first) and "<table>" in first._repr_html_()
