"""Orders of steps: by hand, searched, written down and replayed."""
import json
import re

import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim.cli import main
from foliosim.schedule import Program, Schedule, ScheduleError, play, search
from foliosim.schedule.player import Player
from foliosim.schedule.run import Broken
from foliosim.schedule.search import runnable

HUGE = 2 << 20
A = "0x200000000000"
MAP = {"op": "mmap", "proc": "p0", "addr": A, "length": HUGE, "prot": "rw", "flags": ["private", "anonymous", "fixed"]}
WRITE = {"op": "write", "proc": "p0", "addr": A, "length": HUGE, "value": 7}


def on(op, proc="p0", addr=A, length=HUGE, **more):
    return {"op": op, "proc": proc, "addr": addr, "length": length, **more}


FORK = {"op": "fork", "proc": "p0", "child": "p1"}
LOCK_HALF = on("mlock", length=HUGE // 2)
FORKED = Program(
    setup=[MAP, WRITE, FORK],
    actors={"parent": [on("write", value=1)], "child": [on("write", "p1", value=2, length=HUGE // 2),
                                                         {"op": "exit", "proc": "p1"}]},
    machine={"memory": "64M", "thp": "always"})
HALVES = Program(
    setup=[MAP, WRITE],
    actors={"p0": [on("munmap", length=HUGE // 2), LOCK_HALF | {"addr": hex(int(A, 16) + HUGE // 2)}]},
    daemons={"shrinker": {"op": "shrink_deferred"}, "reclaim": {"op": "reclaim", "pages": 64},
             "khugepaged": {"op": "khugepaged", "proc": "p0"}},
    machine={"memory": "64M", "thp": "always", "swap": "16M"})


class TestByHand:
    @pytest.mark.parametrize("order, copied", [
        (["child", "child", "parent"], HUGE // 2),              # the child's copies; then the parent is alone
        (["parent", "child", "child"], HUGE),                   # the parent copies, the child keeps
        (["child", "parent", "child"], HUGE * 3 // 2),          # half of it needlessly: nobody else maps those pages
    ])
    def test_who_comes_first(self, order, copied):
        player = play(Schedule(FORKED, order))
        assert player.machine.ledger()["cow_bytes"] == copied

    def test_the_same_again(self):
        one = dict(play(Schedule(FORKED, ["child", "parent", "child"])).machine.ledger())
        assert dict(play(Schedule(FORKED, ["child", "parent", "child"])).machine.ledger()) == one

    def test_a_daemon_between_two_steps(self):
        without = play(Schedule(HALVES, ["p0", "p0"])).machine.ledger()
        between = play(Schedule(HALVES, ["p0", "shrinker", "p0"])).machine.ledger()
        assert (without["stranded_bytes"], between["stranded_bytes"]) == (HUGE // 2, 0)
        assert between["splits.ok.reclaim"] == 1

    def test_trouble(self):
        program = Program(setup=[MAP, WRITE], actors={"p0": [
            {"op": "hold", "id": "x", "what": "pin", "proc": "p0", "addr": A}, on("madvise", length=4096, advice="cold"),
            {"op": "put_right", "id": "x"}, on("madvise", length=4096, advice="cold"),
            {"op": "fail", "kinds": ["vma"], "nth": 1}, on("mprotect", length=4096, prot="r"),
            {"op": "split", "proc": "p0", "addr": A}, {"op": "limit", "bytes": 32 << 20}]})
        schedule = Schedule(program, ["p0"] * 8)
        ledger = play(schedule).machine.ledger()
        assert (ledger["splits.failed.pinned"], ledger["splits.ok.madvise"]) == (1, 1)
        assert schedule.results[5] == "ENOMEM" and schedule.results[6] == "EINVAL"

    @pytest.mark.parametrize("order, words", [
        (["child", "child", "child"], "'child' has no further step"), (["nobody"], "'nobody' has no further step"),
        (["child", "child", "p2"], "valid are parent, child"),
    ])
    def test_an_order_that_cannot_be(self, order, words):
        with pytest.raises(ScheduleError, match=words):
            play(Schedule(FORKED, order))

    def test_a_process_that_is_not_there(self):
        program = Program(actors={"p0": [MAP, FORK], "child": [on("write", "p1", value=1)]})
        with pytest.raises(ScheduleError, match="no process p1"):
            play(Schedule(program, ["child", "p0", "p0"]))
        assert runnable(program, ["child", "p0", "p0"]) == ["p0", "p0", "child"]

    @pytest.mark.parametrize("make, words", [
        (lambda: Program(actors={}), "at least one actor"),
        (lambda: Program(actors={"x": []}, daemons={"x": MAP}), "no name twice"),
        (lambda: play(Schedule(Program(actors={"x": [{"op": "dance"}]}), [])), "dance"),
        (lambda: play(Schedule(FORKED, ["parent"]), metric="happiness"), "'happiness': valid are faults.minor"),
        (lambda: search(FORKED, tries=0), "tries 0"),
        (lambda: play(Schedule(Program(actors={"p0": [{**MAP, "length": "4096"}]}), ["p0"])), "step 0, .*'4096'"),
        (lambda: play(Schedule(Program(actors={"p0": [MAP]}, setup=[{**MAP, "flags": 5}]), ["p0"])), "step setup"),
        (lambda: play(Schedule(Program(actors={"x": [{**MAP, "proc": ["p0"]}]}), ["x"])), "proc must be a name"),
        (lambda: search(Program(actors={"x": [{"op": "fork", "proc": "p0", "child": ["c"]}]})), "child must be a name"),
    ])
    def test_bad_input(self, make, words):
        with pytest.raises(ScheduleError, match=words):
            make()


class TestSearch:
    def test_the_worst_for_copies(self):
        found = search(FORKED, metric="cow_bytes", tries=20, seed=1)
        assert (found.why, found.value) == ("cow_bytes", HUGE * 3 // 2)
        assert found.order == ["child", "parent", "child"]

    def test_needs_a_daemon_in_the_right_place(self):
        """Splits happen only if the shrinker comes after the munmap."""
        found = search(HALVES, metric="splits.ok.reclaim", tries=60, seed=3)
        assert found.value == 1
        assert [name for name in found.order if name != "p0"] in (["shrinker"], ["reclaim"])
        assert found.order.index("p0") == 0

    def test_same_seed_same_schedule(self):
        one, two = (search(HALVES, metric="stranded_bytes", tries=30, seed=5) for _ in range(2))
        assert (one.order, one.value) == (two.order, two.value)

    def test_nothing_breaks(self):
        assert search(HALVES, tries=30, seed=2) is None

    def test_an_order_that_breaks_an_invariant(self, tmp_path):
        """A daemon that miscounts once a folio was split: the search finds when, and leaves out what is not needed."""
        def bug(player, step):
            if player.machine.ledger()["splits.ok"]:
                player.machine.corrupt("machine", 0, "deferred_len", 1)
            return {"ret": 0}

        program = Program(HALVES.actors, {**HALVES.daemons, "bug": {"op": "bug"}}, HALVES.setup, HALVES.machine)
        found = search(program, tries=200, seed=4, more={"bug": bug})
        assert found is not None and found.why.startswith("ValidationError") and "deferred" in found.why
        assert found.order[-1] == "bug" and found.order.count("bug") == 1
        assert len(found.order) <= 4 and "bug" in str(found)
        found.write(tmp_path / "found.json")
        with pytest.raises(Broken):
            play(Schedule.read(tmp_path / "found.json"), more={"bug": bug})

    def test_what_it_keeps_can_be_replayed(self, tmp_path):
        found = search(HALVES, metric="stranded_bytes", tries=20, seed=1)
        found.write(tmp_path / "x.json")
        again = Schedule.read(tmp_path / "x.json")
        play(again, metric="stranded_bytes")
        assert (again.value, again.step, again.order) == (found.value, found.step, found.order)


class TestCommand:
    @pytest.fixture
    def program(self, tmp_path):
        path = tmp_path / "program.json"
        path.write_text(json.dumps(HALVES.as_dict()))
        return path

    def run(self, *arguments):
        return CliRunner().invoke(main, ["schedule", *map(str, arguments)])

    def test_search_and_replay(self, program, tmp_path):
        out = tmp_path / "found.json"
        result = self.run("search", program, "--maximise", "stranded_bytes", "--tries", 20, "--out", out)
        assert result.exit_code == 0, result.output
        assert f"stranded_bytes: {HUGE // 2}" in result.output
        replayed = self.run("replay", out)
        assert replayed.exit_code == 0 and f"stranded_bytes: {HUGE // 2}" in replayed.output
        data = json.loads(out.read_text())
        out.write_text(json.dumps({**data, "value": 1}))
        assert self.run("replay", out).exit_code == 1

    def test_nothing_breaks(self, program):
        result = self.run("search", program, "--tries", 10)
        assert result.exit_code == 0 and "10 orders: every invariant held" in result.output

    @pytest.mark.parametrize("text, words", [
        ("{", "not JSON"), ("[]", "must have actors"), ('{"actors": {}}', "at least one actor"),
        ('{"actors": {"a": []}, "speed": 1}', "unknown 'speed'")])
    def test_bad_files(self, tmp_path, text, words):
        (tmp_path / "bad.json").write_text(text)
        result = self.run("search", tmp_path / "bad.json", "--tries", 1)
        assert result.exit_code == 1 and words in result.output


@pytest.mark.parametrize("change, message", [
    ({"machine": {"memory": "64M", "thp": "alway"}}, "thp 'alway': valid are never"),
    ({"machine": {"memory": "64M", "tph": "always"}}, "'tph'; it may have arch, .*thp"),
    ({"daemons": {"d": {"op": "khugepage"}}}, "no such op; valid are .*khugepaged"),
    ({"setup": [{"op": "reclaim", "pages": -1}]}, "step setup, .*nr_pages -1"),
    ({"setup": [{"op": "reclaim"}]}, "has no 'pages'"),
    ({"setup": [{"op": "mmap", "proc": "p9", "addr": "0x1000", "length": 4096}]}, "'p9'")])
def test_a_program_that_cannot_be_says_why(tmp_path, change, message):
    path = tmp_path / "program.json"
    path.write_text(json.dumps({"actors": {"p0": [{"op": "shrink_deferred"}]}, **change}))
    result = CliRunner().invoke(main, ["schedule", "search", str(path), "--tries", "2"])
    assert result.exit_code == 1 and re.search(message, result.output.replace("\n", " ")), result.output


def test_a_process_that_has_exited_is_there_no_more():
    """A random program registered buffers of one."""
    player = Player(fs.Machine(memory="32M"))
    step = {"op": "register", "id": "r0", "proc": "p1", "buffers": [["0x200000000000", 4096]]}
    assert not player.ready(step)
    player.do({"op": "fork", "proc": "p0", "child": "p1"})
    assert player.ready(step)
    player.do({"op": "exit", "proc": "p1"})
    assert not player.ready(step)
