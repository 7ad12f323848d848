"""Calls that make no sense: the interpreter does not crash, errors are the documented ones, all counts stay right."""
import numpy as np
import pytest
from effort import effort
from hypothesis import given
from hypothesis import strategies as st

import foliosim as fs

ADDR = 0x200000000000
DOCUMENTED = (TypeError, ValueError, OverflowError, MemoryError, OSError, fs.MemoryFault, fs.UnsupportedError)

edges = st.sampled_from([0, 1, -1, 4095, 4096, 4097, 2 << 20, 1 << 31, 1 << 32, 1 << 47, (1 << 47) - 4096, 1 << 48,
                         (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), 1 << 200])
addresses = st.one_of(st.integers(0, 40).map(lambda page: ADDR + page * 4096),
                      st.integers(ADDR, ADDR + (4 << 20)), edges)
lengths = st.one_of(st.integers(0, 600).map(lambda pages: pages * 4096), st.integers(-10, 1 << 22), edges)
numbers = st.one_of(st.integers(-3, 130), edges, st.integers())
junk = st.sampled_from([None, 1.5, float("nan"), float("inf"), "4096", b"\0", True, [], {}, (), object(), int, 1j,
                        np.uint64(ADDR), np.int64(-4096), np.float64(1), np.arange(3), np.array([ADDR], dtype=object)])
frames = st.one_of(st.integers(0, 20000), edges)

ADDRESS, LENGTH, NUMBER, FRAME, FRAMES, WORD, WHERE = "address", "length", "number", "frame", "frames", "word", "where"
KINDS = {
    ADDRESS: addresses, LENGTH: lengths, NUMBER: numbers, FRAME: frames,
    FRAMES: st.one_of(st.lists(frames, max_size=4), frames),
    WORD: st.sampled_from(["read", "write", "fetch", "", "linux-6.18", "madvise", "64G", "\0", "vma_split"]),
    WHERE: st.lists(addresses, max_size=4),
}
PROCESS_CALLS = {
    "mmap": ([LENGTH], {"prot": NUMBER, "flags": NUMBER, "addr": ADDRESS}), "munmap": ([ADDRESS, LENGTH], {}),
    "mprotect": ([ADDRESS, LENGTH, NUMBER], {}), "madvise": ([ADDRESS, LENGTH, NUMBER], {}),
    "mlock": ([ADDRESS, LENGTH], {}), "mlock2": ([ADDRESS, LENGTH, NUMBER], {}), "munlock": ([ADDRESS, LENGTH], {}),
    "mincore": ([ADDRESS, LENGTH], {}), "fork": ([], {}), "exit": ([], {}), "clear_refs": ([NUMBER], {}),
    "prctl_thp_disable": ([NUMBER], {"flags": NUMBER}),
    "read": ([ADDRESS, LENGTH], {"stride": NUMBER, "offset": NUMBER}),
    "write": ([ADDRESS, LENGTH], {"value": NUMBER, "delta": NUMBER, "stride": NUMBER, "offset": NUMBER}),
    "touch": ([ADDRESS, LENGTH], {"write": NUMBER}), "get_user_pages": ([ADDRESS, LENGTH], {}),
    "pin_user_pages": ([ADDRESS, LENGTH], {"longterm": NUMBER, "write": NUMBER}), "translate": ([ADDRESS], {}),
    "walk": ([WHERE], {"access": WORD, "set_accessed": NUMBER}), "pagemap": ([ADDRESS, LENGTH], {}), "maps": ([], {}),
    "smaps": ([], {}), "counts": ([], {}), "mseal": ([ADDRESS, LENGTH], {}), "msync": ([ADDRESS, LENGTH, NUMBER], {}),
    "mremap": ([ADDRESS, LENGTH, LENGTH], {"flags": NUMBER, "new_addr": ADDRESS}),
}
MACHINE_CALLS = {
    "folio": ([FRAME], {}), "split_folio": ([FRAME], {"new_order": NUMBER}), "kpageflags": ([FRAMES], {}),
    "kpagecount": ([FRAMES], {}), "peek_frame": ([FRAME, NUMBER], {}), "table": ([FRAME], {}), "vmstat": ([], {}),
    "mthp_stats": ([], {}), "set_policy": ([WORD], {}), "spawn": ([], {}), "drain": ([], {}), "counters": ([], {}),
}
HUGE = {"pagemap", "mincore", "read"}  # their results have a size: the host's memory is not what is tested here


@st.composite
def call(draw, calls):
    """A method name with arguments, of which one in eight is of a wrong type."""
    name = draw(st.sampled_from(sorted(calls)))
    positional, keywords = calls[name]

    def argument(kind):
        if kind == LENGTH and name in HUGE:
            return draw(st.integers(-10, 1 << 24))
        return draw(junk) if draw(st.integers(0, 7)) == 0 else draw(KINDS[kind])
    given_keywords = [key for key in keywords if draw(st.booleans()) or key == "value"]
    return name, [argument(kind) for kind in positional], {key: argument(keywords[key]) for key in given_keywords}


process_call, machine_call = call(PROCESS_CALLS), call(MACHINE_CALLS)
world_calls = st.lists(st.tuples(st.integers(0, 3), st.one_of(process_call, process_call, machine_call)), max_size=30)


def start():
    machine = fs.Machine(memory="32M", mthp={"64kB": "madvise"})
    process = machine.spawn()
    process.mmap(4 << 20, addr=ADDR, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.madvise(ADDR, 2 << 20, fs.MADV_HUGEPAGE)
    process.write(ADDR, 3 << 20, value=1)
    return machine, [process, process.fork()]


def perform(target, name, positional, keywords):
    """The result, or None if the call was refused in a documented way."""
    if not hasattr(target, name):
        return None
    try:
        return getattr(target, name)(*positional, **keywords)
    except DOCUMENTED:
        return None


@given(world_calls)
@effort(250, 40000)
def test_random_calls(calls):
    machine, processes = start()
    held = []
    for which, (name, positional, keywords) in calls:
        target = machine if name in MACHINE_CALLS else processes[which % len(processes)]
        result = perform(target, name, positional, keywords)
        if isinstance(result, fs.Process):
            processes.append(result)
        elif isinstance(result, fs.PageReference):
            held.append(result)
        elif which == 0 and held:
            held.pop().release()
        machine.validate()
    check_exit(machine, processes, held)


def check_exit(machine, processes, held):
    """Everything ends in a valid state; what is held of an ended process can still be used."""
    for process in processes:
        if process.alive:
            process.exit()
        machine.validate()
    for reference in held:
        reference.peek()
        reference.release()
        reference.release()
    machine.validate()
    assert machine.vmstat()["nr_page_table_pages"] == 0


@given(call(PROCESS_CALLS))
@effort(150, 20000)
def test_exited_process_refuses_everything(one):
    name, positional, keywords = one
    machine, processes = start()
    processes[0].exit()
    if hasattr(fs.Process, name):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            getattr(processes[0], name)(*positional, **keywords)
    machine.validate()


def test_fork_of_an_exited_process_leaves_nothing():
    machine, processes = start()
    for process in processes:
        process.exit()
    with pytest.raises(ValueError, match="exited"):
        processes[0].fork()
    assert machine.vmstat()["nr_page_table_pages"] == 0


settings_of_machines = st.fixed_dictionaries({}, optional={
    "arch": st.one_of(KINDS[WORD], junk), "memory": st.one_of(KINDS[WORD], junk, st.integers(-5, 1 << 26)),
    "policy": st.one_of(KINDS[WORD], junk), "thp": st.one_of(KINDS[WORD], junk),
    "mthp": st.one_of(junk, st.dictionaries(KINDS[WORD], KINDS[WORD])), "shmem_enabled": st.one_of(KINDS[WORD], junk),
    "mthp_shmem": st.one_of(junk, st.dictionaries(KINDS[WORD], KINDS[WORD])), "soft_dirty": junk, "pt_reclaim": junk,
    "kernel": KINDS[WORD],
    "max_map_count": numbers, "nonsense": junk,
})


@given(settings_of_machines)
@effort(200, 20000)
def test_random_machines(settings):
    try:
        machine = fs.Machine(**settings)
    except DOCUMENTED:
        return
    perform(machine.spawn(), "mmap", [4096], {})
    machine.validate()
