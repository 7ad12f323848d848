"""Rules of the replay, each on a trace made for it."""
import pytest
from made import ARENA, HUGE, PAGE, Made

from foliosim.flags import MADV_FREE
from foliosim.replay import again, read_trace, truth
from foliosim.replay.compare import anonymous_words
from foliosim.replay.engine import machine_for


def words(replay, start, pid=100):
    pages, found = anonymous_words(replay.spaces[pid].process, start)
    return dict(zip(pages.tolist(), found.tolist()))


def smaps(replay, start, pid=100):
    return next(row for row in replay.spaces[pid].process.smaps() if row["start"] == start)


@pytest.mark.parametrize("mode, anonymous", [("never", 4), ("always", 2044)])
def test_pages_of_a_huge_page_are_not_taken_for_zeros(mode, anonymous, tmp_path):
    """MADV_FREE of a page splits the folio; a trace with huge pages does not say which others were written."""
    made = Made(mode).execve().mmap(length=HUGE).fault(ARENA).call("madvise", ARENA + PAGE, PAGE, MADV_FREE)
    replay = made.replay(tmp_path, machine_for(made.header, thp="always"))
    assert smaps(replay, ARENA)["Anonymous"] - smaps(replay, ARENA)["LazyFree"] == anonymous


def test_the_huge_zero_page_has_neither_head_nor_tail(tmp_path):
    replay = Made("always").execve().mmap(length=HUGE).fault(ARENA, "r").replay(tmp_path)
    found = words(replay, ARENA)
    assert len(found) == 512 and not any(word & (truth.HEAD | truth.TAIL) for word in found.values())
    assert all(word & truth.ZERO and word & truth.THP for word in found.values())


@pytest.mark.parametrize("between, may_write", [
    ([], False),
    ([{"fd": 3, "prot": 3, "addr": ARENA + HUGE}], True),
    ([{"fd": 3, "prot": 3, "addr": ARENA + HUGE, "extra": {"file": "/other", "dev": "fe:00", "ino": 9}}], False)])
def test_a_shared_mapping_may_be_made_writable_if_its_file_is_open_so(between, may_write, tmp_path):
    file = {"file": "/log", "dev": "fe:00", "ino": 5}
    made = Made().execve().mmap(length=PAGE, prot=1, flags=1, fd=3, extra=file)
    for one in between:
        made.mmap(**{"length": PAGE, "flags": 1, "extra": file, **one})
    assert ("mw" in str(smaps(made.replay(tmp_path), ARENA)["VmFlags"]).split()) == may_write


PROGRAM = {"file": "/bin/made", "dev": "fe:00", "ino": 7}
BASE = 0x555555554000


@pytest.mark.parametrize("second, end, loaded", [
    ((BASE + 3 * PAGE, 3 * PAGE), 3, None),                               # as far away as in the file
    ((BASE + 4 * PAGE, 3 * PAGE), 4, None),                               # both have the page in which they meet
    ((BASE + 4 * PAGE, 3 * PAGE), 3, {BASE: BASE + 3 * PAGE}),            # a truth knows better
    ((BASE + PAGE, 0), 1, None)])
def test_where_the_first_segment_of_a_program_ends(second, end, loaded, tmp_path):
    """A trace has it as long as the whole program."""
    made = Made(files={"/bin/made": {"size": 16 * PAGE}}).execve()
    made.program(BASE, 12 * PAGE, "r--p", PROGRAM).program(second[0], 2 * PAGE, "r-xp", PROGRAM, second[1])
    known = truth.Loaded(1, loaded) if loaded else None
    replay = made.replay(tmp_path, loaded=lambda pid, number: known)
    ends = {int(area["start"]): int(area["end"]) for area in replay.spaces[100].process.maps()}
    assert ends == {BASE: BASE + end * PAGE, second[0]: second[0] + 2 * PAGE}


def test_a_truth_tells_which_pages_of_a_stack_hold_arguments():
    """Pages in a row at its top; the one below the gap was written by a fault."""
    stack = {"name": "[stack]", "start": 0x7ff000000000, "end": 0x7ff000008000, "pages": [[4, 1, 23], [6, 2, 23]]}
    snapshot = {"why": "exec", "pid": 100, "procs": {"100": {"smaps": [stack]}}}
    loaded = truth.Truth(None, [snapshot]).loaded(100, 0)
    assert loaded.arguments == 2 and loaded.ends == {0x7ff000000000: 0x7ff000008000}
    assert truth.Truth(None, [snapshot]).loaded(100, 1) is None


@pytest.mark.parametrize("first, between, second, given_up", [
    ({"flags": "r"}, None, {"flags": "r"}, True),
    ({"flags": "rk"}, None, {"flags": "w"}, True),                        # a page of the same thread, and still missing
    ({"flags": "wpk"}, None, {"flags": "wpk"}, True),
    ({"flags": "wp"}, None, {"flags": "wp"}, False),                      # the kernel may have written it back
    ({"flags": "r"}, None, {"flags": "wp"}, False),
    ({"flags": "r"}, None, {"flags": "r", "tid": 101}, False),            # two threads ran for it
    ({"flags": "r"}, ("munmap", ARENA + HUGE, HUGE, 101), {"flags": "r"}, True),
    ({"flags": "r"}, ("madvise", ARENA, PAGE, 101), {"flags": "r"}, False),
    ({"flags": "r"}, ("munlockall", 0, 0, 100), {"flags": "r"}, False)])
def test_a_fault_that_is_taken_again_had_been_given_up(first, between, second, given_up, tmp_path):
    made = Made().execve().mmap().fault(ARENA + 5, **first)
    if between:
        name, addr, length, tid = between
        made.call(name, addr, length, 4, tid=tid)
    made.fault(ARENA + 9, **second)
    trace = read_trace(made.write(tmp_path / "made.jsonl"))
    assert again.given_up(trace).tolist() == [given_up, False]
    assert len(trace.without(again.given_up(trace))) == len(trace) - given_up


def test_a_fault_that_was_given_up_has_mapped_nothing(tmp_path):
    """Another thread forks before it is taken again: the child has no page."""
    made = Made().execve().mmap().fault(ARENA).add("F", 100, 101, 102, 102, 0x1200011).fault(ARENA)
    replay = made.replay(tmp_path)
    assert words(replay, ARENA, pid=102) == {} and len(words(replay, ARENA)) == 1
    number = replay.number_of[100]
    assert replay.faults[number] + replay.found[number] == 1 + truth.Loaded().arguments


@pytest.mark.parametrize("name, args, error, areas", [
    ("mprotect", (ARENA, PAGE, 1), 1, 1),                                 # sealed
    ("munmap", (ARENA, PAGE), 12, 1),                                     # too many areas
    ("mlock", (ARENA, PAGE), 12, 1),                                      # more than may be locked
    ("mlock", (ARENA + HUGE - PAGE, 2 * PAGE), 12, 2)])                   # a hole: what lies before it is locked
def test_a_call_that_failed_for_a_reason_that_is_not_in_the_trace_changes_nothing(name, args, error, areas, tmp_path):
    replay = Made().execve().mmap().call(name, *args, ret=-error).replay(tmp_path)
    assert len(replay.spaces[100].process.maps()) == areas
    assert not replay.odd["differs"]


def test_a_segment_of_shared_memory_is_inherited(tmp_path):
    made = Made().execve().call("shmget", 0, HUGE, 0, ret=5).call("shmat", 5, 0, 0, ret=ARENA).fork(101)
    replay = made.call("shmdt", ARENA, pid=101).replay(tmp_path)
    assert len(replay.spaces[101].process.maps()) == 0 and len(replay.spaces[100].process.maps()) == 1


def test_private_memory_of_dev_zero_is_anonymous(tmp_path):
    zero = {"file": "/dev/zero", "dev": "00:05", "ino": 5}
    replay = Made().execve().mmap(flags=2, fd=3, extra=zero).fault(ARENA, "r").replay(tmp_path)
    assert words(replay, ARENA)[0] & truth.ZERO


def test_pages_of_a_file_are_mapped_elsewhere_in_the_same_area(tmp_path):
    file = {"file": "/data", "dev": "fe:00", "ino": 5}
    made = Made(files={"/data": {"size": HUGE}}).execve().mmap(flags=1, fd=3, extra=file)
    replay = made.call("remap_file_pages", ARENA + PAGE, PAGE, 0, 9, 0).replay(tmp_path)
    areas = replay.spaces[100].process.maps()
    assert areas["offset"].tolist() == [0, 9 * PAGE, 2 * PAGE] and set(areas["perms"].tolist()) == {"rw-s"}


def test_what_is_offered_to_ksm_stays_so_over_fork_and_execve(tmp_path):
    made = Made().execve().mmap().call("prctl", 67, 1, 0, 0, 0).fork(101).execve(101).mmap(pid=101)
    replay = made.replay(tmp_path)
    assert all("mg" in str(smaps(replay, ARENA, pid)["VmFlags"]).split() for pid in (100, 101))


def test_memory_that_can_be_dropped_is_mapped_as_what_stays(tmp_path):
    replay = Made().execve().mmap(flags=0x28).fault(ARENA).replay(tmp_path)
    assert {"nr", "dd", "wf"} < set(str(smaps(replay, ARENA)["VmFlags"]).split())
    assert replay.odd["unsupported"].total() == 1
