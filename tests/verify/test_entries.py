"""Real leaf entries of two architectures, bit for bit, and the rules in which kernel releases differ."""
from pathlib import Path

import pytest

import foliosim as fs
from foliosim import kernels
from foliosim.verify import recording, runner

RECORDINGS = Path(__file__).parent.parent / "recordings_entries"
ARCHES = ["x86_64", "arm64"]


@pytest.mark.parametrize("arch", ARCHES)
def test_every_entry_is_as_recorded(arch):
    path = RECORDINGS / f"{arch}.jsonl.gz"
    assert all("entries" in entry["state"]["procs"]["p0"] for s in recording.read(path) for entry in s.expect[:1])
    summary = runner.run([path], runner.Job(validate=True), jobs=runner.default_jobs())
    assert summary.total.scenarios == 36
    assert [(o.id, o.error or o.unsupported or o.mismatched) for o in summary.failed] == []


def entries(kernel, calls):
    m = fs.Machine(memory="64M", kernel=kernel)
    p = m.spawn()
    a = p.mmap(4 << 20)
    a = (a + (2 << 20) - 1) & -(2 << 20)
    p.madvise(a, 2 << 20, fs.MADV_HUGEPAGE)
    calls(p, a)
    m.validate()
    return m.observe({"p0": p}, a, a + (2 << 20), entries=True)["procs"]["p0"]


def write_protect(p, a):
    p.touch(a, 2 << 20, write=True)
    p.mprotect(a, 2 << 20, fs.PROT_READ)


def test_a_dirty_pmd_stays_dirty_at_mprotect_since_a_release():
    assert entries("6.18.15", write_protect)["entries"][0][3] == "0x80000000000000a5"
    assert entries("6.18.44", write_protect)["entries"][0][3] == "0x84000000000000a5"


def test_guard_regions_are_flagged_since_a_release():
    def guard(p, a):
        p.madvise(a, 1 << 20, fs.MADV_GUARD_INSTALL)

    assert "gu" not in entries("6.18.15", guard)["vmas"][0]["flags"]
    assert "gu" in entries("6.18.44", guard)["vmas"][0]["flags"]
    assert entries("6.18", guard) == entries("6.18.44", guard)


@pytest.mark.parametrize("wrong, named", [
    ({"kernel": "2.4.0"}, "2.4.0"), ({"kernel": None}, "None"),
])
def test_an_unknown_kernel_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        fs.Machine(memory="64M", **wrong)


def test_a_rule_that_an_architecture_cannot_have_is_refused():
    with pytest.raises(ValueError, match="CONFIG_MEM_SOFT_DIRTY"):
        kernels.rules("6.18.15", "arm64", {"soft_dirty": True})


def test_every_kernel_names_known_rules():
    assert all(rules <= kernels.RULES.keys() for rules in kernels.KERNELS.values())
    assert set(kernels.ALIASES.values()) <= kernels.KERNELS.keys()
