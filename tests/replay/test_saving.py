"""The study bgsave with a real redis instead of its made-up load."""
from pathlib import Path

import pytest

from foliosim.replay import read_trace
from foliosim.replay.run import replay_trace
from foliosim.study import run_study
from foliosim.study.base import StudyError

DATA = Path(__file__).parent / "data"
REDIS, PIPE = (str(DATA / f"{name}.trace.jsonl.xz") for name in ("redis-never", "pipe-never"))


def metrics(choice, **keys):
    result = run_study("bgsave", {"trace": REDIS, **keys}, policy=[f"cow_order={choice}"])
    return result.runs[0].metrics


def test_a_real_save_without_huge_pages():
    got, trace = metrics("order0", order=0), read_trace(REDIS)
    fork, child = next((at, event[4]) for at, event in enumerate(trace.events)
                       if event[0] == "F" and event[4] != event[2])  # no thread
    exits = next(at for at, event in enumerate(trace.events) if event[0] == "E" and event[2] == child)
    during = slice(trace.before[fork], trace.before[exits])
    mine = (trace.pid[during] == trace.events[fork][2]) & (trace.flags[during] & 1 == 1)
    assert got["writes"] == mine.sum() > 1000
    assert got["written_bytes"] == len(set((trace.address[during][mine] >> 12).tolist())) * 4096
    assert got["largest_copy_bytes"] == 4096 and got["cow_bytes"] <= got["faults.cow"] * 4096
    assert got["cow_bytes"] <= replay_trace(trace).metrics["cow_bytes"]


def test_larger_copies_cost_memory_and_save_faults():
    one, window, whole = (metrics(choice, order=9) for choice in ("order0", "fixed(4)", "inherit"))
    assert one["faults.cow"] > window["faults.cow"] and one["cow_bytes"] < window["cow_bytes"] < whole["cow_bytes"]
    assert whole["largest_copy_bytes"] == 2 << 20 and whole["parent_tlb_entries"] < one["parent_tlb_entries"]


@pytest.mark.parametrize("path, reason", [(PIPE, "no fork of a child that saves"), ("nowhere", "trace='nowhere'"),
                                          (__file__, "not JSON")])
def test_what_is_no_save_is_refused(path, reason):
    with pytest.raises(StudyError, match=reason):
        run_study("bgsave", {"trace": path}, policy=["cow_order=order0"])
