"""Machines and threads: long work goes without the GIL, and one machine is worked on by one thread at a time."""
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import foliosim as fs
from compiled_policies import Calls

PAGE, HUGE = 4096, 2 << 20
AT = 1 << 40
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
FOLIOS = 4                              # enough pages for the GIL to go


def started(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


class Gate:
    """Holds a process's touch in the middle of the core until it is opened."""

    def __init__(self, **settings):
        self.inside, self.opened, self.within = threading.Event(), threading.Event(), lambda: None
        self._calls = Calls(self._stop)
        self.machine = fs.Machine(memory="256M", thp="always", **settings)
        self.other = self.machine.spawn()
        self.other.mmap(HUGE, addr=AT, flags=FIXED)
        self.other.touch(AT, HUGE, write=True)
        self.process = self.machine.spawn()
        self.process.mmap(FOLIOS * HUGE, addr=AT, flags=FIXED)
        self.machine.set_policy({"fault_order": self._calls.slot})
        self.thread = started(self.process.touch, AT, FOLIOS * HUGE)
        assert self.inside.wait(60)

    def _stop(self):
        if not self.inside.is_set():
            self.inside.set()
            self.opened.wait(60)
            self.within()

    def open(self):
        self.opened.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


def test_the_core_lets_the_gil_go():
    """usleep in the middle of the core: if the GIL were kept, this thread could not count meanwhile."""
    script = """if True:
        import sys, threading, time
        import foliosim as fs
        from compiled_policies import slow
        m = fs.Machine(memory="64M", thp="always", policy={"fault_order": slow(500_000)})
        p = m.spawn()
        a = p.mmap(8 << 20)
        thread = threading.Thread(target=p.touch, args=(a, 8 << 20), kwargs={"write": True})
        thread.start()
        turns = 0
        while thread.is_alive():
            turns += 1
            time.sleep(0.01)
        m.validate()
        print(turns)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True,
                          cwd=Path(__file__).parent)
    assert int(done.stdout) > 20        # of 200: usleep takes two seconds


WHILE = {
    "vmstat": lambda g: g.machine.vmstat(),
    "translate": lambda g: g.other.translate(AT),
    "validate": lambda g: g.machine.validate(),
    "ledger": lambda g: g.machine.ledger(),
    "maps": lambda g: g.other.maps(),
    "smaps": lambda g: g.process.smaps(),
    "pagemap": lambda g: g.process.pagemap(AT, HUGE),
    "walk": lambda g: g.other.walk([AT]),
    "kpageflags": lambda g: g.machine.kpageflags([512]),
    "folio": lambda g: g.machine.folio(g.other.translate(AT) >> 12),
    "processes": lambda g: g.machine.processes(),
    "branch": lambda g: g.machine.branch().validate(),
    "fork": lambda g: g.other.fork().exit(),
    "munmap": lambda g: g.other.munmap(AT, HUGE),
    "munmap of what is touched": lambda g: g.process.munmap(AT, FOLIOS * HUGE),
    "exit": lambda g: g.process.exit(),
    "spawn": lambda g: g.machine.spawn(),
    "pin": lambda g: g.other.pin_user_pages(AT, HUGE).release(),
    "policy": lambda g: g.machine.set_policy("linux-6.18"),
    "limit": lambda g: setattr(g.machine, "limit", "128M"),
    "reclaim": lambda g: g.machine.reclaim(32),
    "file": lambda g: g.machine.create_file("memfd", HUGE).close(),
    "observe": lambda g: g.machine.observe({"p": g.other}, AT, AT + HUGE),
    "dump": lambda g: g.machine.dump_physical(),
    "inject": lambda g: g.machine.inject.pin((g.other, AT)).end(),
}


@pytest.mark.parametrize("what", WHILE)
def test_another_thread_waits(what):
    gate = Gate()
    errors = []

    def other():
        try:
            WHILE[what](gate)
        except Exception as error:
            errors.append(error)

    thread = started(other)
    thread.join(0.05)
    assert thread.is_alive() and gate.thread.is_alive()
    gate.open()
    thread.join(60)
    assert not thread.is_alive() and errors == []
    gate.machine.set_policy("linux-6.18")
    gate.machine.validate()


def test_saving_waits(tmp_path):
    def save():
        with pytest.raises(ValueError, match="cannot be saved"):      # the policy; but that comes later
            gate.machine.save(tmp_path / "machine")

    gate = Gate()
    thread = started(save)
    thread.join(0.05)
    assert thread.is_alive()
    gate.open()
    thread.join(60)
    assert not thread.is_alive() and not (tmp_path / "machine").exists()


def test_a_compiled_policy_may_not_call_back():
    gate, caught = Gate(), []

    def within():
        try:
            gate.machine.vmstat()
        except fs.ReentryError as error:
            caught.append(error)

    gate.within = within
    gate.open()
    assert len(caught) == 1
    gate.machine.validate()


def test_a_file_dropped_by_another_thread_goes_when_the_operation_ends():
    inside, opened = threading.Event(), threading.Event()
    calls = Calls(lambda: (inside.set(), opened.wait(60)))
    machine = fs.Machine(memory="256M", thp="always")
    process = machine.spawn()
    process.mmap(FOLIOS * HUGE, addr=AT, flags=FIXED)
    file = machine.create_file("memfd", HUGE)
    before = machine.vmstat()["nr_free_pages"]
    a = process.mmap(HUGE, file=file, flags=fs.MAP_SHARED)
    process.touch(a, HUGE, write=True)
    process.munmap(a, HUGE)
    machine.set_policy({"fault_order": calls.slot})
    thread = started(process.touch, AT, FOLIOS * HUGE)
    assert inside.wait(60)
    del file
    gc.collect()
    opened.set()
    thread.join(60)
    process.munmap(AT, FOLIOS * HUGE)
    machine.drain()
    machine.validate()
    assert machine.files() == [] and machine.vmstat()["nr_free_pages"] >= before


def test_a_hook_may_start_a_thread_that_waits_for_it():
    seen, threads = [], []

    def order(order, pmd):
        if not threads:
            threads.append(started(lambda: seen.append(machine.vmstat()["pgfault"])))
            threads[0].join(0.05)
            seen.append("hook")
        return "order0"

    machine = fs.Machine(memory="64M", policy={"cow_order": order})
    parent = machine.spawn()
    a = parent.mmap(2 * PAGE)
    parent.touch(a, 2 * PAGE, write=True)
    child = parent.fork()
    child.touch(a, 2 * PAGE, write=True)
    threads[0].join(60)
    assert seen[0] == "hook" and seen[1] == machine.vmstat()["pgfault"]
    machine.validate()


def test_hold_makes_one_step_of_several():
    machine = fs.Machine(memory="64M")
    process = machine.spawn()
    a = process.mmap(PAGE)

    def count():
        for _ in range(100):
            with machine.hold():
                process.write(a, 1, value=process.read(a, 1)[0] + 1)

    sys.setswitchinterval(1e-6)
    try:
        threads = [started(count) for _ in range(2)]
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(0.005)
    assert process.read(a, 1) == b"\xc8"
    with machine.hold(), machine.hold():
        process.touch(a, PAGE)


def work(machine, seed):
    """Some work whose every value depends on what was done before."""
    process = machine.spawn()
    area = process.mmap(32 * HUGE, addr=AT + seed * (1 << 30), flags=FIXED)
    for i in range(6):
        process.write(area, 32 * HUGE, value=i)
        child = process.fork()
        child.mprotect(area, (5 + i) * HUGE, fs.PROT_READ)
        process.write(area + i * HUGE, 16 * HUGE, value=seed)
        child.exit()
        process.madvise(area + 3 * PAGE * i, 7 * HUGE, fs.MADV_DONTNEED)
    return process


def test_two_machines_in_two_threads_do_what_each_does_alone():
    settings = [{"memory": "256M", "thp": "always"}, {"memory": "256M", "thp": "never"}]
    alone, together = [fs.Machine(**one) for one in settings], [fs.Machine(**one) for one in settings]
    for seed, machine in enumerate(alone):
        work(machine, seed)
    threads = [started(work, machine, seed) for seed, machine in enumerate(together)]
    for thread in threads:
        thread.join(120)
    for one, other in zip(alone, together, strict=True):
        assert one.vmstat() == other.vmstat() and one.ledger() == other.ledger()
        other.validate()


def test_one_machine_in_many_threads():
    """Every operation is whole: what each process did to itself is there, and all counts are right."""
    machine, done = fs.Machine(memory="1G", thp="always"), {}

    def run(seed):
        done[seed] = work(machine, seed)

    def look():
        while len(done) < 3:
            machine.validate()
            machine.ledger()
            with machine.hold():  # so that none ends between the two looks
                [process.smaps() for process in machine.processes() if process.alive]

    sys.setswitchinterval(1e-5)
    try:
        threads = [started(run, seed) for seed in range(3)]
        look()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(0.005)
    machine.validate()
    alone = fs.Machine(memory="1G", thp="always")
    for seed, process in done.items():
        other = work(alone, seed)
        at = AT + seed * (1 << 30)
        assert process.read(at, 32 * HUGE) == other.read(at, 32 * HUGE)
        assert process.maps().tolist() == other.maps().tolist()


def test_a_machine_may_go_in_another_thread():
    machine = fs.Machine(memory="256M")
    process = machine.spawn()
    area = process.mmap(64 << 20)
    process.touch(area, 64 << 20, write=True)
    box = [process]
    del machine, process
    thread = started(box.clear)
    thread.join(60)
    assert box == []


def test_only_who_holds_a_machine_gives_it_up():
    machine = fs.Machine(memory="32M")
    with pytest.raises(RuntimeError, match="does not hold"):
        machine.hold().__exit__(None, None, None)
    hold, errors = machine.hold(), []

    def leave():
        try:
            hold.__exit__(None, None, None)
        except RuntimeError as error:
            errors.append(str(error))

    with hold:
        other = threading.Thread(target=leave)
        other.start()
        other.join()
        machine.spawn()
    assert errors == ["this thread does not hold the machine"]
    machine.validate()
