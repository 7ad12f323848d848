"""The study io-ring-buffers: a program registers the buffers of its heap with an io_uring, and frees the rest.

The heap is written, then the buffers are registered one after the other until the limit refuses one.  Buffer i begins
``unaligned`` bytes behind the start of its first page; the next one begins where this one would end if it were whole
pages.  Then all pages of the heap are freed with MADV_DONTNEED that no registered buffer touches, and in the end
buffers are unregistered.
"""
from functools import partial

import foliosim as fs
from foliosim.policy import POINTS
from foliosim.study import plot
from foliosim.study.base import Key, Outcome, RefusedValue, Study, choice_value, int_value, size_text, size_value
from foliosim.study.scene import Scene
from foliosim.study.words import agree, counted, extremes, labels

_MOST = 1 << 14  # of one ring
_LONGEST = 1 << 30  # of one buffer


def _memlock(text):
    return text if text == "none" else size_value(0, 1 << 40)(text)


KEYS = {
    "buffers": Key("256", int_value(1, _MOST), f"1 to {_MOST}"),
    "buffer_size": Key("64K", size_value(1, _LONGEST), "1 to 1G bytes"),
    "unaligned": Key("512", size_value(0, 1 << 16), "0 to 4095 (below the page size): bytes from a page's start to a"
                     " buffer's"),
    "memlock": Key("8M", _memlock, "none, or bytes: RLIMIT_MEMLOCK"),
    "heap": Key("thp", choice_value("thp", "small"), "thp, small: folios of the heap"),
    "unregister": Key("first", choice_value("first", "last", "all"), "first, last, all: buffers that are unregistered"
                      " in the end"),
}

COLUMNS = {
    "registered_buffers": "buffers\nregistered",
    "acct.memlock": "charged",
    "true.memlock": "pinned",
    "pin_overshoot": "held beside\nthat",
    "after.memlock_bytes": "unregistered:\ncharged",
    "after.pinned_bytes": "\npinned",
    "after.undercharged_bytes": "too\nlittle",
    "after.overcharged_bytes": "too\nmuch",
    "splits.ok": "splits",
    "tlb_entries.plain": "TLB\nentries",
}


def cases(values):
    """The parameters of each block of runs."""
    if values["unaligned"] >= values["page_size"]:
        raise RefusedValue("unaligned", f"0 to {values['page_size'] - 1}")
    if values["buffers"] * values["buffer_size"] > 16 << 30:
        raise RefusedValue("buffers", f"1 to {(16 << 30) // values['buffer_size']} (with buffer_size="
                           f"{size_text(values['buffer_size'])})")
    return [values]


def run(parameters, policy, seed):
    """One policy in one case."""
    scene = Scene(parameters, policy)
    process, page, size = scene.spawn(), scene.page, parameters["buffer_size"]
    step = -(-size // page) * page
    length = parameters["buffers"] * step + (page if parameters["unaligned"] else 0)
    length = -(-length // scene.block) * scene.block
    heap = scene.filled(process, length, huge=parameters["heap"] == "thp")
    first = heap + parameters["unaligned"]
    scene.begin()
    memlock = None if parameters["memlock"] == "none" else parameters["memlock"]
    ring = process.register_buffers([None] * parameters["buffers"], memlock=memlock)
    registered = _register(ring, [(first + i * step, size) for i in range(parameters["buffers"])])
    used = -(-(first + (registered - 1) * step + size) // page) * page - heap if registered else 0
    if length > used:
        process.madvise(heap + used, length - used, fs.MADV_DONTNEED)
    then = scene.metrics(registered_buffers=registered)
    _unregister(ring, registered, parameters["unregister"])
    return Outcome({**then, **_after(scene)})


def _register(ring, spans):
    # How many fit.
    for i, (addr, size) in enumerate(spans):
        try:
            ring.update(i, addr, size)
        except fs.SyscallError:
            return i
    return len(spans)


def _unregister(ring, registered, which):
    if which == "all":
        ring.unregister()
    elif registered:
        ring.unregister(0 if which == "first" else registered - 1)


def _after(scene):
    scene.machine.validate()
    now = scene.machine.ledger()
    charged, pinned = now["acct.memlock"], now["true.memlock"]
    return {"after.memlock_bytes": charged, "after.pinned_bytes": pinned,
            "after.pin_overshoot_bytes": now["pin_overshoot"],
            "after.undercharged_bytes": max(pinned - charged, 0), "after.overcharged_bytes": max(charged - pinned, 0)}


def conclude(runs):
    """Two or three sentences from the numbers."""
    first = runs[0]
    values, got = first.parameters, first.metrics
    limit = "no limit" if values["memlock"] == "none" else f"a limit of {size_text(values['memlock'])}"
    out = [f"Of {counted(values['buffers'], 'buffer')} of {size_text(values['buffer_size'])} {first.label} registers "
           f"{got['registered_buffers']:,} with {limit}: {size_text(got['acct.memlock'])} charged for "
           f"{size_text(got['true.memlock'])} pinned, and {size_text(got['pin_overshoot'])} more held with them."]
    same = [run for run in runs if run.parameters == values]
    few, least = extremes(same, "registered_buffers")
    if least < got["registered_buffers"]:
        out.append(f"{labels(few)} {agree([run.label for run in few], 'registers', 'register')} {least:,}.")
    which = {"first": "the first buffer is", "last": "the last buffer is", "all": "all buffers are"}
    when = f"Once {which[values['unregister']]} unregistered"
    under = [run for run in same if run.metrics["after.undercharged_bytes"]]
    if under:
        worst, bytes_ = extremes(under, "after.undercharged_bytes", max)
        out.append(f"{when}, {labels(worst)} {agree([run.label for run in worst], 'has', 'have')} "
                   f"{size_text(bytes_)} pinned that nobody is charged for.")
    else:
        out.append(f"{when}, everything that is pinned is charged for.")
    return " ".join(out)


STUDY = Study(
    name="io-ring-buffers",
    question="How many buffers of a heap can be registered within RLIMIT_MEMLOCK, and is the charge what is pinned?",
    keys=KEYS,
    points={"pin_account": POINTS["pin_account"].names, "pin_long": ("split_try", "move_out")},
    columns=COLUMNS,
    cases=cases,
    run=run,
    conclude=conclude,
    picture=partial(plot.picture, title="Buffers of a heap are registered: how many fit, and is the charge right?",
                    panels=[plot.Panel("buffers registered", "registered_buffers"),
                            plot.Panel("held, though not pinned", "pin_overshoot"),
                            plot.Panel("unregistered: pinned, not charged", "after.undercharged_bytes"),
                            plot.Panel("unregistered: charged, not pinned", "after.overcharged_bytes")]),
)
