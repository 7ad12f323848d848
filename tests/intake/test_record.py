"""Recording a program: what is missing is named; where nothing is, the recording can be replayed."""
import os
import signal

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.intake import hold, record
from foliosim.replay import read_trace
from foliosim.replay.run import replay_trace
from foliosim.replay.truth import read_truth


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(record, "_TRACEFS", (tmp_path,))
    monkeypatch.setattr(record.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(record, "_paranoid", lambda: 2)
    out = CliRunner().invoke(main, ["trace", "--", "no-such-program", "--flag"])
    assert out.exit_code == 1 and len(out.output.strip().splitlines()) == 1
    for what in ("perf is not installed", "tracefs", "kernel.perf_event_paranoid to -1 (it is 2)", "no-such-program"):
        assert what in out.output


def test_a_missing_tracepoint_is_named(monkeypatch, tmp_path):
    (tmp_path / "syscalls").mkdir()
    monkeypatch.setattr(record, "_TRACEFS", (tmp_path,))
    assert any("no tracepoint exceptions:page_fault_user (x86 only)" in one for one in record.missing())


def test_the_command_asks_for_what_the_kernel_has(monkeypatch, tmp_path):
    (tmp_path / "syscalls/sys_enter_mmap").mkdir(parents=True)
    monkeypatch.setattr(record, "_TRACEFS", (tmp_path,))
    command = record.record_command("data", "--", "ls", "-l")
    assert command[-3:] == ["--", "ls", "-l"] and "syscalls:sys_enter_mmap" in command
    assert "syscalls:sys_exit_mmap" not in command
    assert command.count("--filter") == 2  # a filter is of the one event before it


@pytest.mark.live
@pytest.mark.skipif(bool(record.missing()), reason="cannot record here")
def test_a_recorded_program_can_be_replayed(tmp_path, capfd):
    path = tmp_path / "t.jsonl.xz"
    out = CliRunner().invoke(main, ["trace", "--out", str(path), "--", "sh", "-c", "seq 1 2000 | tail -1"])
    assert out.exit_code == 0, out.output
    result = replay_trace(read_trace(path))
    assert result.metrics["pgfault"] > 100 and not result.replay.odd["refused"] and not result.replay.odd["differs"]


PROGRAM = """
import mmap, os, threading, time
m = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m[:2 << 20] = b"a" * (2 << 20)
threads = [threading.Thread(target=lambda: bytearray(300000)) for _ in range(3)]
for one in threads: one.start()
for one in threads: one.join()
time.sleep(0.3)  # their ends are over now
if os.fork() == 0:
    m[:100000] = b"b" * 100000
    os._exit(0)
m[50000:200000] = b"c" * 150000
os.wait()
os.system("true")
"""


@pytest.mark.live
@pytest.mark.skipif(bool(record.missing()), reason="cannot record here")
@pytest.mark.parametrize("huge", [[], ["--huge"]])
def test_a_recorded_truth_follows(tmp_path, huge):
    """Program, kernel and replay: what the kernel said at each execve, exit and checkpoint is what the replay has."""
    trace, truth = tmp_path / "t.jsonl.xz", tmp_path / "t.truth.json.xz"
    out = CliRunner().invoke(main, ["trace", *huge, "--out", str(trace), "--truth", str(truth), "--every", "0.2", "--",
                                    "/usr/bin/python3", "-c", PROGRAM])
    assert out.exit_code == 0, out.output
    result = replay_trace(read_trace(trace), truth=read_truth(truth))
    assert result.comparison.differences == [] and result.comparison.follows
    assert {one["why"] for one in read_truth(truth).snapshots} >= {"exec", "exit"}


@pytest.mark.skipif(not hasattr(os, "posix_spawn") or os.uname().sysname != "Linux", reason="ptrace of Linux")
class TestHeld:
    """The program is followed through forks, threads and execve, and ends as it would."""

    def looks(self, script, every=0.0):
        seen = []
        pid, go = hold.start(["/bin/sh", "-c", script], None)
        try:
            tree = hold.Tree(pid, lambda why, pid, pids: seen.append((why, pid, set(pids))), every)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.skip(f"may not ptrace: {error}")
        go()
        return pid, os.waitstatus_to_exitcode(tree.run()), seen

    def test_processes(self):
        pid, status, seen = self.looks("(exit 3) & /bin/true; wait $!; exit 5")
        assert status == 5
        assert [why for why, _, _ in seen].count("exec") == 2 and [why for why, _, _ in seen].count("exit") == 3
        assert seen[0] == ("exec", pid, {pid}) and seen[-1] == ("exit", pid, {pid})
        assert any(len(pids) > 1 for why, _, pids in seen if why == "exit")

    def test_signals_are_passed_on(self):
        assert self.looks("kill -TERM $$; sleep 5")[1] == -signal.SIGTERM
        assert self.looks("trap 'exit 4' USR1; kill -USR1 $$; exit 1")[1] == 4

    def test_stopped_and_continued(self):
        _, status, seen = self.looks("(sleep 0.3; kill -CONT $$) & kill -STOP $$; exit 6", every=0.1)
        assert status == 6 and any(why == "checkpoint" for why, _, _ in seen)

    def test_a_program_that_is_not_there(self):
        pid, go = hold.start(["/no/such/program"], None)
        tree = hold.Tree(pid, lambda *look: None, 0)
        go()
        assert os.waitstatus_to_exitcode(tree.run()) == 127
