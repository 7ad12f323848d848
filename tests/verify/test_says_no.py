"""verify must be able to say no: one altered value of any kind is reported, and nothing else."""
import copy
import json

import pytest
from click.testing import CliRunner
from scripted import Replays, as_scenario, every_kind, honest

from foliosim.verify import leaves, numbers, runner
from foliosim.verify.command import verify
from foliosim.verify.replay import replay

STEP = 1  # where state is altered


def _area(expect, n=0):
    return expect[STEP]["state"]["procs"]["p0"]["vmas"][n]


def _proc(expect):
    return expect[STEP]["state"]["procs"]["p0"]


def _set(container, key, value):
    assert container[key] != value
    container[key] = value


def _result_cases():
    yield "ret", lambda e: _set(e[1], "ret", 6), "ret"
    yield "ret-address", lambda e: _set(e[4], "ret", "0x200000001000"), "ret"
    yield "errno", lambda e: _set(e[2], "errno", "EINVAL"), "errno"
    yield "signal", lambda e: _set(e[3], "signal", "SIGBUS"), "signal"
    yield "code", lambda e: _set(e[3], "code", "ACCERR"), "code"
    yield "addr", lambda e: _set(e[3], "addr", "0x200000000000"), "addr"
    yield "data-byte", lambda e: _set(e[1], "data", [[7, 3, 0], [250, 1, 0], [9, 1, 0]]), "byte"
    yield "data-byte-missing", lambda e: _set(e[1], "data", [[7, 3, 0], [250, 1, 1]]), "byte"
    yield "data-byte-more", lambda e: _set(e[1], "data", [[7, 3, 0], [250, 3, 1]]), "byte"


def _kind_of_result(expect):
    del expect[0]["ret"]
    expect[0]["errno"] = "EPERM"


def _area_cases():
    for field, value in (("start", "0x1ffffffff000"), ("end", "0x200000300000"), ("perms", "r--p")):
        yield f"vma-{field}", lambda e, f=field, v=value: _set(_area(e), f, v), field
    yield "vma-file", lambda e: _set(_area(e, 1), "file", "shmem"), "file"
    yield "vma-offset", lambda e: _set(_area(e, 1), "offset", 0), "offset"
    yield "vma-file-missing", lambda e: _area(e, 1).pop("file"), "file"
    template = every_kind()["expect"][STEP]["state"]["procs"]["p0"]["vmas"][0]
    for name in template["smaps"]:
        yield f"smaps-{name}", lambda e, n=name: _set(_area(e)["smaps"], n, _area(e)["smaps"][n] + 4), name
        yield f"smaps-{name}-missing", lambda e, n=name: _area(e)["smaps"].pop(n), name
    yield "smaps-more", lambda e: _area(e)["smaps"].update(Swap=4), "Swap"
    for n, flag in enumerate(template["flags"]):
        yield f"VmFlag-{flag}", lambda e, n=n: _set(_area(e)["flags"], n, "um"), "VmFlags"
        yield f"VmFlag-{flag}-missing", lambda e, n=n: _area(e)["flags"].pop(n), "VmFlags"
    yield "VmFlag-more", lambda e: _area(e)["flags"].append("um"), "VmFlags"


def _page_cases():
    def page(e, n, field, value):
        _set(_proc(e)["pages"][n], field, value)

    def one_page(e, bits):
        # The run of three pages, its second page altered.
        _proc(e)["pages"][:1] = [["0x200000000000", 1, "0x102", 0, 1], ["0x200000001000", 1, hex(bits), 1, 1],
                                 ["0x200000002000", 1, "0x102", 2, 1]]

    for name, bit in numbers.PAGE_BITS.items():
        yield f"pages-bit-{name}", lambda e, bit=bit: one_page(e, 0x102 ^ bit), "bits"
    yield "pages-address", lambda e: page(e, 3, 0, "0x200000401000"), "present"
    yield "pages-count", lambda e: page(e, 0, 1, 4), "present"
    yield "pages-count-less", lambda e: page(e, 0, 1, 2), "present"
    yield "pages-frame", lambda e: page(e, 3, 3, 5), "frame"
    yield "pages-frame-null", lambda e: page(e, 2, 3, 1), "frame"
    yield "pages-step", lambda e: page(e, 1, 4, 1), "frame"
    yield "changed-address", lambda e: _set(_proc(e)["changed"][0], 0, "0x200000000000"), "present"
    yield "changed-count", lambda e: _set(_proc(e)["changed"][0], 1, 3), "present"
    yield "changed-missing", lambda e: _set(_proc(e)["changed"][0], 1, 1), "present"
    yield "locked_kb", lambda e: _set(_proc(e), "locked_kb", 4), "locked_kb"
    yield "pgtable_kb", lambda e: _set(_proc(e), "pgtable_kb", 8), "pgtable_kb"


def _frame_cases():
    def frame(e, n, field, value):
        _set(e[STEP]["state"]["frames"][n], field, value)

    def flags(e, n):
        return int(e[STEP]["state"]["frames"][n][2], 16)

    for name, bit in numbers.KPF.items():
        yield f"frames-bit-{name}", lambda e, bit=bit: frame(e, 4 - 1, 2, hex(flags(e, 3) ^ bit)), "flags"
        yield f"frames-zero-bit-{name}", lambda e, bit=bit: frame(e, 2, 2, hex(flags(e, 2) ^ bit)), "flags"
    yield "frames-first", lambda e: frame(e, 3, 0, 5), "present"
    yield "frames-count", lambda e: frame(e, 1, 1, 3), "present"
    yield "frames-mapcount", lambda e: frame(e, 3, 3, 1), "mapcount"


def _entry_and_counter_cases():
    yield "entries-bits", lambda e: _set(_proc(e)["entries"][1], 3, "0x80000000000000a7"), "bits"
    yield "entries-level", lambda e: _set(_proc(e)["entries"][1], 1, 1), "level"
    for kind in ("pte", "pmd", "pud"):
        yield f"tables-{kind}", lambda e, k=kind: _set(_proc(e)["tables"], k, 9), kind
    template = every_kind()["expect"][STEP]
    for name in template["vmstat"]:
        yield f"vmstat-{name}", lambda e, n=name: _set(e[STEP]["vmstat"], n, 9), name
        yield f"vmstat-{name}-missing", lambda e, n=name: e[STEP]["vmstat"].pop(n), name
    yield "vmstat-more", lambda e: e[STEP]["vmstat"].update(pglazyfree=1), "pglazyfree"
    for size, counters in template["mthp_stats"].items():
        for name in counters:
            yield f"{size}-{name}", lambda e, s=size, n=name: _set(e[STEP]["mthp_stats"][s], n, 9), name
    yield "mthp-size-missing", lambda e: e[STEP]["mthp_stats"].pop("2048kB"), "split_deferred"
    yield "mthp-size-more", lambda e: e[STEP]["mthp_stats"].update({"16kB": {"nr_anon": 1}}), "nr_anon"


CASES = [*_result_cases(), ("ret-is-errno", _kind_of_result, "errno"), *_area_cases(), *_page_cases(),
         *_frame_cases(), *_entry_and_counter_cases()]


@pytest.mark.parametrize("alter, field", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_altered_value_is_the_one_mismatch(small, alter, field):
    altered = copy.deepcopy(small)
    alter(altered["expect"])
    outcome = replay(as_scenario(altered), Replays(small), details=True)
    assert outcome.error is None and outcome.unsupported is None
    assert outcome.mismatched_values == 1
    assert [difference.field for difference in outcome.first] == [field]
    assert outcome.steps == len(small["steps"])


# Flags of a zero page that the engine may show and that the contract masks.
MASKED = {f"frames-zero-bit-{name}" for name, bit in numbers.KPF.items() if not bit & numbers.KPF_ZERO_MASK}


@pytest.mark.parametrize("name, alter", [case[:2] for case in CASES], ids=[case[0] for case in CASES])
def test_one_wrong_value_of_the_engine_is_the_one_mismatch(small, name, alter):
    wrong = copy.deepcopy(small)
    alter(wrong["expect"])
    outcome = replay(as_scenario(small), Replays(wrong))
    assert outcome.error is None
    assert outcome.mismatched_values == (0 if name in MASKED else 1)


def test_unaltered_matches(small):
    outcome = replay(as_scenario(small), Replays(small))
    assert (outcome.mismatched, outcome.mismatched_values, outcome.first_step) == (False, 0, None)


def test_command_reports_exactly_the_altered_scenario(small, write_lines, tmp_path, monkeypatch):
    altered = copy.deepcopy(small)
    altered["id"] = "altered"
    right = Replays(small, altered)
    altered = copy.deepcopy(altered)
    _set(altered["expect"][3], "code", "ACCERR")
    path = write_lines("both.jsonl.gz", small, altered)
    job = runner.Job
    monkeypatch.setattr(runner, "Job", lambda **options: job(make_engine=right, **options))
    out = tmp_path / "out.json"
    result = CliRunner().invoke(verify, [str(path), "--jobs", "1", "--json", str(out)])
    assert result.exit_code == 1, result.output
    report = json.loads(out.read_text())
    one = {"scenarios": 2, "steps": 10, "values": report["values"], "masked": 0, "mismatched_scenarios": ["altered"],
           "mismatched_values": 1, "unsupported": []}
    assert report == {**one, "by_theme": {"directed": one}}
    result = CliRunner().invoke(verify, [str(path), "--jobs", "1", "--id", "altered", "--show"])
    assert "ACCERR" in result.output and "MAPERR" in result.output
    assert "3 p0 write 0x200000000000 +8 KiB value=3 -> SIGSEGV" in result.output


class TestLeaves:
    def test_every_scalar_is_a_leaf(self, small):
        """Counted a second way: by walking the entry."""
        for entry in small["expect"]:
            assert leaves.count(entry) == _walk(entry)

    def test_compared_plus_masked_are_the_leaves(self, small):
        scenario = as_scenario(small)
        outcome = replay(scenario, honest)
        assert outcome.values + outcome.masked == sum(map(leaves.count, small["expect"]))
        assert outcome.masked == 0

    def test_referenced_of_children_is_masked(self, small):
        altered = copy.deepcopy(small)
        for state in (altered["expect"][1]["state"], small["expect"][1]["state"]):
            state["procs"]["p1"]["vmas"] = copy.deepcopy(state["procs"]["p0"]["vmas"])
        altered["expect"][1]["state"]["procs"]["p1"]["vmas"][0]["smaps"]["Referenced"] = 4000
        outcome = replay(as_scenario(altered), Replays(small))
        assert (outcome.mismatched_values, outcome.masked) == (0, 1)

    @pytest.mark.parametrize("where", ["file step", "always", "mthp always"])
    def test_disturbed_counters_are_masked(self, small, where):
        if where == "file step":
            small["steps"][1] = {"op": "file", "proc": "p0", "file": "f0", "kind": "memfd", "length": 4096}
        elif where == "always":
            small["machine"]["thp_enabled"] = "always"
        else:
            small["machine"]["mthp"]["64kB"] = "always"
        altered = copy.deepcopy(small)
        altered["expect"][1]["vmstat"]["thp_fault_alloc"] = 77
        outcome = replay(as_scenario(altered), Replays(small))
        assert outcome.mismatched_values == 0
        assert outcome.masked == 5 * (1 if where == "file step" else 5)

    def test_masked_flags_of_the_engine_do_not_count(self, small):
        shown = copy.deepcopy(small)
        frames = shown["expect"][1]["state"]["frames"]
        frames[3][2] = hex(int(frames[3][2], 16) | 1 << 0 | 1 << 10)
        frames[2][2] = hex(int(frames[2][2], 16) | 1 << 3)
        assert replay(as_scenario(small), Replays(shown)).mismatched_values == 0


def _walk(entry):
    state = entry["state"]
    n = sum(key in entry for key in ("ret", "errno", "signal", "code", "addr"))
    n += sum(1 for _, count, _ in entry.get("data", []) for _ in range(count))
    n += len(entry["vmstat"]) + sum(len(counters) for counters in entry["mthp_stats"].values())
    for proc in state["procs"].values():
        for vma in proc["vmas"]:
            n += sum(key in vma for key in ("start", "end", "perms", "file", "offset"))
            n += len(vma["smaps"].values()) + len(vma["flags"])
        for run in proc["pages"]:
            n += 2 * run[1]
        for run in proc["changed"]:
            n += run[1]
        for run in proc.get("entries", []):
            n += 2 * run[2]
        n += 2 + len(proc.get("tables", {}))
    for run in state["frames"]:
        n += 2 * run[1]
    return n
