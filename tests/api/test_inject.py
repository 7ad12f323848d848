"""Trouble on purpose: each allocation of each operation fails once, and what is held is held for as long as was said."""
import errno
import gc

import numpy as np
import pytest

import foliosim as fs
from foliosim._core import binfmt

HUGE, PAGE = 2 << 20, 4096
BASE = 1 << 30
RW = fs.PROT_READ | fs.PROT_WRITE
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
MOVE = fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED


class Room:
    """A machine with a process whose memory has something of everything."""

    def __init__(self, swap=None):
        self.machine = fs.Machine(memory="128M", thp="always", mthp={"64kB": "always"}, shmem_enabled="always",
                                  swap=swap)
        self.process = self.machine.spawn()
        self.thp, self.small, self.far = BASE, BASE + 4 * HUGE, BASE + (3 << 39)
        self.file = self.machine.create_file("memfd", 4 * PAGE, fill=5)
        self.map(self.thp, 2 * HUGE, write=2 * HUGE)
        self.map(self.small, 64 * PAGE, write=40 * PAGE)
        self.private_file = self.process.mmap(4 * PAGE, addr=BASE + 8 * HUGE, flags=fs.MAP_PRIVATE | fs.MAP_FIXED,
                                              file=self.file)

    def map(self, addr, length, write=0):
        self.process.mmap(length, addr=addr, flags=FIXED)
        if write:
            self.process.write(addr, write, value=1)
        return addr

    def shared(self):
        """The process has a child: what it writes is copied."""
        self.child = self.process.fork()
        return self.process


def pinned_fork(room):
    with room.process.pin_user_pages(room.small, 8 * PAGE, longterm=True, write=True):
        room.process.fork()


def guard(room):
    room.process.madvise(room.map(room.far, 4 * PAGE), 4 * PAGE, fs.MADV_GUARD_INSTALL)


def shared_memory(room):
    addr = room.process.mmap(HUGE, addr=room.far, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    room.process.write(addr, 3 * PAGE, value=4)


def merge_unlike(room):
    """mprotect back: VMAs with anon_vmas merge."""
    room.process.mprotect(room.small, 8 * PAGE, fs.PROT_READ)
    room.process.mprotect(room.small, 8 * PAGE, RW)


def merge_fresh(room):
    """A new VMA between two that have anon_vmas takes one of them over."""
    room.process.munmap(room.small + 16 * PAGE, 16 * PAGE)
    room.process.mmap(16 * PAGE, addr=room.small + 16 * PAGE, flags=FIXED)


def huge_shmem(room):
    """A huge folio of the page cache."""
    file = room.machine.create_file("memfd", 0)
    file.ftruncate(HUGE)
    addr = room.process.mmap(HUGE, addr=room.far, flags=fs.MAP_SHARED | fs.MAP_FIXED, file=file)
    room.process.write(addr, PAGE, value=6)
    return file, addr


def swapped_out(room):
    room.process.madvise(room.thp, HUGE, fs.MADV_PAGEOUT)
    return room.process


def partly_unmapped(room):
    room.process.munmap(room.thp, PAGE)
    return room.machine


def brk_twice(room):
    start = BASE - 64 * PAGE
    binfmt.set_brk(room.process, start)
    room.process.brk(start + 3 * PAGE)
    room.process.write(start, 3 * PAGE, value=1)
    room.process.brk(start + 40 * PAGE)


def squeeze(room):
    room.machine.limit = room.machine.usage - HUGE


OPERATIONS = {
    "mmap": lambda room: room.process.mmap(HUGE, addr=room.far, flags=FIXED),
    "mmap over others": lambda room: room.process.mmap(16 * PAGE, addr=room.small + 8 * PAGE, flags=FIXED,
                                                       prot=fs.PROT_READ),
    "mmap, populated": lambda room: room.process.mmap(HUGE, addr=room.far, flags=FIXED | fs.MAP_POPULATE),
    "mmap that merges": merge_fresh,
    "munmap of the middle": lambda room: room.process.munmap(room.thp + HUGE // 2, HUGE),
    "mprotect of the middle": lambda room: room.process.mprotect(room.thp + HUGE // 2, HUGE, fs.PROT_READ),
    "mprotect and back": merge_unlike,
    "mremap far away": lambda room: room.process.mremap(room.thp, HUGE, HUGE, flags=MOVE, new_addr=room.far),
    "mremap of a part": lambda room: room.process.mremap(room.small + PAGE, 8 * PAGE, 8 * PAGE, flags=MOVE,
                                                         new_addr=room.far),
    "mremap that grows": lambda room: room.process.mremap(room.small, 64 * PAGE, 80 * PAGE,
                                                          flags=fs.MREMAP_MAYMOVE),
    "fork": lambda room: room.process.fork(),
    "fork with pins": pinned_fork,
    "spawn": lambda room: room.machine.spawn(),
    "write": lambda room: room.process.write(room.map(room.far, HUGE), HUGE, value=3),
    "write, 64K folios": lambda room: room.process.write(room.map(room.far, 32 * PAGE), 32 * PAGE, value=3),
    "read": lambda room: room.process.read(room.map(room.far, HUGE), HUGE),
    "write after fork": lambda room: room.shared().write(room.thp, 3 * PAGE, value=3),
    "write to a private file": lambda room: room.process.write(room.private_file, 4 * PAGE, value=3),
    "shared memory": shared_memory,
    "mlock": lambda room: room.process.mlock(room.map(room.far, 40 * PAGE), 20 * PAGE),
    "mlock after fork": lambda room: room.shared().mlock(room.small, 16 * PAGE),
    "munlock of a part": lambda room: (room.process.mlock(room.small, 8 * PAGE),
                                       room.process.munlock(room.small + 2 * PAGE, 2 * PAGE)),
    "MADV_NOHUGEPAGE": lambda room: room.process.madvise(room.thp + HUGE // 2, PAGE, fs.MADV_NOHUGEPAGE),
    "MADV_POPULATE_WRITE": lambda room: room.process.madvise(room.map(room.far, HUGE), HUGE, fs.MADV_POPULATE_WRITE),
    "MADV_COLLAPSE": lambda room: room.process.madvise(room.map(room.thp + 2 * HUGE, HUGE, write=PAGE), HUGE,
                                                       fs.MADV_COLLAPSE),
    "MADV_GUARD_INSTALL": guard,
    "get_user_pages": lambda room: room.process.get_user_pages(room.map(room.far, 8 * PAGE), 8 * PAGE).release(),
    "pin after fork": lambda room: room.shared().pin_user_pages(room.small, 8 * PAGE, write=True).release(),
    "split of a shared folio": lambda room: room.machine.split_folio(room.process.translate(room.thp) // PAGE),
    "file": lambda room: room.machine.create_file("memfd", 2 * PAGE, fill=1),
    "khugepaged": lambda room: room.machine.khugepaged_scan(room.process),
    "brk": brk_twice,
    "mlockall": lambda room: (room.map(room.far, 8 * PAGE), room.process.mlockall(fs.MCL_CURRENT | fs.MCL_FUTURE),
                              room.map(room.far + HUGE, 8 * PAGE)),
    "mseal of the middle": lambda room: room.process.mseal(room.small + PAGE, PAGE),
    "a name for the middle": lambda room: room.process.name_area(room.small + PAGE, PAGE, 7),
    "MADV_DONTFORK of the middle": lambda room: room.process.madvise(room.small + PAGE, PAGE, fs.MADV_DONTFORK),
    "MADV_COLD of a part": lambda room: room.process.madvise(room.thp, PAGE, fs.MADV_COLD),
    "MADV_FREE of a part": lambda room: room.process.madvise(room.thp, PAGE, fs.MADV_FREE),
    "shrink_deferred": lambda room: partly_unmapped(room).shrink_deferred(),
    "huge shmem": huge_shmem,
    "split of shmem": lambda room: room.machine.split_folio(room.process.translate(huge_shmem(room)[1]) // PAGE),
    "truncate into a huge folio": lambda room: huge_shmem(room)[0].ftruncate(PAGE),
    "punch into a huge folio": lambda room: huge_shmem(room)[0].punch(PAGE, PAGE),
    "COLLAPSE of shmem": lambda room: (huge_shmem(room)[0].punch(PAGE, PAGE),
                                       room.process.madvise(room.far, HUGE, fs.MADV_COLLAPSE)),
    "move to another process": lambda room: room.shared().mremap(room.small, 64 * PAGE, 64 * PAGE, flags=MOVE,
                                                                 new_addr=room.far),
}
SWAPPING = {
    "MADV_PAGEOUT": swapped_out,
    "MADV_PAGEOUT of a part": lambda room: room.process.madvise(room.thp + PAGE, PAGE, fs.MADV_PAGEOUT),
    "swap in": lambda room: swapped_out(room).read(room.thp, HUGE),
    "swap in after fork": lambda room: (swapped_out(room).fork(), room.process.write(room.thp, HUGE, value=4)),
    "mlock of swapped memory": lambda room: swapped_out(room).mlock(room.thp, HUGE),
    "reclaim": lambda room: room.machine.reclaim(600),
    "a lower limit": squeeze,
    "khugepaged of swapped pages": lambda room: (
        room.process.madvise(room.thp, 8 * PAGE, fs.MADV_PAGEOUT), room.machine.khugepaged_scan(room.process)),
}
OPERATIONS |= SWAPPING


def room_for(operation):
    return Room(swap="8M" if operation in SWAPPING else None)


def attempt(room, operation):
    """None, or the errno that the program saw."""
    try:
        OPERATIONS[operation](room)
    except fs.SyscallError as error:
        return error.errno
    except fs.MemoryFault:
        return errno.EFAULT
    except MemoryError:
        return errno.ENOMEM
    return None


def still_works(room):
    """The process can go on where the failure left it."""
    fresh = room.map(BASE + 16 * HUGE, 4 * PAGE, write=4 * PAGE)
    assert room.process.read(fresh, 4 * PAGE) == bytes([1]) * 4
    room.machine.validate()
    for process in room.machine.processes():
        process.exit()
    room.machine.validate()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_allocation_fails_once(operation):
    """n = 1, 2, ... until the operation allocates less than that; at every n the machine is whole."""
    n, errnos = 1, set()
    while True:
        room = room_for(operation)
        failure = room.machine.inject.failure(nth=n)
        failed = attempt(room, operation)
        room.machine.validate()
        hit = failure.failed
        failure.end()
        if failed:
            errnos.add(failed)
        still_works(room)
        if not hit:
            assert failed is None and failure.calls < n
            break
        n += 1
        assert n < 2000
    assert errnos <= {errno.ENOMEM, errno.EAGAIN, errno.EFAULT, errno.EINVAL}    # EINVAL: it was not huge after all


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["folio", "table", "vma", "anon_vma"])
def test_nothing_of_a_kind_can_be_had(operation, kind):
    room = room_for(operation)
    with room.machine.inject.failure(times=None, kinds=kind):
        attempt(room, operation)
        room.machine.validate()
    still_works(room)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("spare", [0, 5])
def test_a_full_limit(operation, spare):
    """What needs more than there is fails with a report or does with less; afterwards everything works again."""
    room = room_for(operation)
    room.machine.limit = room.machine.usage + spare * PAGE
    failed = attempt(room, operation)
    room.machine.validate()
    assert failed in (None, errno.ENOMEM, errno.EAGAIN, errno.EFAULT, errno.EBUSY, errno.EINVAL)
    room.machine.limit = None
    still_works(room)


class TestPartialEffects:
    """What Linux leaves behind."""

    @pytest.fixture
    def room(self):
        return Room()

    def flags(self, room, addr):
        return next(str(area["perms"]) for area in room.process.maps() if area["start"] <= addr < area["end"])

    def test_a_large_folio_falls_back(self, room):
        room.map(room.far, 2 * HUGE)
        with room.machine.inject.failure(times=None, kinds="folio", min_order=5):
            room.process.write(room.far, PAGE, value=1)
        stats = room.machine.mthp_stats()
        assert room.machine.vmstat()["thp_fault_fallback"] == 1
        assert stats[9]["anon_fault_fallback"] == 1
        assert room.machine.folio(room.process.translate(room.far) // PAGE).order == 4
        with room.machine.inject.failure(times=None, kinds="folio", min_order=1):
            room.process.write(room.far + HUGE, PAGE, value=1)
        assert room.machine.mthp_stats()[4]["anon_fault_fallback"] == stats[4]["anon_fault_fallback"] + 1
        assert room.machine.folio(room.process.translate(room.far + HUGE) // PAGE).order == 0

    def test_accesses_before_the_failing_one_took_effect(self, room):
        room.map(room.far, 32 * PAGE)
        before = room.process.counts()["rss_anon"]
        with room.machine.inject.failure(nth=2, times=None, kinds="folio"), pytest.raises(OSError, match="ENOMEM"):
            room.process.write(room.far, 32 * PAGE, value=9)         # two folios of 64 KiB
        assert room.process.counts()["rss_anon"] == before + 16
        assert room.process.read(room.far, 32 * PAGE) == bytes([9]) * 16 + bytes(16)

    def test_the_first_cut_stays(self, room):
        areas = len(room.process.maps())
        failure = room.machine.inject.failure(nth=2, kinds="vma")
        with failure, pytest.raises(OSError, match="ENOMEM"):
            room.process.mprotect(room.small + 8 * PAGE, 8 * PAGE, fs.PROT_READ)
        assert len(room.process.maps()) == areas + 1
        assert self.flags(room, room.small + 8 * PAGE) == "rw-p"

    def test_mprotect_keeps_what_it_did_to_earlier_areas(self, room):
        room.map(room.far, 4 * PAGE)
        room.process.mmap(4 * PAGE, addr=room.far + 4 * PAGE, flags=fs.MAP_PRIVATE | fs.MAP_FIXED, file=room.file)
        with room.machine.inject.failure(kinds="vma"), pytest.raises(OSError, match="ENOMEM"):
            room.process.mprotect(room.far, 6 * PAGE, fs.PROT_READ)
        assert self.flags(room, room.far) == "r--p"
        assert self.flags(room, room.far + 4 * PAGE) == "rw-p"

    def test_munmap_changes_nothing_visible(self, room):
        before = room.process.read(room.small, 40 * PAGE)
        with room.machine.inject.failure(kinds="vma"), pytest.raises(OSError, match="ENOMEM"):
            room.process.munmap(room.small + PAGE, PAGE)
        assert room.process.read(room.small, 40 * PAGE) == before

    def test_fork_leaves_no_child_and_a_protected_parent(self, room):
        with room.machine.inject.failure(nth=1, kinds="vma"), pytest.raises(OSError, match="ENOMEM"):
            room.process.fork()
        assert room.machine.processes() == [room.process]
        faults = room.machine.ledger()
        failure = room.machine.inject.failure(nth=6, kinds="table")
        with failure, pytest.raises(OSError, match="ENOMEM"):
            room.process.fork()
        room.process.write(room.thp, PAGE, value=2)
        assert (room.machine.ledger() - faults)["faults.reuse"] + (room.machine.ledger() - faults)["faults.cow"] == 1

    def test_mremap_moves_back(self, room):
        before = room.process.read(room.thp, 2 * HUGE)
        areas = room.process.maps().tolist()
        with room.machine.inject.failure(nth=1, kinds="table"), pytest.raises(OSError, match="ENOMEM"):
            room.process.mremap(room.thp, 2 * HUGE, 2 * HUGE, flags=MOVE, new_addr=room.far)
        assert room.process.read(room.thp, 2 * HUGE) == before
        assert room.process.maps().tolist() == areas

    def test_mlock_says_eagain_and_stays_locked(self, room):
        room.map(room.far, 8 * PAGE)
        with room.machine.inject.failure(times=None, kinds="folio"), pytest.raises(OSError) as caught:
            room.process.mlock(room.far, 8 * PAGE)
        assert caught.value.errno == errno.EAGAIN
        assert room.process.counts()["locked_vm"] == 8

    def test_advice_says_eagain(self, room):
        with room.machine.inject.failure(kinds="vma"), pytest.raises(OSError) as caught:
            room.process.madvise(room.small + PAGE, PAGE, fs.MADV_DONTFORK)
        assert caught.value.errno == errno.EAGAIN

    def test_guards_stay_up_to_the_failure(self, room):
        edge = (room.far & ~(HUGE - 1)) + HUGE
        room.process.mmap(2 * HUGE, addr=edge - HUGE, flags=FIXED)
        room.process.touch(edge - PAGE, PAGE)
        room.process.madvise(edge - PAGE, PAGE, fs.MADV_DONTNEED)
        with room.machine.inject.failure(kinds="table"), pytest.raises(OSError, match="ENOMEM"):
            room.process.madvise(edge - 2 * PAGE, 4 * PAGE, fs.MADV_GUARD_INSTALL)
        with pytest.raises(fs.SegvError):
            room.process.read(edge - 2 * PAGE, PAGE)
        room.process.read(edge, PAGE)

    def test_collapse(self, room):
        room.map(room.far, HUGE)
        room.process.madvise(room.far, HUGE, fs.MADV_NOHUGEPAGE)
        room.process.write(room.far, 8 * PAGE, value=1)
        with room.machine.inject.failure(kinds="folio", min_order=9), pytest.raises(OSError, match="ENOMEM"):
            room.process.madvise(room.far, HUGE, fs.MADV_HUGEPAGE)
            room.process.madvise(room.far, HUGE, fs.MADV_COLLAPSE)
        assert room.machine.vmstat()["thp_collapse_alloc_failed"] == 1


class TestHolding:
    @pytest.fixture
    def machine(self):
        machine = fs.Machine(memory="64M", thp="always")
        yield machine
        machine.inject.clear()
        machine.validate()

    @pytest.fixture
    def process(self, machine):
        process = machine.spawn()
        process.mmap(HUGE, addr=BASE, flags=FIXED)
        process.write(BASE, HUGE, value=1)
        return process

    def folio(self, process):
        return process.machine.folio(process.translate(BASE) // PAGE)

    def test_from_a_step_on_for_some_steps(self, machine, process):
        held = machine.inject.reference((process, BASE), after=2, steps=3)
        seen = []
        for _ in range(7):
            seen.append((self.folio(process).refcount, held.state))
            process.read(BASE, PAGE)
        assert seen == [(1, "waiting")] * 2 + [(2, "active")] * 3 + [(1, "over")] * 2

    @pytest.mark.parametrize("what, refcount, pincount", [("reference", 2, 0), ("pin", 2, 1), ("lock", 2, 0)])
    def test_what_is_held(self, machine, process, what, refcount, pincount):
        with getattr(machine.inject, what)(self.folio(process)) as held:
            folio = self.folio(process)
            assert (folio.refcount, folio.pincount) == (refcount, pincount)
            assert ("locked" in folio.flag_names) == (what == "lock")
            machine.validate()
            assert machine.inject.active == [held]
        assert (self.folio(process).refcount, "locked" in self.folio(process).flag_names) == (1, False)

    def test_it_outlives_the_process(self, machine, process):
        held = machine.inject.pin((process, BASE))
        process.exit()
        machine.validate()
        assert machine.folio(held.pfn).mapcount == 0
        held.end()
        assert machine.folio(held.pfn) is None

    def test_no_folio_there_any_more(self, machine, process):
        held = machine.inject.reference((process, BASE), after=1)
        process.munmap(BASE, HUGE)
        assert held.state == "missed"
        held.end()
        assert held.state == "missed"
        with pytest.raises(fs.SegvError):
            machine.inject.reference((process, BASE))
        with pytest.raises(LookupError, match="no folio"):
            machine.inject.reference(0)

    def test_a_locked_folio_is_left_alone(self, machine, process):
        with machine.inject.lock((process, BASE)):
            with pytest.raises(LookupError, match="locked already"):
                machine.inject.lock((process, BASE))
            with pytest.raises(OSError, match="EBUSY"):
                machine.split_folio(self.folio(process).pfn)
            process.madvise(BASE, HUGE, fs.MADV_FREE)
            assert self.folio(process).order == 9
        assert machine.ledger()["splits.failed.locked"] == 1

    def test_a_single_page_is_copied_rather_than_waited_for(self, machine):
        process = machine.spawn()
        addr = process.mmap(PAGE)
        process.write(addr, PAGE, value=1)
        process.fork().exit()
        with machine.inject.lock((process, addr)):
            process.write(addr, PAGE, value=2)
        assert (machine.ledger()["faults.cow"], machine.ledger()["faults.reuse"]) == (1, 0)

    def test_failures_begin_and_end_with_steps(self, machine, process):
        failure = machine.inject.failure(times=None, kinds="vma", after=1, steps=1)
        assert process.mmap(PAGE, addr=BASE + HUGE * 2, flags=FIXED)
        with pytest.raises(OSError, match="ENOMEM"):
            process.mmap(PAGE, addr=BASE + HUGE * 3, flags=FIXED)
        assert process.mmap(PAGE, addr=BASE + HUGE * 4, flags=FIXED)
        assert (failure.state, failure.failed) == ("over", 1)

    def test_looking_is_no_step(self, machine, process):
        step = machine.steps
        machine.ledger(), machine.validate(), process.smaps(), machine.vmstat(), process.counts(), repr(process)
        process.pagemap(BASE, HUGE), process.walk([BASE]), machine.drain()
        assert machine.steps == step
        process.fork()
        assert machine.steps == step + 1
        process.exit()
        assert machine.steps == step + 2

    @pytest.mark.parametrize("call, words", [
        (lambda i: i.reference("x"), "target 'x'"),
        (lambda i: i.reference(True), "target True"),
        (lambda i: i.reference(1, after=-1), "after -1"),
        (lambda i: i.pin(1, steps=0), "steps 0"),
        (lambda i: i.failure(0), "nth 0"),
        (lambda i: i.failure(times=0), "times 0"),
        (lambda i: i.failure(kinds="memory"), "kind 'memory': valid are folio, table, vma, anon_vma, xa_node"),
        (lambda i: i.failure(min_order=-1), "min_order -1"),
        (lambda i: [i.failure(), i.failure()], "fail already"),
    ])
    def test_bad_input(self, machine, call, words):
        with pytest.raises(ValueError, match=words):
            call(machine.inject)


def test_a_process_of_another_machine_is_no_target():
    other = fs.Machine(memory="64M").spawn()
    machine = fs.Machine(memory="64M")
    with pytest.raises(ValueError, match="another machine"):
        machine.inject.reference((other, other.mmap(4096)), after=3)
    machine.branch().validate()


@pytest.mark.parametrize("use", [lambda i: i.reference(0), lambda i: i.failure(), lambda i: i.clear()])
def test_a_machine_that_is_gone(use):
    injector = fs.Machine(memory="64M").inject
    gc.collect()
    with pytest.raises(ReferenceError, match="the machine of this injector is gone"):
        use(injector)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint64])
def test_numbers_of_numpy_can_be_kept(kind, tmp_path):
    machine = fs.Machine(memory="64M")
    process = machine.spawn()
    at = process.mmap(PAGE)
    process.touch(at, PAGE, write=True)
    machine.inject.reference(kind(process.translate(at) // PAGE))
    machine.inject.reference((process, kind(at)), after=kind(5))
    machine.save(tmp_path / "machine")
    assert len(fs.Machine.load(tmp_path / "machine").inject.active) == 1


@pytest.mark.parametrize("target", [("abc", 5), (b"abc", 5), (None, 5), ("abc",)])
def test_a_target_that_is_none(target):
    machine = fs.Machine(memory="64M")
    with pytest.raises(ValueError, match="must be a Folio, a frame number, or "):
        machine.inject.reference(target)
