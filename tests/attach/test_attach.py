"""Processes read into a machine: from the /proc of another machine, and from that of the live kernel."""
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim._core import restore
from foliosim.attach import ask, certain, proc, swapped
from foliosim.attach.build import attach
from foliosim.cli import main
from foliosim.errors import RestoreError

PAGE, HUGE, ARENA = 4096, 2 << 20, 0x200000000000
MAPPED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED


def read_back(machine, folder):
    machine.write_proc(folder)
    attached = attach([process.pid for process in machine.processes()], root=str(folder))
    attached.machine.validate()
    return attached


def entries(process):
    """What pagemap and the hardware's walk show, frames numbered as they are met."""
    out, number = [], {}
    for area in process.maps():
        words = process.pagemap(int(area["start"]), int(area["end"] - area["start"]))
        at = np.flatnonzero(words)
        levels = process.walk(at * PAGE + int(area["start"]))["level"]
        for page, word, level in zip(at.tolist(), words[at].tolist(), levels.tolist()):
            frame = number.setdefault(word & fs.PM_PFRAME_MASK, len(number))
            out.append((int(area["start"]) + page * PAGE, frame, word >> 56, level))
    return out


def folios(machine):
    """Order, mapcounts and flags of each folio, in the order in which processes meet them."""
    seen = {}
    for process in machine.processes():
        for area in process.maps():
            words = process.pagemap(int(area["start"]), int(area["end"] - area["start"]))
            for pfn in (words[words >> 63 == 1] & np.uint64(fs.PM_PFRAME_MASK)).tolist():
                folio = machine.folio(pfn)
                if folio is not None and "anon" in folio.flag_names:
                    seen[folio.pfn] = (folio.order, folio.mapcount, folio.entire_mapcount, folio.nr_pages_mapped,
                                       folio.partially_mapped, folio.maybe_shared, "mlocked" in folio.flag_names)
    return list(seen.values())


class TestFromAnotherMachine:
    """Whatever state a machine is in, its /proc makes one in the same state."""

    @pytest.mark.parametrize("seed", range(6))
    def test_random_states(self, seed, tmp_path):
        dice = random.Random(seed)
        machine = fs.Machine(memory="128M", thp=["never", "always", "madvise"][seed % 3],
                             mthp={"64kB": "always"} if seed & 1 else None)
        machine.spawn().mmap(4 * HUGE, addr=ARENA, flags=MAPPED)
        for _ in range(60):
            process = dice.choice(machine.processes())
            addr = ARENA + dice.choice([0, 1, 16, 255, 511, 512, 1024, 1500]) * PAGE
            length = dice.choice([1, 1, 16, 100, 512, 700]) * PAGE
            what = dice.randrange(8)
            try:
                if what < 3:
                    process.write(addr, length, value=1)
                elif what == 3:
                    process.mprotect(addr, length, dice.choice([1, 3, 3]))
                elif what == 4:
                    process.madvise(addr, length, dice.choice([fs.MADV_DONTNEED, fs.MADV_HUGEPAGE, fs.MADV_COLD]))
                elif what == 5:
                    process.mlock(addr, length)
                elif what == 6 and len(machine.processes()) < 3:
                    process.fork()
                elif what == 7:
                    process.munmap(addr, PAGE)
            except (fs.SyscallError, fs.MemoryFault):
                pass
        attached = read_back(machine, tmp_path / "proc")
        counts, differences = certain.compare(attached)
        assert [one for one in differences if one[2] != "Referenced"] == []
        assert counts["fields"] > 20 * counts["areas"]
        assert folios(attached.machine) == folios(machine)
        for process in machine.processes():
            assert entries(attached.processes[process.pid]) == entries(process)
        assert not +attached.left_out and not attached.others

    def test_sharers_that_were_not_read(self, tmp_path):
        machine = fs.Machine(memory="128M", thp="always")
        process = machine.spawn()
        process.mmap(2 * HUGE, addr=ARENA, flags=MAPPED)
        process.write(ARENA, HUGE + PAGE, value=1)
        process.fork().fork()
        machine.write_proc(tmp_path / "proc")
        attached = attach([process.pid], root=str(tmp_path / "proc"))
        attached.machine.validate()
        assert len(attached.others) == 2
        assert certain.compare(attached)[1] == []

    def test_accessed_bits_of_a_part(self, tmp_path):
        machine = fs.Machine(memory="128M")
        process = machine.spawn()
        process.mmap(32 * PAGE, addr=ARENA, flags=MAPPED)
        process.write(ARENA, 32 * PAGE, value=1)
        child = process.fork()
        child.clear_refs(1)
        child.write(ARENA + 3 * PAGE, 5 * PAGE, value=2)
        attached = read_back(machine, tmp_path / "proc")
        assert certain.compare(attached)[1] == []
        assert [int(attached.processes[one.pid].smaps()["Referenced"][0]) for one in (process, child)] == [
            int(one.smaps()["Referenced"][0]) for one in (process, child)]

    def test_files_and_the_zero_page(self, tmp_path):
        machine = fs.Machine(memory="128M")
        process = machine.spawn()
        file, memfd = machine.create_file("disk", 64 * PAGE, fill=1), machine.create_file("memfd", 8 * PAGE)
        a = process.mmap(64 * PAGE, file=file, flags=fs.MAP_PRIVATE)
        process.read(a, 5 * PAGE)
        process.write(a, 2 * PAGE, value=1)
        b = process.mmap(8 * PAGE, file=memfd, flags=fs.MAP_SHARED)
        process.write(b + PAGE, 3 * PAGE, value=1)
        c = process.mmap(8 * PAGE)
        process.read(c, 3 * PAGE)
        attached = read_back(machine, tmp_path / "proc")
        assert certain.compare(attached)[1] == []
        for start, n in ((a, 64), (b, 8), (c, 8)):
            was, now = (one.pagemap(start, n * PAGE) != 0 for one in (process, attached.processes[process.pid]))
            assert was.tolist() == now.tolist()

    def test_swapped_pages_are_in_their_slots(self, tmp_path):
        machine = fs.Machine(memory="128M", swap="16M")
        process = machine.spawn()
        a = process.mmap(16 * PAGE)
        process.write(a, 16 * PAGE, value=1)
        process.madvise(a + 8 * PAGE, 4 * PAGE, fs.MADV_PAGEOUT)
        child = process.fork()
        process.madvise(a, 4 * PAGE, fs.MADV_PAGEOUT)  # shared: they stay
        process.write(a, 4 * PAGE, value=2)
        process.madvise(a, 3 * PAGE, fs.MADV_PAGEOUT)
        attached = read_back(machine, tmp_path / "proc")
        assert not +attached.left_out
        assert [one for one in certain.compare(attached)[1] if one[2] != "Referenced"] == []
        for one in (process, child):
            twin = attached.processes[one.pid]
            words = [each.pagemap(a, 16 * PAGE) for each in (one, twin)]
            swapped = words[0] & fs.PM_SWAP != 0
            assert swapped.any() and (words[0] == words[1])[swapped].all()
            assert twin.counts()["swapents"] == one.counts()["swapents"]
        attached.processes[process.pid].touch(a, 16 * PAGE, write=True)
        attached.machine.validate()

    def test_slots_of_several_devices(self, tmp_path):
        (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n/dev/a partition 40960 0 -2\n"
                                        "/swap file 81920 0 -3\n")
        devices = swapped.Devices([], tmp_path)
        assert devices.size == (40960 + 81920) << 10
        assert devices.slots(np.array([7 << 5, 7 << 5 | 1], np.uint64)).tolist() == [7, 40960 // 4 + 7]

    def test_the_huge_zero_page(self, tmp_path):
        machine = fs.Machine(memory="128M", thp="always")
        process = machine.spawn()
        a = process.mmap(4 * HUGE, addr=ARENA, flags=MAPPED)
        process.read(a, 2 * HUGE + PAGE)
        process.write(a + HUGE, 1, value=1)
        process.fork()
        attached = read_back(machine, tmp_path / "proc")
        assert [one for one in certain.compare(attached)[1] if one[2] != "Referenced"] == []
        for one in machine.processes():
            assert [entry[2:] for entry in entries(attached.processes[one.pid])] == [
                entry[2:] for entry in entries(one)]
            assert attached.processes[one.pid].counts()["nr_ptes"] == one.counts()["nr_ptes"]


class TestAsk:
    @pytest.fixture
    def machine(self):
        machine = fs.Machine(memory="128M", thp="always")
        process = machine.spawn()
        process.mmap(2 * HUGE, addr=ARENA, flags=MAPPED)
        process.write(ARENA, 2 * HUGE, value=1)
        return machine

    @pytest.mark.parametrize("question, expected", [
        ("fork", {"bytes copied if it then writes all that it has": 2 * HUGE}),
        (f"mprotect {ARENA:#x} 4096 r", {"PMD mappings split": 1}),
        (f"mlock {ARENA:#x} 2M", {"mlocked bytes": HUGE, "unevictable bytes": HUGE}),
        (f"pin {ARENA:#x} 4K", {"bytes pinned beyond what was asked": HUGE - PAGE}),
        ("memory 2M", {"bytes that stay above it": 2 * HUGE + 6 * PAGE - HUGE}),
    ])
    def test_questions(self, machine, question, expected):
        before = machine.ledger()
        answer = ask.ask(machine, machine.process(1), question)
        got = {name: answer.numbers[name] for name in expected}
        if question.startswith("memory"):
            assert got["bytes that stay above it"] >= HUGE
        else:
            assert got == expected and not answer.error
        assert machine.ledger() == before
        answer.branch.validate()

    def test_what_fails_is_said(self, machine):
        assert "ENOMEM" in ask.ask(machine, machine.process(1), "mlock 0x1000 4K").error

    @pytest.mark.parametrize("question, reason", [
        ("mlock -1 5", "-1"), ("pin 0x10000000000000000 5", "18446744073709551616"),
        ("mprotect 0x1000 0xfffffffffffffffffff r", "2\\^64"), ("memory 0", "limit 0"),
        ("sing", "valid are fork, mprotect ADDR LEN RIGHTS, mlock"), ("", "valid are"),
        ("mlock 0x1000", "must be mlock ADDR LEN"), ("mprotect 0x1000 4K q", "rights 'q'"),
        ("mlock here 4K", "ADDR 'here' is not a number"),
        ("memory much", "SIZE 'much' is not a number")])
    def test_questions_that_are_none(self, machine, question, reason):
        with pytest.raises(ValueError, match=reason):
            ask.ask(machine, machine.process(1), question)


class TestRestore:
    """The narrow part of the core that builds states refuses what cannot be."""

    @pytest.fixture
    def process(self):
        process = fs.Machine(memory="128M").spawn()
        restore.add_area(process, ARENA, ARENA + 2 * HUGE, ARENA // PAGE, 0x73)
        return process

    def runs(self, *rows):
        return np.array(list(rows), restore.RUN_DTYPE)

    @pytest.mark.parametrize("row, reason", [
        ((ARENA - PAGE, 0, 0, 1, 0), "no area there"), ((ARENA, 3, 0, 1, 0), "no folio 3"),
        ((ARENA, 0, 15, 2, 0), "reach out"), ((ARENA, 0, 0, 0, 0), "reach out"),
        ((ARENA + 511 * PAGE, 0, 0, 2, 0), "reach out"), ((ARENA, 0, 0, 1, restore.PMD), "cannot be mapped by a PMD"),
        ((ARENA + HUGE, 1, 1, 1, 0), "another place")])
    def test_refused(self, process, row, reason):
        heads = restore.make_folios(process.machine, np.array([4, 9], np.uint8))
        restore.map_runs(process, heads, self.runs((ARENA + HUGE + HUGE // 2, 0, 0, 16, 0), (ARENA, 1, 0, 512, 1)))
        with pytest.raises(RestoreError, match=reason):
            restore.map_runs(process, heads, self.runs(row))
        restore.finish(process.machine, heads, np.zeros(2, np.uint8))
        process.machine.validate()

    def test_what_nothing_maps_goes(self, process):
        free = process.machine.vmstat()["nr_free_pages"]
        heads = restore.make_folios(process.machine, np.array([0, 4, 9], np.uint8))
        restore.finish(process.machine, heads, np.zeros(3, np.uint8))
        process.machine.validate()
        assert process.machine.vmstat()["nr_free_pages"] == free

    def test_areas(self, process):
        with pytest.raises(RestoreError, match="an area is there"):
            restore.add_area(process, ARENA, ARENA + PAGE, 0, 3)
        with pytest.raises(RestoreError, match="no area of a process"):
            restore.add_area(process, ARENA + 1, ARENA + PAGE, 0, 3)


class TestCommand:
    def test_without_root(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        result = CliRunner().invoke(main, ["attach", str(os.getpid())])
        assert result.exit_code == 1
        assert "attach needs root" in result.output or "needs Linux" in result.output
        assert len(result.output.splitlines()) == 1

    def test_a_question_that_is_none(self):
        result = CliRunner().invoke(main, ["attach", "1", "--ask", "sing"])
        assert result.exit_code == 1 and result.output.startswith("Error: question 'sing': valid are fork")

    @pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/kpageflags").exists(), reason="needs root on Linux")
    def test_a_process_that_is_none(self):
        result = CliRunner().invoke(main, ["attach", str(1 << 22)])
        assert result.exit_code == 1 and "no process" in result.output


# ---- the live kernel ----

SLEEPER = """
import mmap, os, sys
m = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.madvise(mmap.MADV_HUGEPAGE)
for i in range(0, 16 << 20, 4096): m[i] = 7
if len(sys.argv) > 1 and os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
print("ready", flush=True)
sys.stdin.readline()
"""


def own_lines(pid):
    """smaps without what depends on other processes that map the same files."""
    lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    return [line for line in lines if not line.startswith(("Pss", "Shared_", "Private_"))]


def until_it_sleeps(pid):
    """After its last word a program still runs on, and touches pages, until it waits for its input."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(1000):
        time.sleep(0.02)
        if stat.read_text().rpartition(")")[2].split()[0] == "S":
            return
    raise AssertionError(f"process {pid} does not wait for its input")


@pytest.mark.live
def test_a_running_program(tmp_path):
    """Python itself, running while it is read: every area, every field of its anonymous memory."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        until_it_sleeps(program.pid)
        before = own_lines(program.pid)
        result = CliRunner().invoke(main, ["attach", str(program.pid), "--ask", "fork", "--json",
                                           str(tmp_path / "x.json"), "--save", str(tmp_path / "saved")])
        assert result.exit_code == 0, result.output
        assert own_lines(program.pid) == before
        report = json.loads((tmp_path / "x.json").read_text())
        program.communicate(b"\n")
    assert report["certain"]["differences"] == []
    assert report["certain"]["fields"] > 300
    assert report["answers"][0]["numbers"]["bytes copied if it then writes all that it has"] >= 16 << 20
    fs.Machine.load(tmp_path / "saved").validate()


@pytest.mark.live
class TestWhatTheKernelThenDoes:
    """A process that does only what it is told: the answer on the branch is what its smaps show afterwards."""

    @pytest.fixture
    def tracee(self):
        sys.path.insert(0, str(Path(__file__).parents[1] / "procfs"))
        from tracee import Tracee

        tracee = Tracee.start(0)
        tracee.syscall("mmap", ARENA, 4 * HUGE, 3, 0x32, -1, 0)
        tracee.syscall("madvise", ARENA, 3 * HUGE, 14)
        tracee.loop("write", ARENA, ARENA + 2 * HUGE + 100 * PAGE, PAGE, 7, 0)
        tracee.loop("write", ARENA + 3 * HUGE, ARENA + 3 * HUGE + 20 * PAGE, PAGE, 7, 0)
        tracee.loop("read", ARENA + 3 * HUGE + 30 * PAGE, ARENA + 3 * HUGE + 40 * PAGE, PAGE, 0, 0)
        tracee.syscall("madvise", ARENA + HUGE + 20 * PAGE, 10 * PAGE, 4)
        tracee.syscall("mmap", ARENA + 8 * HUGE, 2 * HUGE, 3, 0x32, -1, 0)
        tracee.syscall("madvise", ARENA + 8 * HUGE, 2 * HUGE, 14)
        tracee.loop("read", ARENA + 8 * HUGE, ARENA + 9 * HUGE, PAGE, 0, 0)  # the huge zero page
        tracee.syscall("madvise", ARENA + 8 * HUGE, 2 * HUGE, 15)
        tracee.syscall("madvise", ARENA, 3 * HUGE, 15)  # or khugepaged may collapse what it finds meanwhile
        yield tracee
        tracee.kill()

    def answer(self, tracee, question):
        attached = attach([tracee.pid])
        attached.machine.validate()
        assert certain.compare(attached)[1] == [] and not +attached.left_out
        return ask.ask(attached.machine, attached.processes[tracee.pid], question)

    def same(self, process, pid):
        picture = proc.read(pid)
        rows = {int(row["start"]): row for row in process.smaps()}
        assert sorted(rows) == [area.start for area in picture.areas if area.name != "[vsyscall]"]
        for area in picture.areas:
            if area.name == "[vsyscall]":
                continue
            row = rows[area.start]
            for name in certain.FIELDS:
                if name == "Referenced":  # the system ages pages at times of its own
                    continue
                assert int(row[name]) == area.fields[name], (hex(area.start), name)
            assert (int(row["end"]), str(row["perms"])) == (area.end, area.perms)
            assert str(row["VmFlags"]).split() == [code for code in area.flags.split() if code != "sd"]

    def test_fork(self, tracee):
        answer = self.answer(tracee, "fork")
        child = tracee.fork()
        try:
            self.same(answer.process, tracee.pid)
            self.same(answer.child, child.pid)
        finally:
            child.kill()

    @pytest.mark.parametrize("first, pages, rights", [
        (5, 100, "r"), (512, 512, "r"), (1024, 50, "-"), (0, 2048, "rx"), (4096 + 7, 100, "r")])
    def test_mprotect(self, tracee, first, pages, rights):
        answer = self.answer(tracee, f"mprotect {ARENA + first * PAGE:#x} {pages * PAGE} {rights}")
        number = sum({"r": 1, "w": 2, "x": 4, "-": 0}[letter] for letter in rights)
        tracee.syscall("mprotect", ARENA + first * PAGE, pages * PAGE, number)
        self.same(answer.process, tracee.pid)

    @pytest.mark.parametrize("first, pages", [(3, 20), (0, 512), (500, 600), (1536, 100), (4096, 700)])
    def test_mlock(self, tracee, first, pages):
        answer = self.answer(tracee, f"mlock {ARENA + first * PAGE:#x} {pages * PAGE}")
        tracee.syscall("mlock", ARENA + first * PAGE, pages * PAGE)
        self.same(answer.process, tracee.pid)

    def test_two_processes(self, tracee):
        child = tracee.fork()
        try:
            tracee.loop("write", ARENA + 5 * PAGE, ARENA + 9 * PAGE, PAGE, 1, 0)
            child.loop("write", ARENA + 3 * HUGE, ARENA + 3 * HUGE + 3 * PAGE, PAGE, 1, 0)
            attached = attach([tracee.pid, child.pid])
            attached.machine.validate()
            assert [one for one in certain.compare(attached)[1] if one[2] != "Referenced"] == []
            assert not attached.others
        finally:
            child.kill()
