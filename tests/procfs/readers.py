"""Readers written for the real /proc and /sys; the tests use them, unchanged, on the trees of `Machine.write_proc`."""
import os
import struct
from pathlib import Path

PAGE = 4096
TASK_SIZE = (1 << 47) - PAGE
PRESENT, PFN_MASK = 1 << 63, (1 << 55) - 1
HEAD, TAIL = 1 << 15, 1 << 16
MEMORY_LINES = ("Vm", "Rss")


def words(path, first, count):
    """64-bit words of a file; fewer than asked for at its end."""
    with open(path, "rb", buffering=0) as file:
        data = b""
        file.seek(first * 8)
        while len(data) < count * 8:
            more = file.read(count * 8 - len(data))
            if not more:
                break
            data += more
    return list(struct.unpack(f"{len(data) // 8}Q", data))


def ranges(maps):
    """(start, end) of each area of the text of maps."""
    for line in maps.splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        if end <= TASK_SIZE:
            yield start, end


def pagemap(folder):
    """Address and word of every page of a process's areas."""
    out = []
    for start, end in ranges((folder / "maps").read_text()):
        for at, word in enumerate(words(folder / "pagemap", start // PAGE, (end - start) // PAGE)):
            out.append((start + at * PAGE, word))
    return out


def folio(proc, pfn):
    """Frame numbers of all pages of the folio that holds a frame, from kpageflags alone."""
    first = pfn & ~511
    flags = words(proc / "kpageflags", first, 512)
    head = end = pfn - first
    while flags[head] & TAIL:
        head -= 1
    end = head + 1
    while end < 512 and flags[head] & HEAD and flags[end] & TAIL:
        end += 1
    return range(first + head, first + end)


def frames(proc, pagemaps):
    """(frame number, kpageflags, kpagecount) of all pages of all folios that are mapped, in the order in which the
    pagemaps show them."""
    seen, out = set(), []
    for pages in pagemaps:
        for _, word in pages:
            pfn = word & PFN_MASK
            if not word & PRESENT or pfn in seen:
                continue
            members = folio(proc, pfn)
            seen.update(members)
            flags = words(proc / "kpageflags", members.start, len(members))
            counts = words(proc / "kpagecount", members.start, len(members))
            out += zip(members, flags, counts)
    return out


def memory_lines(status):
    return "".join(line for line in status.splitlines(True) if line.startswith(MEMORY_LINES))


def vmstat_rows(text):
    """Names of the rows about huge pages and unevictable memory."""
    names = [line.split()[0] for line in text.splitlines()]
    return [name for name in names
            if name.startswith(("thp_", "unevictable_pgs_")) or "hugepages" in name or "pmdmapped" in name
            or name in ("nr_mlock", "nr_unevictable")]


def sysfs(folder):
    """Text of every file of transparent_hugepage."""
    paths = sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names)
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def show(proc, pids):
    """What /proc shows of some processes and of the folios that they map."""
    out = {"procs": {}}
    for name, pid in pids.items():
        folder = proc / str(pid)
        out["procs"][name] = {leaf: (folder / leaf).read_text() for leaf in ("maps", "smaps", "smaps_rollup")}
        out["procs"][name]["status"] = memory_lines((folder / "status").read_text())
        out["procs"][name]["pagemap"] = pagemap(folder)
    out["frames"] = frames(proc, [process["pagemap"] for process in out["procs"].values()])
    return out
