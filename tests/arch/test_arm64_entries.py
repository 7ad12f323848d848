"""Entries of an arm64 machine, bit for bit, and contiguous blocks."""
import pytest

import foliosim as fs

PAGE, BLOCK, HUGE = 4096, 64 << 10, 2 << 20
CONT = 1 << 52


def arm(**settings):
    return fs.Machine(arch="arm64", memory="64M", **settings)


def entries(process, addr, length=PAGE):
    """Bits without address of each page's entry."""
    runs = process.machine.observe({"p": process}, addr, addr + length, entries=True)["procs"]["p"]["entries"]
    return [int(bits, 16) for _, _, count, bits in runs for _ in range(count)]


def first(process, addr):
    return entries(process, addr)[0]


def mapped(machine, length=PAGE, **keywords):
    """A process and an address that is aligned to 2 MiB."""
    process = machine.spawn()
    area = process.mmap(length + HUGE, **keywords)
    return process, -(-area // HUGE) * HUGE


class TestStates:
    """The examples of a state and its entry, with the address left out."""

    def test_written_anonymous_memory(self):
        p, a = mapped(arm())
        p.write(a, PAGE, value=1)
        assert first(p, a) == 0x00e8000000000f43

    def test_the_zero_page(self):
        p, a = mapped(arm())
        p.read(a, PAGE)
        assert first(p, a) == 0x0160000000000fc3

    def test_a_huge_page(self):
        p, a = mapped(arm(thp="always"), HUGE)
        p.touch(a, HUGE, write=True)
        assert entries(p, a, HUGE) == [0x00e8000000000f41]
        p.mprotect(a, HUGE, fs.PROT_NONE)
        assert first(p, a) == 0x00e0000000000f80

    def test_fork(self):
        p, a = mapped(arm())
        p.write(a, PAGE, value=1)
        child = p.fork()
        assert (first(p, a), first(child, a)) == (0x00e0000000000fc3, 0x00e0000000000bc3)

    def test_protection(self):
        p, a = mapped(arm())
        p.write(a, PAGE, value=1)
        p.mprotect(a, PAGE, fs.PROT_READ)
        assert first(p, a) == 0x00e0000000000fc3
        p.mprotect(a, PAGE, fs.PROT_NONE)
        assert first(p, a) == 0x00e0000000000f82
        p.mprotect(a, PAGE, fs.PROT_READ | fs.PROT_WRITE)
        assert first(p, a) == 0x00e8000000000f43
        p.mprotect(a, PAGE, fs.PROT_READ | fs.PROT_EXEC)
        assert first(p, a) == 0x00a0000000000fc3

    def test_a_shared_page_becomes_dirty_by_hardware(self):
        p, a = mapped(arm(), flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
        p.read(a, PAGE)
        assert first(p, a) == 0x0068000000000fc3
        p.write(a, PAGE, value=1)
        assert first(p, a) == 0x0068000000000f43
        p.mprotect(a, PAGE, fs.PROT_READ)
        assert first(p, a) == 0x00e0000000000fc3

    def test_a_guard_region(self):
        p, a = mapped(arm())
        p.madvise(a, PAGE, fs.MADV_GUARD_INSTALL)
        assert first(p, a) == 0x47c0

    def test_swap(self):
        m = arm(swap="8M")
        p, a = mapped(m)
        p.write(a, PAGE, value=1)
        p.madvise(a, PAGE, fs.MADV_PAGEOUT)
        entry = first(p, a)
        assert entry & ((1 << 12) - 1) == 4 and entry >> 12 == (p.pagemap(a, PAGE)[0] >> 5) & ((1 << 50) - 1)


class TestWithoutHardwareDirty:
    """Every first store and every use after ageing is a fault."""

    def test_the_first_store_to_a_clean_page_faults(self):
        m = arm(hw_afdbm=False)
        p, a = mapped(m, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
        p.read(a, PAGE)
        before = m.vmstat()["pgfault"]
        p.write(a, PAGE, value=1)
        assert m.vmstat()["pgfault"] == before + 1
        assert first(p, a) == 0x00e8000000000f43

    def test_use_of_an_old_page_faults(self):
        faults = {}
        for hardware in (True, False):
            m = arm(hw_afdbm=hardware)
            p, a = mapped(m)
            p.write(a, PAGE, value=1)
            p.clear_refs(1)
            before = m.vmstat()["pgfault"]
            p.read(a, PAGE)
            faults[hardware] = m.vmstat()["pgfault"] - before
            assert first(p, a) == 0x00e8000000000f43
        assert faults == {True: 0, False: 1}


def folded(process, addr, length):
    return [bool(entry & CONT) for entry in entries(process, addr, length)]


class TestContpte:
    @pytest.fixture
    def machine(self):
        return arm(mthp={"64kB": "always"})

    def test_a_fault_writes_whole_blocks(self, machine):
        p, a = mapped(machine, 4 * BLOCK)
        p.touch(a, 4 * BLOCK, write=True)
        assert set(entries(p, a, 4 * BLOCK)) == {0x00f8000000000f43}
        assert machine.table_ops == {"fold": 4, "unfold": 0, "flush": 0, "bbm_violation": 0}

    def test_a_change_of_a_part_unfolds_with_a_flush(self, machine):
        p, a = mapped(machine, 2 * BLOCK)
        p.touch(a, 2 * BLOCK, write=True)
        p.mprotect(a + PAGE, PAGE, fs.PROT_READ)
        assert folded(p, a, 2 * BLOCK) == [False] * 16 + [True] * 16
        assert machine.table_ops["unfold"] == machine.table_ops["flush"] == machine.ledger()["contpte.unfold"] == 1
        machine.validate()

    def test_the_last_entry_completes_a_block(self, machine):
        p, a = mapped(machine, BLOCK)
        p.touch(a, BLOCK, write=True)
        p.mprotect(a + BLOCK - PAGE, PAGE, fs.PROT_READ)
        assert not any(folded(p, a, BLOCK))
        p.mprotect(a + BLOCK - PAGE, PAGE, fs.PROT_READ | fs.PROT_WRITE)
        assert all(folded(p, a, BLOCK))

    def test_age_is_that_of_the_block(self, machine):
        p, a = mapped(machine, BLOCK)
        p.touch(a, BLOCK, write=True)
        p.clear_refs(1)
        p.read(a, PAGE)
        assert [bool(entry & (1 << 10)) for entry in entries(p, a, BLOCK)] == [True] + [False] * 15
        assert p.smaps()["Referenced"].sum() == BLOCK >> 10

    def test_policies(self):
        counts = {}
        for policy in ("off", "fold_on_set", "fold_opportunistic"):
            m = arm(mthp={"64kB": "always"}, policy={"contpte": policy})
            p, a = mapped(m, BLOCK)
            p.touch(a, BLOCK, write=True)
            p.mprotect(a + BLOCK - PAGE, PAGE, fs.PROT_READ)
            p.mprotect(a + BLOCK - PAGE, PAGE, fs.PROT_READ | fs.PROT_WRITE)
            counts[policy] = m.table_ops["fold"], sum(folded(p, a, BLOCK))
            m.validate()
        assert counts == {"off": (0, 0), "fold_on_set": (1, 0), "fold_opportunistic": (2, 16)}

    def test_a_kernel_without_it(self):
        m = arm(mthp={"64kB": "always"}, contpte=False)
        p, a = mapped(m, BLOCK)
        p.touch(a, BLOCK, write=True)
        assert not any(folded(p, a, BLOCK)) and m.table_ops["fold"] == 0


@pytest.mark.parametrize("wrong, named", [({"arch": "mips"}, "mips"), ({"page_size": "8K"}, "8K"),
                                          ({"arch": "arm64", "va_bits": 40}, "40")])
def test_a_machine_that_there_is_not(wrong, named):
    with pytest.raises(ValueError, match=named):
        fs.Machine(memory="64M", **wrong)


def test_tables_of_39_bits_have_three_levels():
    shapes = {bits: arm(va_bits=bits) for bits in (39, 48)}
    for bits, m in shapes.items():
        p, a = mapped(m, BLOCK)
        p.write(a, BLOCK, value=5)
        assert a < 1 << bits and p.read(a, BLOCK) == bytes([5]) * 16
        m.validate()
    assert [m.task_size.bit_length() - 1 for m in shapes.values()] == [39, 48]


class TestTlb:
    def test_of_one_gibibyte(self):
        found = {}
        for contpte in (True, False):
            m = fs.Machine(arch="arm64", memory="2G", mthp={"64kB": "always"}, contpte=contpte)
            p, a = mapped(m, 1 << 30)
            p.touch(a, 1 << 30, write=True)
            found[contpte] = m.ledger()["tlb_entries.contpte"]
        assert found == {True: 16384, False: 262144}
