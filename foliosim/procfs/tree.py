"""A folder that tools can read in place of /proc."""
from pathlib import Path

from foliosim.procfs.kpage import kpagecount, kpageflags
from foliosim.procfs.maps import maps
from foliosim.procfs.pagemap import file_size, pieces
from foliosim.procfs.smaps import smaps, smaps_rollup
from foliosim.procfs.status import NAME, statm, status
from foliosim.procfs.sysfs_thp import transparent_hugepage
from foliosim.procfs.vmstat import vmstat

_CHUNK = 1 << 20  # frames written at once


def write_proc(machine, folder):
    """Write what /proc and /sys would show now; see `Machine.write_proc`."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: not an empty folder; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for process in machine.processes():
        _write_process(process, folder / str(process.pid))
    for name, words in (("kpageflags", kpageflags), ("kpagecount", kpagecount)):
        _write_words(folder / name, machine, words)
    (folder / "vmstat").write_text(vmstat(machine))
    (folder / "stat").write_text("btime 0\n")
    for path, text in transparent_hugepage(machine).items():
        path = folder / "sys/kernel/mm/transparent_hugepage" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _write_process(process, folder):
    folder.mkdir()
    texts = {"maps": maps, "smaps": smaps, "smaps_rollup": smaps_rollup, "status": status, "statm": statm,
             "stat": _stat}
    for name, text in texts.items():
        (folder / name).write_text(text(process))
    (folder / "comm").write_text(NAME + "\n")
    (folder / "cmdline").write_bytes(NAME.encode() + b"\0")
    with open(folder / "pagemap", "wb") as file:
        for offset, data in pieces(process):
            file.seek(offset)
            file.write(data)
        file.truncate(file_size(process.machine))


def _stat(process):
    """Enough of /proc/PID/stat for readers that split it: 52 fields, of which size and resident pages are known."""
    counts, fields = process.counts(), [0] * 49
    fields[23 - 4] = counts["total_vm"] * process.machine.page_size
    fields[24 - 4] = counts["rss_anon"] + counts["rss_file"] + counts["rss_shmem"]
    return f"{process.pid} ({NAME}) S " + " ".join(map(str, fields)) + "\n"


def _write_words(path, machine, words):
    """Runs of zero words are left out of the file: it is sparse."""
    total, _ = machine.core.procfs.frames(machine)
    with open(path, "wb") as file:
        for first in range(0, total, _CHUNK):
            data = words(machine, first, _CHUNK)
            if data.any():
                file.seek(first * 8)
                file.write(data.tobytes())
        file.truncate(total * 8)
