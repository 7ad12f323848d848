"""The study half-mprotect-after-fork: a THP is shared by fork, each child protects half of it, the parent writes.

The children protect the upper half read-only.  Then, by ``child_exits``:

before
    the children exit, then the parent writes a share ``parent_writes`` of its pages;
after
    the parent writes that share, the children exit, and the parent writes the rest;
never
    the parent writes that share.
"""
from functools import partial

import foliosim as fs
from foliosim.policy import POINTS
from foliosim.study import plot
from foliosim.study.base import Key, Study, choice_value, int_value, share_value, size_text
from foliosim.study.scene import Scene, check_folio, folio_key
from foliosim.study.words import agree, counted, extremes, labels, listed, percent

_ALL = "0..1"
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def _writes(text):
    return text if text == _ALL else share_value(text)


KEYS = {
    "size": folio_key(),
    "parent_writes": Key(_ALL, _writes, f"a number from 0 to 1, or {_ALL} ({', '.join(f'{one:g}' for one in _SHARES)}):"
                         " share of the pages that the parent writes"),
    "child_exits": Key("after", choice_value("before", "after", "never"),
                       "before (the parent writes), after (it has written its share; then it writes the rest), never"),
    "children": Key("1", int_value(1, 64), "1 to 64"),
}

COLUMNS = {
    "cow_bytes": "bytes\ncopied",
    "cow_bytes.parent": "by the\nparent",
    "cow_bytes.syscall": "by\nmprotect",
    "parent_faults": "faults of\nthe parent",
    "peak_bytes": "peak\nmemory",
    "used_bytes": "memory\nat the end",
    "stranded_bytes": "stranded",
    "parent_tlb_entries": "TLB entries\nof the parent",
    "splits.ok": "splits\nok",
}


def cases(values):
    """The parameters of each block of runs."""
    check_folio(values, "size")
    shares = _SHARES if values["parent_writes"] == _ALL else (values["parent_writes"],)
    return [{**values, "parent_writes": share} for share in shares]


def run(parameters, policy, seed):
    """One policy in one case."""
    size = parameters["size"]
    scene = Scene(parameters, policy, folio=size)
    parent = scene.spawn()
    addr = scene.filled(parent, size)
    children = [parent.fork() for _ in range(parameters["children"])]
    scene.begin()
    for child in children:
        child.mprotect(addr + size // 2, size - size // 2, fs.PROT_READ)
    scene.look()
    faults = _parent_writes(scene, parent, children, addr, parameters)
    return scene.outcome(parent_faults=faults, parent_tlb_entries=scene.tlb_entries(parent, addr, size))


def _parent_writes(scene, parent, children, addr, parameters):
    # Faults that the parent takes.
    size, when = parameters["size"], parameters["child_exits"]
    share = round(parameters["parent_writes"] * (size // scene.page)) * scene.page
    faults = 0

    def write(start, end):
        before = scene.machine.vmstat()["pgfault"]
        scene.fill(parent, addr + start, end - start, value=2)
        scene.look()
        return scene.machine.vmstat()["pgfault"] - before

    if when == "before":
        _exit(children)
    faults += write(0, share)
    if when == "after":
        _exit(children)
        faults += write(share, size)
    return faults


def _exit(children):
    for child in children:
        child.exit()


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0].parameters
    size = size_text(first["size"])
    last = [run for run in runs if run.parameters == runs[-1].parameters]
    (least, value), (most, worst) = (extremes(last, "cow_bytes", best) for best in (min, max))
    others = "" if value == worst else f", {labels(most)} most ({size_text(worst)})"
    few, faults = extremes(last, "parent_faults")
    out = [f"Of {size}, {_when(runs[-1].parameters)}: {_who_copies(least)} least ({size_text(value)}){others}.",
           f"The parent takes {counted(faults, 'fault')} under {labels(few)}"
           + (f", and {counted(last[0].metrics['parent_faults'], 'fault')} under {last[0].label}." if last[0] not in few
              else ".")]
    out.append(_worth(runs))
    return " ".join(filter(None, out))


def _who_copies(runs):
    names = [run.label for run in runs]
    return f"{listed(names)} {agree(names, 'copies', 'copy')}"


def _when(parameters):
    share = percent(parameters["parent_writes"])
    exits = {"before": "the children having exited before", "after": "the rest once the children have exited",
             "never": "the children staying"}[parameters["child_exits"]]
    return f"the parent writing {share}, {exits}"


def _worth(runs):
    # From which share on does each other policy copy no more than the first?
    base = {_case(run): run.metrics["cow_bytes"] for run in runs if run.label == runs[0].label}
    parts = []
    for name in dict.fromkeys(run.label for run in runs[1:] if run.label != runs[0].label):
        shares = sorted({run.parameters["parent_writes"] for run in runs if run.label == name
                         and run.metrics["cow_bytes"] <= base[_case(run)]})
        every = {run.parameters["parent_writes"] for run in runs}
        if len(shares) == len(every):
            parts.append(f"{name} never copies more")
        elif shares:
            parts.append(f"{name} copies no more where the parent writes {listed([percent(one) for one in shares])}")
        else:
            parts.append(f"{name} always copies more")
    return f"Against {runs[0].label}: {'; '.join(parts)}." if parts else ""


def _case(run):
    return tuple(run.parameters.items())


STUDY = Study(
    name="half-mprotect-after-fork",
    question="A THP is shared by fork and the child protects half of it: split it, copy it at once, or page by page"
             " when the parent writes?",
    keys=KEYS,
    points={"fork_child_mprotect": POINTS["fork_child_mprotect"].names, "cow_order": ("inherit",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, over="parent_writes",
                    title="A child protects half of a THP shared by fork; then the parent writes: what does it cost?",
                    panels=[plot.Panel("bytes copied", "cow_bytes"), plot.Panel("peak memory", "peak_bytes"),
                            plot.Panel("faults of the parent", "parent_faults"),
                            plot.Panel("TLB entries of the parent", "parent_tlb_entries")]),
)
