"""The order of modules, and the style that a machine can check.  A module may use only what stands before it."""
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "foliosim"
CORE = "foliosim._core."

# One line per layer, lowest first; within a line a module may use names to its left.
LAYERS = [
    # L0: numbers, structs, per-entry inlines
    "debug numbers flags answers types interrupt arch.x86_64 arch.arm64 page linux_rules policy pgtable page_run"
    " contpte pte_ops stat arch.x86_64_walk arch.arm64_walk",
    # L1: services
    "fault_inject page_alloc pgalloc memcontrol content maple_tree held deferred_split folio frame_ids",
    # L2: objects and their rules
    "age swap swapfile swap_state mlock anon_vma mapping mapcount rmap folio_referenced ledger",
    # L3: operations on mappings
    "shmem ext4 readahead filemap huge_memory pfnmap zap_run zap copy_pages try_to_unmap split_folio partial_unmap"
    " vma_split shrinker"
    " truncate page_writeback swap_fault vmscan memory guard"
    " fork change_prot mremap_tables mlock_range madvise_cold madvise_free expand_stack fault gup_policy gup_fast gup"
    " collapse collapse_pages collapse_file collapse_quadruple collapse_best_fit",
    # L4: the address space
    "vma unmapped_area",
    # L5: system calls, what /proc shows, the audit
    "file_ops mprotect khugepaged ksm madvise dontfork mlock_syscall mmap brk mremap mseal kpage task_mmu walk observe"
    " counters tally validate_frames validate_vma validate_mm validate_swap validate corrupt truth snapshot ends",
]
# The border and the trampolines that call Python know each other: a hook's exception is kept on the machine.
BORDER = {"turn", "frames", "signals", "machine", "hooks", "file_handle", "procfs", "binfmt", "touch", "pressure",
          "trouble", "audit", "frame_memory", "branch", "restore", "rsrc", "image"}
PYTHON = [
    "errors flags sizes cores kernels plain whole costs policy.points policy.choose policy",
    "BORDER",
    "procfs.maps procfs.smaps procfs.status procfs.pagemap procfs.kpage procfs.vmstat procfs.sysfs_thp procfs.tree"
    " procfs",
    "show.scene show.style show.inline show",
    "tables views file gup io_uring process inject ledger branch saved dump.registers dump.physical dump machine",
    "foliosim",
    "progress",
    "verify verify.numbers verify.leaves verify.compare verify.words verify.recording verify.engine verify.replay"
    " verify.report verify.runner verify.command",
    "live live.errors live.build live.runs live.settings live.counters live.facts live.puppet live.observe"
    " live.recorder live.layout live.themes live.odd live.generate live.emulator live.shrink live.fuzz live.command",
    "calibrate.cases calibrate.fit calibrate calibrate.kernel calibrate.command",
    "study.base study.choose study.sweep study.report study.result study study.words study.scene study.plot"
    " study.half_mlock_plot study.resident study.half_mlock study.half_mprotect"
    " study.thresholds study.sizes study.histogram study.allocator_holes study.sparse_touch study.thread_stacks_plot"
    " study.thread_stacks study.creep_plot study.creep study.zero_histogram study.io_ring_buffers"
    " study.bgsave study.pin_half study.rdma_fork study.batch_ops study.three_processes study.edge_fit study.command",
    "replay.scan replay.events replay.reader replay.again replay.truth replay.descriptors replay.files replay.memory replay.granule"
    " replay.program replay.calls replay.engine"
    " replay.compare replay.series replay.run replay replay.runfile replay.setting replay.chart replay.side_by_side"
    " replay.whatif replay.saving replay.command",
    "schedule.player schedule.program schedule.run schedule.search schedule schedule.command",
    "attach attach.proc attach.areas attach.anon attach.swapped attach.build attach.certain attach.ask attach.command",
    "intake intake.lines intake.events intake.perf intake.words intake.strace intake.write intake.text intake.command"
    " intake.hold intake.observe intake.record",
    "policy.command",
    "bench bench.split bench.plot bench.command",
    "testing testing.oracle testing.available testing.shapes testing.strategies testing.stateful testing.trouble testing.pytest_plugin",
    "testing.judge testing.judge.answers testing.judge.engine testing.judge.unicorn_x86_64 testing.judge.unicorn_arm64"
    " testing.judge.volatility testing.judge.machines testing.judge.addresses testing.judge.entries"
    " testing.judge.verdict testing.judge.trial testing.judge.with_unicorn testing.judge.with_volatility"
    " testing.judge.run testing.judge.__main__",
    "testing.leaks testing.soak testing.calls testing.fuzz testing.same",
    "show.png show.html show.command",
    "dump.command",
    "cli __main__",
]
HARD_STOP, LINE = 800, 120
SOURCES = sorted(path for pattern in ("*.py", "*.pyx", "*.pxd") for path in ROOT.rglob(pattern))


def _places():
    places = {CORE + name: i for i, name in enumerate(" ".join(LAYERS).split())}
    top = len(places)
    for name in " ".join(PYTHON).split():
        top += 1
        if name == "BORDER":
            places.update({CORE + border: top for border in BORDER})
        else:
            places["foliosim" if name == "foliosim" else f"foliosim.{name}"] = top
    for python in ("errors", "flags", "sizes"):  # the core raises these; they import nothing of it
        places[f"foliosim.{python}"] = -1
    return places


PLACES = _places()


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name):
    return name in PLACES


def targets(module, names):
    """Modules that ``from module import names`` uses."""
    inner = [f"{module}.{name}" for name in names if is_module(f"{module}.{name}")]
    return inner or [module]


def cython_imports(text):
    text = re.sub(r"\(([^()]*)\)", lambda match: "(" + match[1].replace("\n", " ") + ")", text)
    for module, names in re.findall(r"^\s*from\s+([\w.]+)\s+c?import\s+(.+)$", text, re.MULTILINE):
        yield from targets(module, re.findall(r"\w+", names))
    yield from re.findall(r"^\s*c?import\s+([\w.]+)", text, re.MULTILINE)


def python_imports(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from targets(node.module, [alias.name for alias in node.names])


def imports(path):
    read = python_imports if path.suffix == ".py" else cython_imports
    return sorted({name for name in read(path.read_text()) if name.partition(".")[0] == "foliosim"})


def arrows_up(module, used):
    """Those of the used modules that do not stand before the module."""
    allowed = {CORE + name for name in BORDER} if module in {CORE + name for name in BORDER} else set()
    return [name for name in used if name != module and name not in allowed and PLACES[name] >= PLACES[module]]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path):
    module, used = module_of(path), imports(path)
    if not path.read_text().strip():
        return
    assert is_module(module), f"{module} has no place in the order"
    unknown = [name for name in used if not is_module(name)]
    assert not unknown, f"{module} uses modules that have no place in the order: {unknown}"
    assert not arrows_up(module, used), f"{module} uses modules that stand above it"


def test_an_arrow_up_is_seen():
    text = "from foliosim._core.page cimport *\nfrom foliosim._core.vma cimport (split_vma,\n    merge_vma)\n"
    assert sorted(cython_imports(text)) == [CORE + "page", CORE + "vma"]
    assert arrows_up(CORE + "rmap", cython_imports(text)) == [CORE + "vma"]
    assert arrows_up("foliosim.verify", python_imports("from foliosim.study import base")) == ["foliosim.study.base"]


def test_every_place_is_a_file():
    modules = {module_of(path) for path in SOURCES}
    assert set(PLACES) <= modules


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= HARD_STOP
    assert [number for number, line in enumerate(lines, 1) if len(line) > LINE] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".pyx" or path.suffix == ".py"],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_holds(path):
    text = path.read_text()
    if not text.strip():
        return
    body = re.sub(r"\A(#.*\n)+", "", text)
    assert body.startswith('"""')
