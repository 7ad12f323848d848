"""A trace of 4K pages on machines with larger ones: areas are aligned outward, and what they share is kept."""
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from made import ARENA, PAGE, Made

from foliosim.cli import main
from foliosim.flags import MADV_DONTNEED
from foliosim.replay.engine import machine_for

DATA = Path(__file__).parent / "data"
K64 = 64 << 10


def replayed(made, tmp_path, page_size="64K"):
    replay = made.replay(tmp_path, machine_for(made.header, arch="arm64", page_size=page_size))
    assert not replay.odd["refused"] and not replay.odd["differs"]
    replay.machine.validate()
    return replay.spaces[100].process if 100 in replay.spaces else None


def areas(process):
    return [(int(area["start"]) - ARENA, int(area["end"]) - ARENA, str(area["perms"])) for area in process.maps()]


def made():
    return Made().execve()


def test_an_area_is_aligned_outward_and_a_page_is_a_granule(tmp_path):
    made_ = made().mmap(ARENA + 3 * PAGE, 20 * PAGE).fault(ARENA + 3 * PAGE).fault(ARENA + 4 * PAGE)
    process = replayed(made_, tmp_path)
    assert areas(process) == [(0, 2 * K64, "rw-p")]
    assert process.counts()["rss_anon"] == 1


@pytest.mark.parametrize("parts, left", [((1,), [(0, K64, "rw-p")]), ((1, 2), []), ((2, 1), [])])
def test_a_shared_granule_goes_with_its_last_part(parts, left, tmp_path):
    made_ = made().mmap(ARENA + 4 * PAGE, 4 * PAGE).mmap(ARENA + 8 * PAGE, 4 * PAGE).fault(ARENA + 4 * PAGE)
    for part in parts:
        made_.call("munmap", ARENA + 4 * part * PAGE, 4 * PAGE)
    assert areas(replayed(made_, tmp_path)) == left


def test_a_shared_granule_has_the_rights_of_all(tmp_path):
    made_ = made().mmap(ARENA, 20 * PAGE, prot=1).mmap(ARENA + 20 * PAGE, 40 * PAGE).fault(ARENA + 20 * PAGE)
    assert areas(replayed(made_, tmp_path)) == [(0, K64, "r--p"), (K64, 4 * K64, "rw-p")]
    made_.call("mprotect", ARENA, 60 * PAGE, 1)
    assert {perms for _, _, perms in areas(replayed(made_, tmp_path))} == {"r--p"}


def test_what_is_taken_away_does_not_hurt_the_neighbour(tmp_path):
    made_ = made().mmap(ARENA, 40 * PAGE).fault(ARENA + 16 * PAGE).fault(ARENA + 32 * PAGE)
    made_.call("mprotect", ARENA + 33 * PAGE, PAGE, 0).call("madvise", ARENA + 16 * PAGE, 17 * PAGE, MADV_DONTNEED)
    process = replayed(made_.fault(ARENA + 34 * PAGE), tmp_path)
    assert areas(process) == [(0, 3 * K64, "rw-p")] and process.counts()["rss_anon"] == 1


@pytest.mark.parametrize("to", [ARENA + 16 * K64 + 3 * PAGE, ARENA - 7 * PAGE, ARENA])
def test_mremap(to, tmp_path):
    """Moved away, moved so that old and new place share a granule, grown where it is."""
    made_ = made().mmap(ARENA, 17 * PAGE).fault(ARENA).fault(ARENA + 16 * PAGE)
    made_.call("mremap", ARENA, 17 * PAGE, 7 * PAGE if to < ARENA else 40 * PAGE, 1, 0, ret=to)
    process = replayed(made_.fault(to).fault(to + 6 * PAGE), tmp_path)
    start, end = areas(process)[0][0], areas(process)[-1][1]
    assert start <= to - ARENA and to + 7 * PAGE <= ARENA + end
    assert process.counts()["rss_anon"] <= 2


def test_a_heap_that_starts_within_a_granule(tmp_path):
    heap = ARENA + 3 * PAGE
    made_ = made().call("brk", 0, ret=heap).call("brk", heap + 40 * PAGE, ret=heap + 40 * PAGE)
    process = replayed(made_.fault(heap).fault(heap + 39 * PAGE), tmp_path)
    assert process.counts()["rss_anon"] == 2


def test_a_real_program(tmp_path):
    """Fewer faults, more memory; nothing is refused."""
    runner, rows = CliRunner(), {}
    for size in ("4K", "16K", "64K"):
        args = ["replay", str(DATA / "redis-never.trace.jsonl.xz"), "--arch", "arm64", "--page-size", size]
        out = runner.invoke(main, args)
        assert out.exit_code == 0, out.output
        assert "refused" not in out.output and "another result" not in out.output
        rows[size] = int(out.output.split(" events, ")[1].split()[0].replace(",", ""))
    assert rows["64K"] < rows["16K"] / 2 < rows["4K"] / 4


@pytest.mark.parametrize("options, reason", [
    (["--page-size", "64K"], "page_size 65536: valid for x86_64 are 4K"),
    (["--arch", "arm64", "--page-size", "2K"], "page_size '2K': the trace has pages of 4K"),
    (["--arch", "arm64", "--page-size", "much"], "size 'much'"),
    (["--arch", "arm64", "--page-size", "16K", "--against", str(DATA / "pipe-never.truth.json.xz")], "--against")])
def test_what_cannot_be(options, reason):
    out = CliRunner().invoke(main, ["replay", str(DATA / "pipe-never.trace.jsonl.xz"), *options])
    assert out.exit_code == 1 and reason in out.output and len(out.output.strip().splitlines()) == 1


def test_a_sweep_over_page_sizes(tmp_path):
    args = ["--arch", "arm64", "--sweep", "page_size=4K,64K", "--out", str(tmp_path)]
    out = CliRunner().invoke(main, ["replay", str(DATA / "pipe-never.trace.jsonl.xz"), *args])
    assert out.exit_code == 0, out.output
    assert [json.loads((tmp_path / f"run-0{at}.json").read_text())["label"] for at in (0, 1)] == ["page_size=4K",
                                                                                              "page_size=64K"]
