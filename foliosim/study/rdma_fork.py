"""The study rdma-fork: part of a THP is registered with a device, the process forks, both write; who copies what?

The part is pinned for long and for writing, from the start of the range.  After fork the device writes nothing; the
parent writes every page, then the child does.  A device is right as long as the pages that it has are the parent's.
"""
from functools import partial

import numpy as np

import foliosim as fs
from foliosim.errors import MemoryFault
from foliosim.policy import POINTS
from foliosim.study import plot
from foliosim.study.base import Key, RefusedValue, Study, size_text, size_value
from foliosim.study.scene import Scene, check_folio, folio_key
from foliosim.study.words import agree, counted, extremes, labels, listed

KEYS = {
    "pinned": Key("4K", size_value(0, 1 << 30), "bytes from the start of the range, 0 up to size; whole pages are"
                  " pinned"),
    "size": folio_key(),
}

COLUMNS = {
    "pinned_bytes": "pinned",
    "cow_bytes.fork": "copied\nat fork",
    "cow_bytes.parent": "by the\nparent",
    "cow_bytes.child": "by the\nchild",
    "cow_bytes.needless": "of it\nneedless",
    "faults.cow": "copying\nfaults",
    "lost_bytes": "not in\nthe child",
    "stale_bytes": "device has\nwrong pages",
    "peak_bytes": "peak\nmemory",
    "pin_overshoot": "pin_\novershoot",
    "vmas": "VMAs",
}


def cases(values):
    """The parameters of each block of runs."""
    check_folio(values, "size")
    if values["pinned"] > values["size"]:
        raise RefusedValue("pinned", f"0 up to {size_text(values['size'])}")
    return [values]


def run(parameters, policy, seed):
    """One policy in one case."""
    size, pinned = parameters["size"], parameters["pinned"]
    scene = Scene(parameters, policy, folio=size)
    parent = scene.spawn()
    addr = scene.filled(parent, size)
    scene.begin()
    pin = parent.pin_user_pages(addr, pinned, longterm=True, write=True) if pinned else None
    child = parent.fork()
    scene.look()
    scene.fill(parent, addr, size, value=2)
    scene.look()
    lost = _write_what_is_there(scene, child, addr, size)
    frames = pin.page_frames if pin else []
    return scene.outcome(pinned_bytes=len(frames) * scene.page, lost_bytes=lost * scene.page,
                         stale_bytes=_stale(scene, parent, addr, frames) * scene.page,
                         vmas=len(parent.maps()))


def _write_what_is_there(scene, process, addr, size):
    # Pages that are not.
    lost = 0
    for at in range(addr, addr + size, scene.page):
        try:
            process.write(at, 1, value=3)
        except MemoryFault:
            lost += 1
    return lost


def _stale(scene, process, addr, frames):
    # Pinned pages that are not the process's any more.
    words = process.pagemap(addr, max(len(frames), 1) * scene.page)[:len(frames)]
    return int(((words & np.uint64(fs.PM_PFRAME_MASK)) != np.array(frames, dtype=np.uint64)).sum())


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    group = [run for run in runs if run.parameters == first.parameters]
    numbers = first.metrics
    what = f"With {size_text(numbers['pinned_bytes'])} of {size_text(first.parameters['size'])} registered"
    later = numbers["cow_bytes"] - numbers["cow_bytes.fork"]
    out = [f"{what}, {first.label} copies {size_text(numbers['cow_bytes.fork'])} at fork and "
           + (f"{size_text(later)} in {counted(numbers['faults.cow'], 'fault')} later." if later else "nothing later.")]
    out += _comparison(group)
    lost = [run for run in group if run.metrics["lost_bytes"]]
    stale = [run for run in group if run.metrics["stale_bytes"]]
    device = [f"has lost the parent's pages under {labels(stale)}" if stale else
              "keeps the parent's pages under every policy"]
    missing = [f"under {run.label} {size_text(run.metrics['lost_bytes'])} are missing in the child" for run in lost]
    out.append(f"The device {'; '.join(device + missing)}.")
    return " ".join(out)


def _comparison(group):
    # A sentence, if there is something to compare.
    (least, value), (most, worst) = (extremes(group, "cow_bytes", best) for best in (min, max))
    if value == worst:
        return []
    few, many = ([run.label for run in some] for some in (least, most))
    return [f"In all {listed(few)} {agree(few, 'copies', 'copy')} least ({size_text(value)}), {listed(many)} most "
            f"({size_text(worst)})."]


STUDY = Study(
    name="rdma-fork",
    question="Some pages of a THP are registered with a device when the process forks: what is copied, when, and does"
             " the device keep the right pages?",
    keys=KEYS,
    points={"fork_pinned": POINTS["fork_pinned"].names, "pin_long": ("split", "move_out"), "cow_order": ("inherit",)},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, title="Pages registered with a device, fork, both write: what is copied?", panels=[
        plot.Panel("bytes copied", {"cow_bytes.fork": "copied at fork", "cow_bytes.parent": "copied by the parent",
                                    "cow_bytes.child": "copied by the child"}),
        plot.Panel("copying faults", "faults.cow"), plot.Panel("peak memory", "peak_bytes"),
        plot.Panel("cannot move or split owing to the pin", "pin_overshoot")]),
)
