"""volatility3 as judge: it reads a dumped file, and says which pages are there and where."""
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import foliosim as fs
from foliosim.testing.judge.answers import ANSWER, BAD_ADDRESS, FAULT
from foliosim.testing.judge.entries import kinds
from foliosim.testing.judge.volatility import Volatility

# What it takes for something else: it leaves tables out whose entries are all alike, to be quick on Windows; it inverts
# bits of a huge page's frame that are no part of it; it does not look at the upper bits of an address.
EQUAL = "tables of 512 equal entries"
HUGE_NONE = "huge pages with PROT_NONE"
NO_ADDRESS = "addresses that are not canonical"
FIVE = "five-level tables"
DEVICE = "device memory, which pagemap leaves out"


def presence(trial, intel, linux, n):
    """Compare its Intel layer with the processor's walk without rights, and its Linux layer with pagemap.

    Parameters
    ----------
    trial : Trial
        Of an x86-64 machine.
    intel, linux : Verdict
        On each.
    n : int
        Addresses, for each layer.
    """
    dump = trial.dump
    if dump.va_bits != 48:
        for verdict in (intel, linux):
            verdict.undecided[FIVE] += n
        return
    equal = dump.frames[(dump.tables == dump.tables[:, :1]).all(axis=1) & (dump.tables[:, 0] != 0)] << np.uint64(12)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tables.lime"
        dump.save(path)
        for process, processor, tables, addrs in trial.spaces(dump.image(), n):
            walked = trial.walk(process, replace(processor, on=frozenset({"nxe", "wp"})), addrs, 0)
            entry, level, table = tables.entries_at(addrs)
            bad = walked["error"] == BAD_ADDRESS
            cannot = {NO_ADDRESS: bad, EQUAL: ~bad & np.isin(table, equal)}
            huge_none = ~bad & (level > 0) & (entry & np.uint64(0x101) == np.uint64(0x100))
            device = ~bad & _in_device(process, addrs)
            huge_none &= ~device
            for verdict, lost in ((intel, cannot), (linux, {**cannot, DEVICE: device, HUGE_NONE: huge_none})):
                verdict.count(addrs, kinds(dump.arch, entry, level))
                for reason, which in lost.items():
                    verdict.undecided[reason] += int(which.sum())
                asked = ~np.logical_or.reduce(list(lost.values()))
                ours = _pagemap(process, addrs[asked]) if verdict is linux else walked[asked]
                theirs = Volatility(path, processor.root, linux=verdict is linux).ask(addrs[asked])
                verdict.compare(f"{trial}, read", addrs[asked], ours, theirs, FAULT)
    for verdict in (intel, linux):
        verdict.machines += 1


def _in_device(process, addrs):
    """Which addresses lie in areas that are VM_PFNMAP."""
    out = np.zeros(len(addrs), bool)
    for area in process.smaps():
        if "pf" in area["VmFlags"].split():
            out |= (addrs >= area["start"]) & (addrs < area["end"])
    return out


def _pagemap(process, addrs):
    """What /proc/PID/pagemap says, as answers."""
    words = np.array([process.pagemap(addr, 1)[0] for addr in (addrs & ~np.uint64(4095)).tolist()], np.uint64)
    there = words & np.uint64(fs.PM_PRESENT) != 0
    out = np.zeros(len(addrs), ANSWER)
    out["error"][~there] = FAULT
    out["pa"][there] = (words[there] & np.uint64(fs.PM_PFRAME_MASK)) << np.uint64(12) | addrs[there] & np.uint64(4095)
    return out
