"""A hypothesis state machine that drives the emulator and `foliosim.testing.oracle` with the same operations.

After every step `Machine.validate` runs, every page that is mapped must hold the oracle's bytes, every page that is
not must be zero there, and every reference must show bytes that the oracle allows.  Nothing of this disturbs the
state: bytes are taken from the frames, not loaded by the process.
"""
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import foliosim as fs
from foliosim.testing.available import missing
from foliosim.testing.oracle import PAGE, Failure, Fault, Oracle, Page

ARENA = 0x200000000000
PAGES = 1040            # two huge page ranges and a bit
FILE_PAGES = 40
MAX_PROCESSES = 4
MAX_REFERENCES = 6
OFFSETS = (0, 1, 4095)  # the bytes of a page that are written and compared
RW = fs.PROT_READ | fs.PROT_WRITE
PROTS = (RW, RW, RW | fs.PROT_EXEC, fs.PROT_READ, fs.PROT_NONE)
NO_EFFECT = (fs.MADV_NORMAL, fs.MADV_HUGEPAGE, fs.MADV_NOHUGEPAGE, fs.MADV_DONTDUMP, fs.MADV_DODUMP)
SWAP_DEVICE = fs.PM_SWAP | fs.PM_PRESENT | 31  # and the type of the entry: 0 is the swap device
MOVE = fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED
SETTINGS = (
    {"thp": "never"},
    {"thp": "always"},
    {"thp": "never", "mthp": {"64kB": "always", "16kB": "always"}},
    {"thp": "madvise", "mthp": {"2048kB": "madvise", "128kB": "always"}},
)

_first = st.sampled_from([0, 1, 3, 15, 16, 31, 255, 256, 510, 511, 512, 513, 767, 1023, 1024, 1039])
_count = st.sampled_from([1, 1, 2, 3, 15, 16, 17, 64, 256, 512, 513, 1024])
_few = st.sampled_from([1, 1, 1, 2, 3, 16, 17, 256, 512])  # of operations that take memory away
_hot = st.sampled_from([0, 0, 0, 1, 2, 16, 512, 512, 513])    # of operations that need memory, so that they meet
_who = st.integers(0, MAX_PROCESSES - 1)
_value = st.integers(0, 255)


@dataclass
class Pair:
    """A process and its model."""

    real: fs.Process
    model: object = field(repr=False)


def large_folios(settings):
    """Whether settings of a machine allow folios of several pages."""
    return settings.get("thp") != "never" or any(mode != "never" for mode in settings.get("mthp", {}).values())


class ByteIsolation(RuleBasedStateMachine):
    """Emulator beside oracle; subclass it to fix `settings`, or to add rules."""

    settings = SETTINGS

    def __init__(self):
        super().__init__()
        self.pairs = []
        self.references = []
        self.freed = False

    @initialize(number=st.integers(0, 63))
    def build(self, number):
        settings = self.settings[number % len(self.settings)]
        self.start(settings, Oracle(large=large_folios(settings)))

    def start(self, settings, oracle):
        """A machine and its oracle, with a file and one process."""
        self.machine = fs.Machine(memory="64M", **settings)
        self.oracle = oracle
        self.file = self.machine.create_file("memfd", FILE_PAGES * PAGE, fill=1)
        self.pages_of_file = {i: Page({offset: 1 + i for offset in OFFSETS}) for i in range(FILE_PAGES)}
        self.pairs = [Pair(self.machine.spawn(), self.oracle.spawn())]
        self.map_all(self.pairs[0])

    def map_all(self, pair):
        flags = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
        pair.real.mmap(PAGES * PAGE, addr=ARENA, prot=RW, flags=flags)
        pair.model.mmap(ARENA, PAGES * PAGE, RW)

    # ---- both at once ----

    def pair(self, who):
        return self.pairs[who % len(self.pairs)]

    def both(self, real, model):
        """Perform on both; the same results, errnos or faults."""
        got, answer = outcome_of_machine(real), outcome_of_model(model)
        assert got[0] == answer[0] and (got[0] == "done" or got[1] == answer[1]), f"machine {got}, oracle {answer}"
        return got[1], answer[1]

    def call(self, who, first, count, real, model):
        """A method name (or a function of process, address, length) on each side, over a range."""
        pair, addr, length = self.pair(who), ARENA + first * PAGE, min(count, PAGES - first) * PAGE
        self.both(lambda: real(pair.real, addr, length), lambda: model(pair.model, addr, length))

    # ---- mappings ----

    @rule(who=_who, first=_first, count=_few, prot=st.sampled_from(PROTS), shared=st.booleans(),
          populate=st.booleans())
    def mmap(self, who, first, count, prot, shared, populate):
        flags = fs.MAP_ANONYMOUS | fs.MAP_FIXED | (fs.MAP_SHARED if shared else fs.MAP_PRIVATE)
        flags |= fs.MAP_POPULATE if populate else 0
        self.call(who, first, count, lambda p, a, n: p.mmap(n, addr=a, prot=prot, flags=flags),
                  lambda p, a, n: p.mmap(a, n, prot, shared=shared, populate=populate))

    @rule(who=_who, first=_hot, count=st.integers(1, FILE_PAGES), prot=st.sampled_from(PROTS), shared=st.booleans(),
          populate=st.booleans())
    def mmap_file(self, who, first, count, prot, shared, populate):
        flags = fs.MAP_FIXED | (fs.MAP_SHARED if shared else fs.MAP_PRIVATE) | (fs.MAP_POPULATE if populate else 0)
        self.call(who, first, count, lambda p, a, n: p.mmap(n, addr=a, prot=prot, flags=flags, file=self.file),
                  lambda p, a, n: p.mmap(a, n, prot, shared=shared, populate=populate, file=self.pages_of_file))

    @rule(who=_who, first=_first, count=_few)
    def munmap(self, who, first, count):
        self.call(who, first, count, fs.Process.munmap, lambda p, a, n: p.munmap(a, n))

    @rule(who=_who, first=_first, count=_few, prot=st.sampled_from(PROTS))
    def mprotect(self, who, first, count, prot):
        # What is locked and becomes writable is populated up to the first guard region of each area.
        if not any(place.locked and place.guard for place in self.places(self.pair(who), first, count)):
            self.call(who, first, count, lambda p, a, n: p.mprotect(a, n, prot),
                      lambda p, a, n: p.mprotect(a, n, prot))

    @precondition(lambda self: not missing("mremap"))
    @rule(who=_who, first=_first, count=_count, to=_first)
    def mremap(self, who, first, count, to):
        count = min(count, PAGES - max(first, to))
        if abs(first - to) >= count:
            new = ARENA + to * PAGE
            self.call(who, first, count, lambda p, a, n: p.mremap(a, n, n, flags=MOVE, new_addr=new),
                      lambda p, a, n: p.mremap(a, n, new))

    @rule(who=_who, first=_hot, count=_few, to=_first)
    def mremap_dontunmap(self, who, first, count, to):
        """Of one area that is not locked: it would be unlocked from end to end."""
        pair, count = self.pair(who), min(count, PAGES - max(first, to))
        addr, new, length = ARENA + first * PAGE, ARENA + to * PAGE, count * PAGE
        if abs(first - to) < count or not in_one_area(pair.real, addr, length):
            return
        if not any(place.locked for place in self.places(pair, first, count)):
            self.both(lambda: pair.real.mremap(addr, length, length, flags=MOVE | fs.MREMAP_DONTUNMAP, new_addr=new),
                      lambda: pair.model.mremap_dontunmap(addr, length, new))

    @staticmethod
    def places(pair, first, count):
        """Those of a range that are mapped."""
        numbers = range(ARENA // PAGE + first, ARENA // PAGE + min(first + count, PAGES))
        return [pair.model.places[number] for number in numbers if number in pair.model.places]

    # ---- advice ----

    @rule(who=_who, first=_first, count=_few, install=st.booleans())
    def guard(self, who, first, count, install):
        if install:
            self.call(who, first, count, lambda p, a, n: p.madvise(a, n, fs.MADV_GUARD_INSTALL),
                      lambda p, a, n: p.guard_install(a, n))
        else:
            self.call(who, first, count, lambda p, a, n: p.madvise(a, n, fs.MADV_GUARD_REMOVE),
                      lambda p, a, n: p.guard_remove(a, n))

    @rule(who=_who, first=_first, count=_few)
    def remove(self, who, first, count):
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, fs.MADV_REMOVE), lambda p, a, n: p.remove(a, n))

    @precondition(lambda self: self.oracle.large)
    @rule(who=_who, first=st.sampled_from([0, 512]), count=st.sampled_from([512, 1024]))
    def collapse(self, who, first, count):
        """Bytes stay, whether a block can be collapsed or not."""
        pair, addr, length = self.pair(who), ARENA + first * PAGE, min(count, PAGES - first) * PAGE
        try:
            pair.real.madvise(addr, length, fs.MADV_COLLAPSE)
        except fs.SyscallError:
            pass
        pair.model.collapse(addr, length)

    @rule(who=_who, first=_first, count=_count, advice=st.sampled_from(NO_EFFECT))
    def advise_without_effect(self, who, first, count, advice):
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, advice), lambda p, a, n: p.no_effect(a, n))

    @rule(who=_who, first=_first, count=_few, locked=st.booleans())
    def dontneed(self, who, first, count, locked):
        advice = fs.MADV_DONTNEED_LOCKED if locked else fs.MADV_DONTNEED
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, advice),
                  lambda p, a, n: p.dontneed_locked(a, n) if locked else p.dontneed(a, n))

    @rule(who=_who, first=_first, count=_few, on=st.booleans())
    def dontfork(self, who, first, count, on):
        advice = fs.MADV_DONTFORK if on else fs.MADV_DOFORK
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, advice), lambda p, a, n: p.set_dontfork(a, n, on))

    @rule(who=_who, first=_first, count=_few, on=st.booleans())
    def wipeonfork(self, who, first, count, on):
        advice = fs.MADV_WIPEONFORK if on else fs.MADV_KEEPONFORK
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, advice),
                  lambda p, a, n: p.set_wipeonfork(a, n, on))

    @rule(who=_who, first=_first, count=_count, write=st.booleans())
    def populate(self, who, first, count, write):
        advice = fs.MADV_POPULATE_WRITE if write else fs.MADV_POPULATE_READ
        self.call(who, first, count, lambda p, a, n: p.madvise(a, n, advice),
                  lambda p, a, n: p.populate(a, n, write=write))

    @rule(who=_who, first=_first, count=_count, name=st.sampled_from(["MADV_COLD", "MADV_FREE", "MADV_PAGEOUT"]))
    def age(self, who, first, count, name):
        """Advice that may split folios; without memory pressure no byte changes, but PAGEOUT drops what FREE freed."""
        if name == "MADV_PAGEOUT" and self.freed:
            return
        self.freed = self.freed or name == "MADV_FREE"
        pair, addr, length = self.pair(who), ARENA + first * PAGE, min(count, PAGES - first) * PAGE
        try:
            if not missing(name):
                pair.real.madvise(addr, length, getattr(fs, name))
        except fs.SyscallError:
            pass  # locked or shared memory, or a hole; what came before it was advised
        self.oracle.folios_may_split()

    @rule(who=_who, first=_first, count=_count, lock=st.booleans())
    def mlock(self, who, first, count, lock):
        if lock:
            self.call(who, first, count, fs.Process.mlock, lambda p, a, n: p.mlock(a, n))
        else:
            self.call(who, first, count, fs.Process.munlock, lambda p, a, n: p.munlock(a, n))

    # ---- processes ----

    @precondition(lambda self: len(self.pairs) < MAX_PROCESSES)
    @rule(who=_who)
    def fork(self, who):
        pair = self.pair(who)
        self.pairs.append(Pair(pair.real.fork(), pair.model.fork()))

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(who=_who)
    def exit(self, who):
        pair = self.pair(who)
        pair.real.exit()
        pair.model.exit()
        self.pairs.remove(pair)
        self.references = [held for held in self.references if held[1].process is not pair.model]

    # ---- accesses ----

    @rule(who=_who, first=_hot, count=_few, value=_value)
    def store(self, who, first, count, value):
        self.call(who, first, count, lambda p, a, n: p.write(a, n, value=value), lambda p, a, n: p.write(a, n, value))

    @rule(who=_who, first=_first, count=_count, value=_value, delta=st.sampled_from([0, 0, 1]),
          offset=st.sampled_from(OFFSETS))
    def write(self, who, first, count, value, delta, offset):
        self.call(who, first, count, lambda p, a, n: p.write(a, n, value=value, delta=delta, offset=offset),
                  lambda p, a, n: p.write(a, n, value, delta=delta, offset=offset))

    @rule(who=_who, first=_first, count=_count, offset=st.sampled_from(OFFSETS))
    def read(self, who, first, count, offset):
        pair, addr, length = self.pair(who), ARENA + first * PAGE, min(count, PAGES - first) * PAGE
        got, answer = self.both(lambda: pair.real.read(addr, length, offset=offset),
                                lambda: pair.model.read(addr, length, offset=offset))
        assert got == answer

    # ---- references ----

    @precondition(lambda self: len(self.references) < MAX_REFERENCES)
    @rule(who=_who, first=_hot, count=st.integers(1, 20), offset=st.sampled_from(OFFSETS))
    def get(self, who, first, count, offset):
        self.hold(who, first, count, offset, lambda p, a, n: p.get_user_pages(a, n), lambda p, a, n: p.get(a, n))

    @precondition(lambda self: len(self.references) < MAX_REFERENCES)
    @rule(who=_who, first=_hot, count=st.integers(1, 20), offset=st.sampled_from(OFFSETS), longterm=st.booleans(),
          write=st.booleans())
    def pin(self, who, first, count, offset, longterm, write):
        self.hold(who, first, count, offset, lambda p, a, n: p.pin_user_pages(a, n, longterm=longterm, write=write),
                  lambda p, a, n: p.pin(a, n, longterm=longterm, write=write))

    def hold(self, who, first, count, offset, real, model):
        pair, addr, length = self.pair(who), ARENA + first * PAGE + offset, (min(count, PAGES - first) - 1) * PAGE + 1
        held = self.both(lambda: real(pair.real, addr, length), lambda: model(pair.model, addr, length))
        if isinstance(held[0], fs.PageReference):
            self.references.append(held)

    @precondition(lambda self: self.references)
    @rule(which=st.integers(0, MAX_REFERENCES - 1))
    def release(self, which):
        real, model = self.references.pop(which % len(self.references))
        real.release()
        model.process.release(model)

    @precondition(lambda self: self.oracle.large)
    @rule(who=_who, first=_first)
    def split_folio(self, who, first):
        try:
            self.machine.split_folio(self.pair(who).real.translate(ARENA + first * PAGE) >> 12)
        except (fs.SyscallError, fs.SegvError, ValueError):
            pass  # nothing mapped there, a small folio, a zero page, or other references
        self.oracle.folios_may_split()

    # ---- what must hold after every step ----

    @invariant()
    def counts_are_right(self):
        if self.pairs:
            self.machine.validate()

    @invariant()
    def bytes_are_right(self):
        for pair in self.pairs:
            check_bytes(self.machine, pair)

    @invariant()
    def areas_are_right(self):
        for pair in self.pairs:
            check_areas(pair)

    @invariant()
    def references_are_right(self):
        for real, model in self.references:
            shown, allowed = real.peek(), model.allowed()
            assert len(shown) == len(allowed)
            assert all(byte in choice for byte, choice in zip(shown, allowed, strict=True)), (list(shown), allowed)
            assert self.oracle.large or all(len(slot.pages) == 1 for slot in model.slots)


def outcome_of_machine(call):
    try:
        return "done", call()
    except fs.SyscallError as error:
        return "errno", error.errno
    except fs.MemoryFault as fault:
        return "fault", (fault.addr, fault.si_code)


def outcome_of_model(call):
    try:
        return "done", call()
    except Failure as failure:
        return "errno", failure.errno
    except Fault as fault:
        return "fault", (fault.addr, fault.code)


def check_bytes(machine, pair):
    """Every page of the arena: mapped frames hold the model's bytes, the model has no bytes where nothing is mapped."""
    words = pair.real.pagemap(ARENA, PAGES * PAGE)
    frames = np.where(words & np.uint64(fs.PM_PRESENT), words & np.uint64(fs.PM_PFRAME_MASK), np.uint64(0)).tolist()
    places, first = pair.model.places, ARENA // PAGE
    for number, frame in enumerate(frames, first):
        place = places.get(number)
        page = place.bytes_from() if place is not None else None
        if frame:
            assert place is not None, f"page {number:#x} is mapped and should not be"
            for offset in OFFSETS:
                want = page.byte(offset) if page is not None else 0
                assert machine.peek_frame(frame, offset) == want, (hex(number), offset)
        elif int(words[number - first]) & SWAP_DEVICE == fs.PM_SWAP:
            assert place is not None and place.shared is None, f"page {number:#x} is in swap and should not be"
            for offset in OFFSETS:
                want = page.byte(offset) if page is not None else 0
                assert machine.peek_swap((int(words[number - first]) & fs.PM_PFRAME_MASK) >> 5, offset) == want
        elif page is not None and place.shared is None and page is place.page:
            assert page.is_zero(), f"page {number:#x} is lost"


def check_areas(pair):
    """Where something is mapped, with which rights."""
    got = {}
    for area in pair.real.maps():
        for number in range(int(area["start"]) // PAGE, int(area["end"]) // PAGE):
            got[number] = str(area["perms"])
    want = {number: permissions(place) for number, place in pair.model.places.items()}
    assert got == want


def in_one_area(process, addr, length):
    """Is the range mapped by one area?"""
    return any(int(area["start"]) <= addr and addr + length <= int(area["end"]) for area in process.maps())


def permissions(place):
    letters = "".join(letter if place.prot >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
    return letters + ("s" if place.shared is not None else "p")
