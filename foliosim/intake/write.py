"""The header of an imported trace, and the file."""
import json
import lzma
import os
import platform
from pathlib import Path

from foliosim.intake.events import counts
from foliosim.replay.events import FORMAT, VERSION
from foliosim.replay.truth import FORMAT as TRUTH
from foliosim.replay.truth import VERSION as TRUTH_VERSION
from foliosim.whole import whole_file

_THP = Path("/sys/kernel/mm/transparent_hugepage")
# What a text does not say, and the header of another trace can: memory, settings, sizes of files.
FACTS = ("kernel", "arch", "page_size", "mem_total_kb", "mem_free_kb", "swap_total_kb", "thp", "aslr", "overcommit",
         "fault_around_bytes")


def facts_here():
    """What a header says of the machine, as this one is now.

    Returns
    -------
    dict
    """
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    kb = {name: int(memory[name].split()[0]) for name in ("MemTotal", "MemFree", "SwapTotal")}
    thp = {str(path.relative_to(_THP)): path.read_text().strip() for path in sorted(_THP.rglob("*"))
           if path.is_file() and os.access(path, os.R_OK)}
    return {"kernel": platform.release(), "arch": platform.machine(), "page_size": os.sysconf("SC_PAGE_SIZE"),
            "mem_total_kb": kb["MemTotal"], "mem_free_kb": kb["MemFree"], "swap_total_kb": kb["SwapTotal"], "thp": thp,
            "aslr": _number("/proc/sys/kernel/randomize_va_space") != 0,
            "overcommit": _number("/proc/sys/vm/overcommit_memory"), "fault_around_bytes": 65536}


def _number(path):
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def mode_of(facts):
    """The mode of a recording under these settings: ``never``, ``mthp64`` or ``always``."""
    thp = facts["thp"]
    if "[never]" in thp.get("enabled", "[never]"):
        return "never"
    return "mthp64" if "[always]" in thp.get("hugepages-64kB/enabled", "") else "always"


def sized(files, known):
    """Files with their sizes: from another header, else from the disk if the file is there and still the same."""
    out = {}
    for path, file in files.items():
        other = known.get(path)
        if other and other.get("ino") in (file["ino"], 0) or other and not file["ino"]:
            out[path] = dict(other)
        else:
            out[path] = {**file, "size": _size(path, file)}
    return out


def _size(path, file):
    try:
        found = os.stat(path)
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    same = not file["ino"] or (file["dev"], file["ino"]) == (device, found.st_ino)
    return found.st_size if same else None


def header_of(events, found, facts, *, name, program, mode):
    """The first line of a trace.

    Parameters
    ----------
    events : list of list
        From `Events.finish`.
    found : Events
    facts : dict
        `FACTS`, and perhaps ``files`` of another header.
    name, mode : str
    program : list of str

    Returns
    -------
    dict
    """
    times = [event[1] for event in events]
    return {"format": FORMAT, "version": VERSION, "name": name, "program": program, "mode": mode,
            **{key: facts[key] for key in FACTS[:3]}, "root": events[0][2],
            "processes": len({event[2] for event in events}), "duration_ns": max(times) - min(0, *times),
            "events": len(events), "counts": counts(events), "lost": found.lost,
            **{key: facts[key] for key in FACTS[3:]}, "files": sized(found.files, facts.get("files", {}))}


def write_trace(header, events, path):
    """Write a trace, compressed with xz if its name ends so; an interrupted write leaves an older file whole."""
    _write("\n".join(json.dumps(one, separators=(",", ":")) for one in (header, *events)) + "\n", path)


def write_truth(header, snapshots, found, path):
    """Write what the kernel said of the processes of a trace.

    Parameters
    ----------
    header : dict
        Of the trace.
    snapshots : list of tuple
        Time, why, pid, and what was said of each process by its pid.
    found : Events
        Of the trace; it knows the numbers of processes.
    path : pathlib.Path
    """
    number = found.numbers
    told = [{"t": when - found.start, "why": why, "pid": number.get(pid, 0),
             "procs": {str(number.get(one, one)): said for one, said in processes.items()}}
            for when, why, pid, processes in snapshots]
    truth = {"format": TRUTH, "version": TRUTH_VERSION, "name": header["name"], "mode": header["mode"],
             "snapshots": told}
    _write(json.dumps(truth, separators=(",", ":")) + "\n", path)


def _write(text, path):
    with whole_file(path) as file:
        file.write(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())
