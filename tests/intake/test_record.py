"""Recording a program: what is missing is named; where nothing is, the recording can be replayed."""
import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.intake import record
from foliosim.replay import read_trace
from foliosim.replay.run import replay_trace


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
    command = record.record_command("data", ["ls", "-l"])
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
