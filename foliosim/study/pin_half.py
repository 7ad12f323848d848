"""The study pin-half-then-unmap: the half of a THP that nobody pins or maps any more; can it be had?

D. Hildenbrand's case of July 2023 against any promise to split at a pin: the whole is pinned for long, the first half
is pinned once more, the first pin is dropped, and the second half is unmapped.  Meanwhile others may hold short-term
references on the first page of each folio.  Then memory becomes scarce: the references are dropped and the shrinker of
the deferred split queue looks at all of it, first while the first half is pinned, then when it no longer is.
"""
from functools import partial

from foliosim.errors import SyscallError
from foliosim.policy import POINTS
from foliosim.study import plot
from foliosim.study.base import Key, Outcome, Study, int_value, size_text
from foliosim.study.scene import Scene, check_folio, folio_key
from foliosim.study.words import counted, labels

KEYS = {
    "size": folio_key(),
    "extra_refs": Key("0", int_value(0, 64), "0 to 64: references that others hold on each folio from before the first"
                      " pin until memory becomes scarce"),
}

COLUMNS = {
    "pinned_bytes": "pinned",
    "stranded_bytes": "stranded",
    "pressure_stranded_bytes": "under\npressure",
    "unpinned_stranded_bytes": "when no\nlonger pinned",
    "pin_overshoot": "pin_\novershoot",
    "used_bytes": "memory\nused",
    "refused": "calls\nrefused",
    "splits.ok": "splits\nok",
    "splits.failed": "splits\nfailed",
    "deferred.partial": "queued as\npartial",
    "cow_bytes": "bytes\ncopied",
}


def cases(values):
    """The parameters of each block of runs."""
    check_folio(values, "size")
    return [values]


def run(parameters, policy, seed):
    """One policy in one case."""
    size = parameters["size"]
    half = size // 2
    scene = Scene(parameters, policy, folio=size)
    process = scene.spawn()
    addr = scene.filled(process, size)
    scene.begin()
    folios = range(addr, addr + size, min(size, scene.block))
    extra = [process.get_user_pages(at, scene.page) for at in folios for _ in range(parameters["extra_refs"])]
    whole = _allowed(process.pin_user_pages, addr, size, longterm=True, write=True)
    first_half = _allowed(process.pin_user_pages, addr, half, longterm=True, write=True)
    _release([whole])
    unmapped = _allowed(process.munmap, addr + half, size - half)
    pinned = first_half.nbytes if first_half else 0
    now = scene.metrics(pinned_bytes=pinned, refused=(whole, first_half, unmapped).count(None))
    used, stranded = now["used_bytes"], now["stranded_bytes"]
    later = [_pressure(scene, held) for held in (extra, [first_half])]
    return Outcome({**now, "freed_bytes": size - used, "mapped_only_bytes": used - pinned - stranded,
                    "pressure_stranded_bytes": later[0], "unpinned_stranded_bytes": later[1]})


def _allowed(call, *arguments, **keywords):
    # What a call gives (True for nothing), or None if it is refused.
    try:
        return call(*arguments, **keywords) or True
    except SyscallError:
        return None


def _release(held):
    for reference in held:
        if reference is not None:
            reference.release()


def _pressure(scene, dropped):
    # What is still stranded when some references are dropped and the shrinker has looked at the whole queue.
    _release(dropped)
    scene.machine.shrink_deferred()
    return scene.metrics()["stranded_bytes"]


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    size = first.parameters["size"]
    refused = [run for run in runs if run.metrics["refused"]]
    granted = [run for run in runs if not run.metrics["refused"]]
    freed = [run for run in granted if not run.metrics["stranded_bytes"]]
    instead = f"; {labels(refused)} {'refuses' if len(refused) == 1 else 'refuse'} a call instead" if refused else ""
    out = [f"{size_text(size // 2)} of {size_text(size)} is unmapped while the rest is pinned: {first.label} frees "
           f"{size_text(first.metrics['freed_bytes'])} and keeps {size_text(first.metrics['stranded_bytes'])} that "
           f"nobody can use{instead}."]
    if not granted:
        return " ".join(out)
    out.append(_verdict(granted, freed))
    kept = sum(run.metrics["pressure_stranded_bytes"] > 0 for run in granted)
    late = sum(run.metrics["unpinned_stranded_bytes"] == 0 for run in granted)
    out.append(f"Under pressure {kept} of {len(granted)} still keep it; once the pin is dropped {late} of "
               f"{len(granted)} have freed it.")
    return " ".join(out)


def _verdict(granted, freed):
    if not freed:
        return f"Of {counted(len(granted), 'policy that grants', 'policies that grant')} all calls none frees the" \
               " unmapped half at once: neither a split at the pin, nor one at the unmap, can be promised."
    return f"Of {counted(len(granted), 'policy that grants', 'policies that grant')} all calls {len(freed)} " \
           f"{'leaves' if len(freed) == 1 else 'leave'} nothing stranded."


_STACK = {"pinned_bytes": "pinned", "mapped_only_bytes": "mapped, not pinned",
          "stranded_bytes": "stranded: nobody maps or holds it", "freed_bytes": "free"}

STUDY = Study(
    name="pin-half-then-unmap",
    question="Half of a THP is pinned for long, the other half is unmapped: can any policy give that memory back?",
    keys=KEYS,
    points={
        "pin_long": POINTS["pin_long"].names,
        "partial_unmap": ("defer", "split_now", "free_part_only"),
        "vma_split": ("keep", "split_try", "split_try_defer", "split_nonuniform", "copy_out", "fail"),
    },
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, title="First half pinned, second half unmapped: what becomes of the memory?", panels=[
        plot.Panel("right after the unmap", _STACK, (plot.GOOD, plot.STACK[4], plot.BAD, plot.PALE)),
        plot.Panel("stranded under pressure", "pressure_stranded_bytes", (plot.BAD,)),
        plot.Panel("stranded when no longer pinned", "unpinned_stranded_bytes", (plot.BAD,)),
        plot.Panel("calls refused", "refused")]),
)
