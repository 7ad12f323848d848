"""A branch, and a machine from a file, go on exactly as the machine would have: every byte of their state is the same."""
import copy
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pytest
from state import everything

import foliosim as fs
from foliosim._core import branch as core
from foliosim.inject import FailingAllocations
from foliosim.replay.engine import Replay, machine_for
from foliosim.replay.reader import read_trace

ROOT = Path(__file__).parents[2]
PAGE, ARENA = 4096, 0x200000000000
SETTINGS = ({"thp": "never", "limit": "6M", "swap": "32M"}, {"thp": "always"},
            {"thp": "never", "mthp": {"64kB": "always"}, "limit": "8M", "swap": "2M"})
POINTS = {"cow_order": ["order0", "inherit"], "mlock_rule": ["contained_eager", "split"],
          "partial_unmap": ["defer", "split_now"], "cow_reuse": ["mm_owner_two_slots", "exact_owner_set"]}


class Careful:
    """A policy that remembers."""

    def __init__(self):
        self.asked = 0

    def cow_order(self, order, pmd):
        self.asked += 1
        return "inherit" if self.asked % 3 else "order0"


class Driver:
    """Operations on a machine, the same for the same dice."""

    def __init__(self, machine):
        self.machine, self.files, self.references, self.troubles = machine, [], [], 0
        first = machine.spawn()
        for i in range(3):
            first.mmap(1040 * PAGE, addr=ARENA + i * (64 << 20), flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)

    def step(self, dice):
        process = dice.choice(self.machine.processes())
        addr = ARENA + dice.randrange(3) * (64 << 20) + dice.choice([0, 1, 16, 255, 511, 512, 700]) * PAGE
        length = dice.choice([1, 1, 16, 100, 300]) * PAGE
        name, number, value = dice.choice(list(self.operations)), dice.randrange(1 << 30), dice.randrange(256)
        try:
            self.operations[name](self, process, addr, length, number, value)
        except (fs.SyscallError, fs.MemoryFault, MemoryError, LookupError):
            pass

    def fork(self, process, addr, length, number, value):
        if len(self.machine.processes()) < 4:
            process.fork()
        elif number & 1:
            process.exit()

    def file(self, process, addr, length, number, value):
        if len(self.files) < 3:
            self.files.append(self.machine.create_file(["disk", "tmpfs", "memfd"][number % 3], length, fill=value))
        else:
            file = self.files[number % len(self.files)]
            process.mmap(length, addr=addr, flags=[fs.MAP_SHARED, fs.MAP_PRIVATE][number & 1] | fs.MAP_FIXED, file=file)

    def hold(self, process, addr, length, number, value):
        self.references.append(process.pin_user_pages(addr, PAGE, write=True) if number & 1 else
                               process.get_user_pages(addr, 3 * PAGE))

    def release(self, process, addr, length, number, value):
        if self.references:
            self.references.pop(number % len(self.references)).release()

    def policy(self, process, addr, length, number, value):
        point = list(POINTS)[number % len(POINTS)]
        self.machine.set_policy({point: POINTS[point][value & 1]})

    def trouble(self, process, addr, length, number, value):
        self.machine.inject.reference((process, addr), after=number % 5, steps=2 + number % 7)
        if value & 1 and not any(isinstance(one, FailingAllocations) for one in self.machine.inject.active):
            self.machine.inject.failure(1 + number % 3, kinds=("folio",), min_order=1, steps=3)

    operations = {
        "write": lambda self, p, a, n, i, v: p.write(a, n, value=v, delta=i & 3, offset=(i >> 3) % 3),
        "read": lambda self, p, a, n, i, v: p.read(a, n),
        "mprotect": lambda self, p, a, n, i, v: p.mprotect(a, n, [fs.PROT_READ, fs.PROT_READ | fs.PROT_WRITE][i & 1]),
        "mlock": lambda self, p, a, n, i, v: p.mlock(a, n) if i & 1 else p.munlock(a, n),
        "munmap": lambda self, p, a, n, i, v: p.munmap(a, PAGE),
        "mmap": lambda self, p, a, n, i, v: p.mmap(n, addr=a, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED),
        "move": lambda self, p, a, n, i, v: p.mremap(a, n, n, flags=fs.MREMAP_MAYMOVE),
        "advise": lambda self, p, a, n, i, v: p.madvise(a, n, [fs.MADV_DONTNEED, fs.MADV_FREE, fs.MADV_PAGEOUT,
                                                              fs.MADV_COLLAPSE][i & 3]),
        "reclaim": lambda self, p, a, n, i, v: self.machine.reclaim(32),
        "shrink": lambda self, p, a, n, i, v: self.machine.shrink_deferred(2),
        "khugepaged": lambda self, p, a, n, i, v: self.machine.khugepaged_scan(),
        "observe": lambda self, p, a, n, i, v: self.machine.observe({"p": p}, ARENA, ARENA + (256 << 20)),
        "fork": fork, "file": file, "hold": hold, "release": release, "policy": policy, "trouble": trouble,
    }


def copied(driver, how, folder):
    """The driver of a copy of its machine."""
    if how == "branch":
        return copy.deepcopy(driver)
    if how == "pickle":
        return pickle.loads(pickle.dumps(driver))
    driver.machine.save(folder / "machine")
    machine = fs.Machine.load(folder / "machine")
    return copy.deepcopy(driver, {id(driver.machine): machine})


@pytest.mark.parametrize("seed, how", [(0, "branch"), (1, "branch"), (0, "save"), (1, "save"), (2, "save"), (2, "pickle")])
def test_a_copy_goes_on_as_the_machine_does(seed, how, tmp_path):
    dice = random.Random(seed)
    driver = Driver(fs.Machine(memory="64M", **SETTINGS[seed % len(SETTINGS)]))
    for _ in range(3):
        for _ in range(60):
            driver.step(dice)
        other, later = copied(driver, how, tmp_path), copy.deepcopy(dice)
        other.machine.validate()
        assert everything(other.machine) == everything(driver.machine)
        for _ in range(60):
            driver.step(dice)
        before = everything(driver.machine)
        for _ in range(60):
            other.step(later)
        other.machine.validate()
        assert everything(other.machine) == everything(driver.machine) == before
        assert other.machine.ledger() == driver.machine.ledger()
    counts = driver.machine.vmstat()
    met = ["thp_fault_alloc", "pgmajfault"] if seed == 1 else ["pswpout", "pswpin"] if seed == 0 else ["pswpout"]
    assert all(counts[name] for name in [*met, "nr_foll_pin_acquired", "cow_bytes", "unevictable_pgs_mlocked"]), counts


@pytest.mark.parametrize("name", ["redis-always", "pipe-never"])
def test_a_replay_goes_on_from_a_copy(name, tmp_path):
    trace = read_trace(ROOT / f"tests/replay/data/{name}.trace.jsonl.xz")
    straight = Replay(trace, machine_for(trace.header))
    half = len(trace.time) // 2
    copies = {}

    def snapshot(event):
        if "replay" not in copies and event[1] >= trace.time[half]:
            straight.machine.save(tmp_path / "machine")
            machine = fs.Machine.load(tmp_path / "machine")
            copies["replay"] = copy.deepcopy(straight, {id(trace): trace, id(straight.machine): machine})
            assert everything(machine) == everything(straight.machine)

    straight.run(snapshot)
    other = copies["replay"]
    assert everything(other.machine) != everything(straight.machine)
    other.run()
    assert everything(other.machine) == everything(straight.machine)
    assert other.faults.tolist() == straight.faults.tolist()


class TestBranch:
    def test_neither_sees_the_other(self):
        machine = fs.Machine(memory="64M", thp="always")
        process = machine.spawn()
        a = process.mmap(4 << 20)
        process.write(a, 4 << 20, value=1)
        one, two = machine.branch(), machine.branch()
        process.write(a, 4 << 20, value=2)
        one.twin(process).munmap(a, 1 << 20)
        three, four = machine.branch(), two.branch()
        four.twin(process).write(a, PAGE, value=4)
        three.twin(process).exit()
        assert [m.process(1).read(a, 1) for m in (machine, two, four)] == [b"\2", b"\1", b"\4"]
        assert not three.processes()
        with pytest.raises(fs.SegvError):
            one.process(1).read(a, 1)
        for m in (machine, one, two, three, four):
            m.validate()

    def test_a_branch_outlives_its_machine(self):
        machine = fs.Machine(memory="64M")
        process = machine.spawn()
        a = process.mmap(PAGE)
        process.write(a, PAGE, value=5)
        branch = machine.branch()
        del machine, process
        assert branch.process(1).read(a, 1) == b"\5"

    def test_another_policy(self):
        machine = fs.Machine(memory="64M", thp="always")
        process = machine.spawn()
        a = process.mmap(2 << 20)
        process.write(a, 2 << 20, value=1)
        process.fork().mprotect(a, 1 << 20, fs.PROT_READ)
        branch = machine.branch(policy={"cow_order": "inherit"})
        assert machine.policy["cow_order"] == "order0"
        for m, faults in ((machine, 512), (branch, 1)):
            before = m.vmstat()["pgfault"]
            m.process(1).write(a, 2 << 20, value=2)
            assert m.vmstat()["pgfault"] - before == faults

    def test_a_policy_that_remembers_is_copied(self):
        policy = Careful()
        machine = fs.Machine(memory="64M", thp="always", policy=policy)
        branch = machine.branch()
        assert branch.policy["cow_order"].__self__ is not policy
        process = branch.spawn()
        a = process.mmap(2 << 20)
        process.write(a, 2 << 20, value=1)
        process.fork()
        process.write(a, PAGE, value=2)
        assert (policy.asked, branch.policy["cow_order"].__self__.asked) == (0, 1)

    def test_a_policy_that_cannot_be_copied(self):
        policy = Careful()
        policy.file = open(__file__)
        machine = fs.Machine(memory="64M", policy=policy)
        with pytest.raises(TypeError, match="policy cow_order: .* cannot be copied"):
            machine.branch()
        assert machine.branch(policy="linux-6.18").policy["cow_order"] == "order0"
        policy.file.close()

    def test_twins(self):
        machine = fs.Machine(memory="64M")
        process, file = machine.spawn(), machine.create_file("disk", PAGE)
        a = process.mmap(PAGE)
        pin = process.pin_user_pages(a, PAGE, write=True)
        branch = machine.branch()
        assert branch.twin(process).machine is branch and branch.twin(process).pid == process.pid
        assert branch.twin(file) is branch.files()[0] and branch.twin(file).inode == file.inode
        branch.twin(pin).release()
        branch.validate()
        with pytest.raises(LookupError, match="released"):
            branch.twin(pin)
        assert machine.twin(branch.twin(process)) is process
        late = machine.spawn()
        with pytest.raises(LookupError, match="no process 2: live are"):
            branch.twin(late)
        with pytest.raises(TypeError, match="must be a Process"):
            branch.twin(3)

    def test_memory_is_shared_until_it_changes(self):
        machine = fs.Machine(memory="1G", thp="never")
        process = machine.spawn()
        a = process.mmap(256 << 20)
        process.write(a, 256 << 20, value=1)
        machine.branch()
        branches = [machine.branch() for _ in range(4)]
        changed = sum(core_own(branch) for branch in branches)
        assert changed < 4 * 64 << 10
        process.write(a, 1 << 20, value=2)
        assert 0 < core_own(machine) < 1 << 20
        assert core_own(machine.branch()) < 1 << 20

    def test_refused_in_a_hook(self):
        class Hook:
            def cow_order(self, order, pmd):
                machine.branch()

        machine = fs.Machine(memory="64M", thp="always", policy=Hook())
        process = machine.spawn()
        a = process.mmap(2 << 20)
        process.write(a, 2 << 20, value=1)
        process.fork()
        with pytest.raises(fs.ReentryError):
            process.write(a, PAGE, value=2)
        machine.validate()


def core_own(machine):
    from foliosim._core.frame_memory import runs

    return sum(size for _, size, _ in runs(machine, own=True))


class TestNothingIsForgotten:
    """Every pointer of every record is put in again, every attribute of the core's machine is accounted for."""

    def structs(self):
        out = {}
        for name in ("types.pxd", "content.pxd"):
            text = re.sub(r"#.*", "", (ROOT / "foliosim/_core" / name).read_text())
            for struct, body in re.findall(r"^cdef struct (\w+):.*\n((?:    .*\n|\s*\n)+)", text, re.MULTILINE):
                out[struct] = re.findall(r"^\s+(\w+(?: \w+)*?)\s+(\**)(.+?)\s*$", body, re.MULTILINE)
        return out

    HOST = {"machine_t.phys", "machine_t.pages", "machine_t.heads", "machine_t.held",  # see leave_host_out
            "point_t.ctx",                                                             # policies: set anew
            "held_t.pfns", "held_t.next", "held_t.prev",                               # references: made anew
            "interrupt_t.ctx",                                                         # of this process
            "walk_mmu_t.phys",                                                         # of no machine
            "swap_t.slots", "swap_t.clusters", "swap_t.of_page", "pcp_list_t.runs",    # by edges_of_swap_t, _machine_t
            "maple_block_t.vma", "machine_t.mappings"}                                 # see below

    def test_every_pointer_has_an_edge(self):
        source = (ROOT / "foliosim/_core/snapshot.pyx").read_text()
        functions = dict(re.findall(r"^cdef void edges_of_(\w+)\(.*\n((?:    .*\n|\s*\n)+)", source, re.MULTILINE))
        pointers = 0
        for struct, fields in self.structs().items():
            for _, stars, name in fields:
                name = re.match(r"\w+", name)[0]
                if not stars or f"{struct}.{name}" in self.HOST:
                    continue
                pointers += 1
                body = functions.get(struct, "")
                assert re.search(rf"edge(_part)?\(w, &\w+\.{name},", body), f"{struct}.{name}: no edge in snapshot.pyx"
        assert pointers > 25

    @pytest.mark.parametrize("where", ["swap.slots", "swap.clusters", "swap.of_page", "].runs", "block.vma[i]",
                                       "copy.mappings", "new.mappings"])
    def test_those_that_are_named_otherwise(self, where):
        assert where in (ROOT / "foliosim/_core/snapshot.pyx").read_text()

    def test_pointers_to_pointers_are_seen_by_the_test(self):
        fields = self.structs()["maple_t"]
        assert ("maple_block_t", "**", "blocks") in fields and ("uint64_t", "*", "max_end") in fields

    def test_every_attribute_is_accounted_for(self):
        names = set()
        for name, cls in (("frames", "CoreFrames"), ("machine", "CoreMachine")):
            text = (ROOT / f"foliosim/_core/{name}.pxd").read_text()
            body = re.search(rf"cdef class {cls}(?:\(\w+\))?:\n((?:    .*\n|\s*\n)+)", text)[1]
            names |= set(re.findall(r"^    cdef (?:readonly |public )?[\w.]+ (\w+)\s*(?:#.*)?$", body, re.MULTILINE))
        assert names == core.CARRIED | core.MADE_ANEW

    def test_what_every_record_carries(self):
        """A struct is copied whole, so its size is known to files: one more field makes another layout."""
        assert set(core.sizes()) >= {name for name, fields in self.structs().items() if any(f[1] for f in fields)} - {
            "walk_mmu_t", "point_t", "held_t", "interrupt_t", "swap_t", "age_t", "pcp_list_t", "maple_t", "content_t"}


def test_numpy_is_what_reads_host_memory():
    machine = fs.Machine(memory="16M")
    from foliosim._core.frame_memory import pieces

    offsets = [offset for offset, _ in pieces(machine)]
    assert offsets == sorted(offsets) and all(np.frombuffer(c, np.uint8).any() for _, c in pieces(machine))
