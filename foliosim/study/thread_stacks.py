"""The study thread-stacks: stacks lie side by side; each has a few pages in use, and a guard that is protected.

The first stack begins at a 2 MiB boundary; ``stack_size``, guard included, says where the others lie.  The stacks'
pages are faulted in one by one: huge folios, if there are any, come from khugepaged, which looks at all of it once, by
``khugepaged``: before the guards are protected, after, or never.
"""
import foliosim as fs
from foliosim.flags import PM_PFRAME_MASK, PM_PRESENT
from foliosim.study import thread_stacks_plot
from foliosim.study.base import Key, RefusedValue, Study, choice_value, int_value, size_text, size_value
from foliosim.study.scene import Scene
from foliosim.study.words import counted, extremes, labels, spread

_ALL = "all"
_WHEN = ("before", "after", "never")
_YES = {"yes": 1, "no": 0}  # pages
_MAX = 1 << 30


def _guard(text):
    return text if text in _YES else size_value(0, _MAX)(text)


KEYS = {
    "stacks": Key("16", int_value(1, 4096), "1 to 4096"),
    "stack_size": Key("2M", size_value(1, _MAX), "a multiple of the page size up to 1G, guard included"),
    "touched_pages": Key("2", int_value(0, 1 << 18), "0 to what the stack has beside its guard: pages in use, from its"
                         " top"),
    "guard": Key("yes", _guard, "yes (one page), no, or bytes at the stack's end, a multiple of the page size"),
    "khugepaged": Key(_ALL, choice_value(*_WHEN, _ALL), f"{', '.join(_WHEN)} (it looks at the stacks before the guard"
                      f" is protected, after, or never), or {_ALL} of these"),
}

COLUMNS = {
    "rss_bytes": "resident",
    "in_use_bytes": "in pages\nin use",
    "folios.huge": "2 MiB\nfolios",
    "folios.small": "single\npages",
    "folios.other": "other\nsizes",
    "pmd_splits": "PMD\nsplits",
    "splits.ok": "folio\nsplits",
    "tlb_entries.plain": "TLB\nentries",
    "pt_bytes": "page\ntables",
}


def cases(values):
    """The parameters of each block of runs."""
    page, size = values["page_size"], values["stack_size"]
    guard = _YES.get(values["guard"], 0) * page if values["guard"] in _YES else values["guard"]
    if size % page:
        raise RefusedValue("stack_size", f"multiples of {size_text(page)}")
    if guard % page or guard >= size:
        raise RefusedValue("guard", f"yes, no, and multiples of {size_text(page)} below {size_text(size)}")
    if values["touched_pages"] * page > size - guard:
        raise RefusedValue("touched_pages", f"0 to {(size - guard) // page}, what is beside the guard in "
                           f"{size_text(size)}")
    when = _WHEN if values["khugepaged"] == _ALL else (values["khugepaged"],)
    return [{**values, "guard": guard, "khugepaged": one} for one in when]


def run(parameters, policy, seed):
    """One policy in one case."""
    scene = Scene(parameters, policy, thp="always")
    process, size, guard = scene.spawn(), parameters["stack_size"], parameters["guard"]
    used = parameters["touched_pages"] * scene.page
    area = scene.place(parameters["stacks"] * size)
    stacks = range(area, area + parameters["stacks"] * size, size)
    for stack in stacks:
        process.mmap(size, addr=stack, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED_NOREPLACE)
    process.prctl_thp_disable(1)  # no huge folio by a fault
    for stack in stacks:
        scene.fill(process, stack + size - used, used)
    process.prctl_thp_disable(0)
    scene.begin()
    if parameters["khugepaged"] == "before":
        scene.machine.khugepaged_scan(process)
    for stack in stacks:
        if guard:
            process.mprotect(stack, guard, fs.PROT_NONE)
    if parameters["khugepaged"] == "after":
        scene.machine.khugepaged_scan(process)
    spans = _blocks([(stack + size - used, stack + size) for stack in stacks], scene.block)
    return scene.outcome(in_use_bytes=parameters["stacks"] * used, **folios(scene, process, spans))


def _blocks(spans, block):
    # The blocks that ranges lie in, each once, as ranges.
    end = 0
    for start, stop in spans:
        start, stop = max(start // block * block, end), -(-stop // block) * block
        if start < stop:
            yield start, stop
        end = max(end, stop)


def folios(scene, process, spans):
    """Folios that a process maps in some ranges: ``folios.small`` (single pages), ``.huge``, ``.other``."""
    counts = dict.fromkeys(("small", "huge", "other"), 0)
    seen = set()
    for start, end in spans:
        words = process.pagemap(start, end - start)
        for pfn in (words[(words & PM_PRESENT) != 0] & PM_PFRAME_MASK).tolist():
            folio = None if pfn in seen else scene.machine.folio(pfn)
            if folio is not None:
                huge = folio.nr_pages * scene.page == scene.block
                counts["small" if folio.order == 0 else "huge" if huge else "other"] += 1
                seen.update(range(folio.pfn, folio.pfn + folio.nr_pages))
    return {f"folios.{name}": count for name, count in counts.items()}


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    values = first.parameters
    need = first.metrics["in_use_bytes"]
    out = [f"{counted(values['stacks'], 'stack')} of {size_text(values['stack_size'])} have {size_text(need)} in use."]
    base = [run for run in runs if run.label == first.label]
    parts = [f"{size_text(run.metrics['rss_bytes'])} {_when(run)}" for run in base]
    out.append(f"Under {first.label} they take {', '.join(parts)}.")
    worst = max(base, key=lambda run: run.metrics["rss_bytes"])
    better = [run for run in runs if run.parameters == worst.parameters
              and run.metrics["rss_bytes"] < worst.metrics["rss_bytes"]]
    if better:
        least, value = extremes(better, "rss_bytes")
        out.append(f"{_when(worst).capitalize()}, {labels(least)} {'need' if len(least) > 1 else 'needs'} "
                   f"{size_text(value)}, with {spread(least, 'splits.ok', str)} folios split.")
    elif len(runs) > len(base):
        out.append("No other policy that was run changes that.")
    return " ".join(out)


def _when(run):
    return {"before": "if khugepaged comes before the guards", "after": "if it comes after them",
            "never": "if it never comes"}[run.parameters["khugepaged"]]


STUDY = Study(
    name="thread-stacks",
    question="Thread stacks touch a few pages and protect a guard: what do they take if khugepaged comes before the"
             " guard, after it, or never?",
    keys=KEYS,
    points={"vma_split": ("split_try", "split_nonuniform", "defer_always", "copy_out"),
            "collapse_rule": ("quadruple_active",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=thread_stacks_plot.picture,
)
