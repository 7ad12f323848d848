"""The one place where what cannot be equal on two machines is rewritten; everything else is compared byte for byte.

* Frame numbers (pagemap, kpageflags, kpagecount) become numbers in the order in which frames are met.
* Inode numbers become numbers in the order in which they are met, padded so that the rest of the line stays in place.
* The device of a file on a mounted file system.
* KPF_IDLE: set by whoever tracks idle pages on the recorded machine.
* The bits of kpageflags that file systems use as they like, of pages that are not anonymous.
* `Referenced` of a fork child: whether copied entries are marked accessed depends on the processor.
* VmExe is what of the executable mappings lies in the program that was started; the emulator starts none, so it is
  added to VmLib.
* Counters belong to the whole machine: only their names are compared; also a setting of khugepaged that the recorder
  changes.
* KPF_REFERENCED of the 4 KiB zero page: it is shared with the whole machine, some of whose references mark it.
* VmHWM less than 32 pages above VmRSS is written as VmRSS: the kernel counts resident pages per processor and may miss
  that many when it notes the highest value.
* smaps's ProtectionKey lines: processors without protection keys have none.
* Files that other kernels do not have (a local patch of the recorded one).
"""
import re

from readers import PFN_MASK, PRESENT

REFERENCED, ZERO_PAGE, IDLE = 1 << 2, 1 << 24, 1 << 25
ANON, OF_FILE_SYSTEMS = 1 << 12, 0x7fc << 32
LOCAL_PATCH = ("anon_beside_full", "anon_fault_declined")
COUNTERS = ("/stats/", "khugepaged/full_scans", "khugepaged/pages_collapsed", "khugepaged/scan_sleep_millisecs")
_AREA = re.compile(r"^([0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ \S+ )([1-9]\d*)( +)(?=\S)", re.MULTILINE)
_DEVICE = re.compile(r"^(\S+ \S{4} [0-9a-f]+ )\S+(?= .* /(?:dev/shm|var/tmp)/)", re.MULTILINE)


def masked(shown):
    """What readers.show and readers.sysfs gave, as it is stored and compared."""
    numbers, inodes = {}, {}
    out = {"procs": {}}
    for name, process in shown["procs"].items():
        texts = {leaf: _inodes(process[leaf], inodes) for leaf in ("maps", "smaps", "smaps_rollup")}
        texts["status"] = _high_water(_exe(process["status"]))
        if name != "p0":
            texts = {leaf: re.sub(r"(Referenced: +)\d+ kB", r"\1- kB", text) for leaf, text in texts.items()}
        texts["smaps"] = re.sub(r"ProtectionKey:.*\n", "", texts["smaps"])
        out["procs"][name] = {leaf: text.splitlines() for leaf, text in texts.items()}
        out["procs"][name]["pagemap"] = _pagemap(process["pagemap"], numbers)
    out["frames"] = _frames(shown["frames"], numbers)
    if "sysfs" not in shown:
        return out
    out["vmstat"] = shown["vmstat"]
    out["sysfs"] = {path: "counter" if any(part in path for part in COUNTERS) else text
                    for path, text in shown["sysfs"].items() if not path.endswith(LOCAL_PATCH)}
    return out


def _inodes(text, inodes):
    def rewrite(match):
        number = str(inodes.setdefault(match[2], len(inodes) + 1))
        return match[1] + number.ljust(len(match[2]) + len(match[3]))

    return _DEVICE.sub(r"\1dd:dd", _AREA.sub(rewrite, text))


def _exe(text):
    exe, lib = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmExe", "VmLib"))
    text = re.sub(r"VmLib:\t *\d+", f"VmLib:\t{exe + lib:8}", text)
    return re.sub(r"VmExe:\t *\d+", f"VmExe:\t{0:8}", text)


def _high_water(text):
    highest, now = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmHWM", "VmRSS"))
    return text if highest - now >= 32 * 4 else re.sub(r"VmHWM:\t *\d+", f"VmHWM:\t{now:8}", text)


def _pagemap(pages, numbers):
    """Runs [address, pages, bits, frame, step]; where no page is present, frame is None and the whole word is kept."""
    out, step = [], 0
    for addr, word in pages:
        frame = None
        if word & PRESENT:
            frame = numbers.setdefault(word & PFN_MASK, len(numbers))
            word &= ~PFN_MASK
        run = out[-1] if out else None
        if run and (run[0] + run[1] * 4096, run[2]) == (addr, word) and (run[3] is None) == (frame is None):
            if run[1] == 1 and frame is not None:
                run[4] = step = frame - run[3]
            if frame is None or (frame == run[3] + run[1] * step and 0 <= step <= 1):
                run[1] += 1
                continue
            run[4] = run[4] if run[1] > 1 else 0
        out.append([addr, 1, word, frame, 0])
    return [[hex(addr), count, hex(bits), frame, step] for addr, count, bits, frame, step in out]


def _frames(frames, numbers):
    """Runs [first frame, pages, flags, mapcount]; frames that are not mapped are called by what follows the mapped one
    before them: "+"."""
    out = []
    for pfn, flags, count in frames:
        flags &= ~IDLE
        if flags & ZERO_PAGE:
            flags &= ~REFERENCED
        if not flags & ANON:
            flags &= ~OF_FILE_SYSTEMS
        name = numbers.get(pfn, "+")
        if out and out[-1][2:] == [hex(flags), count] and (
                name == "+" == out[-1][0] or "+" not in (name, out[-1][0]) and name == out[-1][0] + out[-1][1]):
            out[-1][1] += 1
        else:
            out.append([name, 1, hex(flags), count])
    return out


def difference(one, other, where=""):
    """The first place where two pictures differ, in words."""
    if type(one) is type(other) and isinstance(one, dict) and one.keys() == other.keys():
        return next((text for key in one if (text := difference(one[key], other[key], f"{where}.{key}"))), None)
    if type(one) is type(other) and isinstance(one, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other))
        return next((text for at, (a, b) in pairs if (text := difference(a, b, f"{where}[{at}]"))), None)
    return None if one == other else f"{where}: {one!r} is not {other!r}"
