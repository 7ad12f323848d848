"""Memory pressure beside the byte oracle: whatever is reclaimed, swapped, split or collapsed, no byte is lost."""
import random

import pytest
from effort import BIG, effort
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

import foliosim as fs
from foliosim.testing.oracle import PAGE, Oracle
from foliosim.testing.stateful import ARENA, MAX_PROCESSES, PAGES, ByteIsolation, Pair

STEPS = 100 if BIG else 30
SETTINGS = (
    {"thp": "never", "limit": "5M", "swap": "32M"},
    {"thp": "always", "limit": "6M", "swap": "32M"},
    {"thp": "never", "mthp": {"64kB": "always", "16kB": "always"}, "limit": "5M", "swap": "32M"},
    {"thp": "always", "limit": "6M", "swap": "1M"},
)
POLICIES = {"partial_evict": ["unmap_rest", "split_then_sort", "skip_folio", "evict_none_until_unlock"],
            "collapse_rule": ["pmd_only", "quadruple_active", "count_zero_as_none", "bitmap_best_fit_scaled"],
            "collapse_vs_free": ["on", "off", "backoff(2)", "respect_recent_dontneed"],
            "underused": ["zero_filled", "zero_filled(256)", "off", "zero_filled_incl_511", "accessed_half"],
            "age_unit": ["folio_any", "majority", "per_page"],
            "swap_large": ["whole", "order0", "pmd_whole", "split_first", "original_order"]}
ADVICE = (fs.MADV_DONTNEED, fs.MADV_FREE, fs.MADV_COLLAPSE, fs.MADV_PAGEOUT)


class UnderPressure(ByteIsolation):
    """The same operations with a limit, and the daemons between them."""

    settings = SETTINGS

    @initialize(number=st.integers(0, 63))
    def build(self, number):
        self.start(self.settings[number % len(self.settings)], Oracle(large=True))

    def both(self, real, model):
        return super().both(lambda: self.until_it_succeeds(real), model)

    def until_it_succeeds(self, call):
        """What fails for want of memory is done again without a limit: the first half of it does no harm."""
        try:
            return call()
        except fs.OutOfMemory:
            self.machine.validate()
            limit, self.machine.limit = self.machine.limit, None
            try:
                return call()
            finally:
                self.machine.limit = limit

    @rule(who=st.integers(0, 3))
    def fork(self, who):
        pair = self.pair(who)
        if len(self.pairs) < MAX_PROCESSES:
            child = self.until_it_succeeds(pair.real.fork)
            self.pairs.append(Pair(child, pair.model.fork()))

    @rule(who=st.integers(0, 3), first=st.sampled_from([0, 1, 255, 512]), count=st.sampled_from([1, 17, 512, 1024]),
          name=st.sampled_from(["MADV_COLD", "MADV_PAGEOUT"]))
    def age(self, who, first, count, name):
        """No MADV_FREE: under pressure it loses bytes."""
        try:
            self.pair(who).real.madvise(ARENA + first * PAGE, min(count, PAGES - first) * PAGE, getattr(fs, name))
        except fs.SyscallError:
            pass
        self.oracle.folios_may_split()

    @rule(pages=st.sampled_from([1, 32, 512, 4096]))
    def reclaim(self, pages):
        self.machine.reclaim(pages)
        self.oracle.folios_may_split()

    @rule(folios=st.sampled_from([1, None]))
    def shrink_deferred(self, folios):
        self.machine.shrink_deferred(folios)
        self.oracle.folios_may_split()

    @rule(who=st.integers(0, 3), all_of_it=st.booleans())
    def khugepaged(self, who, all_of_it):
        self.machine.khugepaged_scan(self.pair(who).real if all_of_it else None)

    @rule(choice=st.sampled_from([(point, name) for point, names in POLICIES.items() for name in names]))
    def policy(self, choice):
        self.machine.set_policy(dict([choice]))

    @rule(limit=st.sampled_from(["4M", "5M", "8M", None]))
    def change_limit(self, limit):
        self.machine.limit = limit
        self.oracle.folios_may_split()


@pytest.mark.parametrize("settings", SETTINGS, ids=["base pages", "always", "mthp", "little swap"])
def test_bytes(settings):
    kind = type("UnderPressureOf", (UnderPressure,), {"settings": (settings,)})
    run_state_machine_as_test(kind, settings=effort(15, 2000, stateful_step_count=STEPS))


@pytest.mark.parametrize("seed", range(40 if BIG else 6))
def test_out_of_memory_at_any_time(seed):
    """A limit far too small: operations fail, and each leaves a valid machine behind."""
    dice = random.Random(seed)
    machine = fs.Machine(memory="32M", limit="1M", swap=dice.choice([None, "512k", "2M"]), thp="always")
    processes, failures = [machine.spawn()], 0
    operations = [
        lambda p, a, n: p.mmap(n, addr=a, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED),
        lambda p, a, n: p.write(a, n, value=dice.randrange(256)), lambda p, a, n: p.read(a, n),
        lambda p, a, n: p.mlock(a, n), lambda p, a, n: p.munlock(a, n), lambda p, a, n: processes.append(p.fork()),
        lambda p, a, n: p.madvise(a, n, dice.choice(ADVICE)),
        lambda p, a, n: p.mremap(a, n, n, flags=fs.MREMAP_MAYMOVE | fs.MREMAP_FIXED, new_addr=a + (64 << 20)),
        lambda p, a, n: machine.create_file("disk", n, fill=1),
    ]
    for _ in range(150):
        process = dice.choice(processes)
        try:
            addr, length = ARENA + dice.randrange(64) * 16 * PAGE, dice.choice([1, 40, 512, 600]) * PAGE
            dice.choice(operations)(process, addr, length)
        except (fs.SyscallError, fs.MemoryFault, MemoryError) as error:
            failures += isinstance(error, fs.OutOfMemory)
        if len(processes) > 3:
            processes.pop().exit()
        machine.validate()
    assert failures
