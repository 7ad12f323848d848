"""Unicorn as judge: rights, faults and their codes, accessed and dirty bits."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from foliosim.testing.judge.answers import ACCESSES, USER, WRITE
from foliosim.testing.judge.entries import Tables, kinds
from foliosim.testing.judge.unicorn_arm64 import UnicornArm64
from foliosim.testing.judge.unicorn_x86_64 import UnicornX86

CHANGED, LEAVES = 0.05, 6  # where tables are changed at random: share of the entries; leaves put in for each process


@dataclass(frozen=True)
class _Judge:
    """What Unicorn has of an architecture.

    Attributes
    ----------
    engine : callable
        Makes the judge of an image and a `Processor`.
    lacks : frozenset of str
        What it cannot switch on.
    pa_bits : int
        Bits of its physical addresses.
    reason : str
        Both in words.
    toggles : tuple of str
        What it may switch on or not.
    cannot : callable
        Given tables and the entries that walks end at, which of them it takes for something else, by reason.
    """

    engine: Callable
    lacks: frozenset
    pa_bits: int
    reason: str
    toggles: tuple
    cannot: Callable = lambda tables, entry, level: {}


def _odd_blocks(tables, entry, level):
    """Block descriptors that no kernel writes, and QEMU does not look at closely."""
    block = (level > 0) & (entry & np.uint64(3) == np.uint64(1))
    allowed = (level == 1) | ((level == 2) & (tables.shift == 12))
    below = (np.uint64(1) << tables.level_shift(level).astype(np.uint64)) - np.uint64(1 << 12)
    return {"blocks at a level that has none": block & ~allowed,
            "blocks with address bits below their size": block & allowed & (entry & below != 0)}


JUDGES = {
    "x86_64": _Judge(UnicornX86, frozenset(), 40, "physical addresses of more than 40 bits",
                     ("nxe", "wp", "smep", "smap", "ac")),
    "arm64": _Judge(UnicornArm64, frozenset({"ha", "hd"}), 48,
                    "accessed and dirty states that the processor sets itself", ("pan", "wxn"), _odd_blocks),
}


def as_written(trial, verdict, n):
    """Let it walk the tables as Linux wrote them.

    Parameters
    ----------
    trial : Trial
    verdict : Verdict
    n : int
        Addresses.
    """
    image = trial.dump.image()
    for process, processor, tables, addrs in trial.spaces(image, n):
        addrs = _decidable(trial, verdict, tables, addrs)
        _ask(trial, verdict, image, processor, addrs, partial(trial.walk, process))
    verdict.machines += 1


def changed(trial, verdict, n):
    """Let it walk tables in which random bits were changed, with processor flags that Linux does not use."""
    image = trial.dump.image()
    new = _change(trial, image)
    for _, processor, tables, addrs in trial.spaces(image, n, new):
        addrs = _decidable(trial, verdict, tables, addrs)
        on = frozenset(name for name in JUDGES[trial.dump.arch].toggles if trial.rng.random() < 0.6)
        _ask(trial, verdict, image, replace(processor, on=on), addrs, partial(trial.walk_in, image))
    verdict.machines += 1


def _decidable(trial, verdict, tables, addrs):
    """Count the addresses; those of them that can be asked about."""
    entry, level, _ = tables.entries_at(addrs)
    verdict.count(addrs, kinds(trial.dump.arch, entry, level))
    keep = np.ones(len(addrs), bool)
    for reason, which in JUDGES[trial.dump.arch].cannot(tables, entry, level).items():
        verdict.undecided[reason] += int(which.sum()) * len(ACCESSES)
        keep &= ~which
    return addrs[keep]


def _ask(trial, verdict, image, processor, addrs, walk):
    """Compare with `walk` by a processor as the judge has it; count where that differs from the one that Linux has."""
    judge = JUDGES[trial.dump.arch]
    engine = judge.engine(image, processor)
    able = replace(processor, on=processor.on - judge.lacks, pa_bits=min(processor.pa_bits, judge.pa_bits))
    for name, access in ACCESSES.items():
        ours, comparable = (walk(one, addrs, access) for one in (processor, able))
        verdict.compare(f"{trial}, {name}", addrs, comparable, engine.ask(addrs, access))
        verdict.undecided[judge.reason] += int((ours != comparable).sum())


def _change(trial, image):
    """Flip up to three bits in some entries, none that leads to memory that could be there but is not; put large leaves
    in; the new entries."""
    dump, rng = trial.dump, trial.rng
    flat, words, per_table = dump.tables.reshape(-1), image.view(np.uint64), dump.tables.shape[1]
    at = np.flatnonzero(flat)
    at = rng.choice(at, max(1, int(len(at) * CHANGED)), replace=False)
    beyond = range(dump.memory.bit_length() - 1, JUDGES[dump.arch].pa_bits)
    bits = np.array([bit for bit in range(64) if bit not in beyond], np.uint64)
    flips = np.zeros(len(at), np.uint64)
    for _ in range(3):
        flips ^= np.where(rng.random(len(at)) < 0.6, np.uint64(1) << rng.choice(bits, len(at)), np.uint64(0))
    words[dump.frames[at // per_table] * np.uint64(per_table) + (at % per_table).astype(np.uint64)] ^= flips
    new = (flat[at] ^ flips).tolist()
    for process, processor in trial.processors.items():
        new += _put_leaves(trial, Tables(dump, image, processor.root), process.maps()["start"])
    return new


def _put_leaves(trial, tables, starts):
    """Large leaves at some addresses, with the bits of leaves that are there, or of none; the new entries."""
    new, rng, x86, page = [], trial.rng, trial.dump.arch == "x86_64", 1 << tables.shift
    _, entries, level = tables.used_entries()
    bits = np.append(entries[level == 1], np.uint64(0x87 if x86 else 0x741))
    for addr in rng.choice(starts, LEAVES):
        at = int(rng.integers(1, 3 if page == 4096 else 2))
        place, size = tables.place_of(int(addr), at), 1 << tables.level_shift(at)
        if place is not None and size < trial.dump.memory:
            frame = int(rng.integers(0, trial.dump.memory // size)) * size
            entry = int(rng.choice(bits)) & ~(0x000fffffffffe000 if x86 else 0x0000fffffffff000)
            tables.words[place >> 3] = np.uint64(entry | frame)
            new.append(entry | frame)
    return new


def used(trial, verdict, n):
    """Let it access what can be accessed: the accessed and dirty bits of all tables must come out alike (x86-64)."""
    ours, theirs = trial.dump.image(), trial.dump.image()
    for process, processor, _, addrs in trial.spaces(trial.dump.image(), n):
        engine = UnicornX86(theirs, processor)
        for access in (USER, USER | WRITE):
            good = addrs[process.walk_array(addrs, access)["error"] == 0]
            good = good[:len(good) // 2]  # the others stay as they are
            answers = engine.ask(good, access)
            walked = trial.walk_in(ours, processor, good, access, set_accessed=True)
            verdict.compare(f"{trial}, use", good, walked, answers)
            verdict.addresses += len(good)
    frames, shape = trial.dump.frames, (-1, trial.dump.tables.shape[1])
    verdict.compare_entries(f"{trial}, use", frames, *(image.view(np.uint64).reshape(shape)[frames]
                                                       for image in (ours, theirs)))
    verdict.machines += 1
