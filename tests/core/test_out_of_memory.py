"""No progress is possible: a report, never a hang, and the same every time."""
import signal

import pytest

import foliosim as fs

HUGE, PAGE = 2 << 20, 4096
FILL = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS


@pytest.fixture(autouse=True)
def no_hang():
    """Half a minute for what takes milliseconds."""
    def late(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def locked(machine, process):
    process.mlock(process.mmap(6 << 20), 6 << 20)


def pinned(machine, process):
    addr = process.mmap(6 << 20)
    process.kept = []
    for at in range(addr, addr + (6 << 20), PAGE):
        process.kept.append(process.pin_user_pages(at, PAGE, longterm=True, write=True))


def swap_is_full(machine, process):
    process.write(process.mmap(16 << 20), 16 << 20, value=1)


def shared_memory(machine, process):
    """It is not swapped here."""
    addr = process.mmap(8 << 20, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
    process.write(addr, 8 << 20, value=1)


def page_tables(machine, process):
    for i in range(2000):
        process.read(process.mmap(PAGE, addr=(1 << 30) + i * HUGE, flags=FILL | fs.MAP_FIXED), PAGE)


def held_folios(machine, process):
    """Folios that somebody looks at all the time can be neither unmapped nor split."""
    addr = process.mmap(8 << 20)
    process.kept = []
    for at in range(addr, addr + (8 << 20), 16 * PAGE):
        process.write(at, 16 * PAGE, value=1)
        process.kept.append(process.get_user_pages(at, 16 * PAGE))


FILLERS = {"locked": locked, "pinned": pinned, "swap_is_full": swap_is_full, "shared_memory": shared_memory,
           "page_tables": page_tables, "held_folios": held_folios}
BLAMED = {"locked": "mlocked", "pinned": "pinned", "swap_is_full": "anon", "shared_memory": "shmem",
          "page_tables": "page_tables", "held_folios": "anon"}


def run(filler, thp):
    """(what the error says, the machine's numbers)"""
    machine = fs.Machine(memory="64M", limit="4M", swap="4M", thp=thp, mthp={"64kB": "always"})
    process = machine.spawn()
    with pytest.raises(fs.OutOfMemory) as caught:
        FILLERS[filler](machine, process)
    machine.validate()
    return caught.value, {**machine.ledger(), **machine.vmstat(), "usage": machine.usage}, process


@pytest.mark.parametrize("thp", ["never", "always"])
@pytest.mark.parametrize("filler", FILLERS)
def test_a_report_that_names_what_is_in_the_way(filler, thp):
    error, numbers, process = run(filler, thp)
    report = error.report
    assert report["limit"] == 1024 and report["limit"] - report["usage"] <= 512
    kinds = {name: report[name] for name in ("anon", "shmem", "file", "page_tables")}
    assert sum(kinds.values()) <= report["usage"]
    assert report[BLAMED[filler]] > 400
    if filler == "swap_is_full":
        assert report["swap_free"] == 0
    assert f"{BLAMED[filler]} {report[BLAMED[filler]]}" in str(error) and "out of memory, limit 1024" in str(error)
    assert numbers["fail.enomem"] + numbers["fail.eagain"] >= 1
    process.kept = []
    process.exit()
    process.machine.validate()


@pytest.mark.parametrize("filler", FILLERS)
def test_the_same_every_time(filler):
    first, second = run(filler, "always"), run(filler, "always")
    assert (str(first[0]), first[1]) == (str(second[0]), second[1])


def test_somebody_is_ended_and_it_goes_on():
    """What an OOM killer does, by hand."""
    machine = fs.Machine(memory="64M", limit="4M", thp="never")
    greedy, other = machine.spawn(), machine.spawn()
    area = greedy.mmap(8 << 20)
    with pytest.raises(fs.OutOfMemory):
        greedy.write(area, 8 << 20, value=1)
    with pytest.raises(fs.OutOfMemory):
        other.write(other.mmap(HUGE), HUGE, value=1)
    greedy.exit()
    addr = other.mmap(HUGE)
    other.write(addr, HUGE, value=2)
    assert other.read(addr, HUGE) == b"\2" * 512
    machine.validate()


def test_a_process_needs_a_page_of_its_own():
    """Its root table is charged: a full limit has no room for one, whoever starts it."""
    machine = fs.Machine(memory="64M", limit="2M", thp="never")
    process = machine.spawn()
    addr = process.mmap(4 << 20)
    with pytest.raises(fs.OutOfMemory):
        process.write(addr, 4 << 20, value=1)
    for start in (machine.spawn, process.fork):
        with pytest.raises(fs.OutOfMemory, match="limit 512, usage 512"):
            start()
        assert len(machine.processes()) == 1
        machine.validate()
    process.munmap(addr, PAGE)
    machine.spawn()
    assert machine.usage <= machine.limit
    machine.validate()
