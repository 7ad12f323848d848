"""/proc/PID/smaps and smaps_rollup.  Follows show_smap and show_smaps_rollup (fs/proc/task_mmu.c)."""
from foliosim._core.machine import SMAPS_NAMES
from foliosim.procfs.maps import GATE, area_line, gate_line, line

_PAGE_KB = 4
_OF_ONE_AREA = ("Size", "KernelPageSize", "MMUPageSize")  # not in smaps_rollup
_WIDTH = {"Private_Hugetlb": 7}                           # the label is one longer


def smaps(process):
    """Text of /proc/PID/smaps, of a processor without protection keys.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str
    """
    out = []
    for area in process.machine.core.procfs.areas(process):
        out += [area_line(area), _fields(area[7]), f"VmFlags: {area[3]}\n"]
    if process.machine.arch != "x86_64":
        return "".join(out)
    gate = dict.fromkeys(SMAPS_NAMES, 0)
    gate |= {"Size": (GATE[1] - GATE[0]) >> 10, "KernelPageSize": _PAGE_KB, "MMUPageSize": _PAGE_KB}
    return "".join([*out, gate_line(process.machine), _fields(gate.values()), "VmFlags: ex \n"])


def smaps_rollup(process):
    """Text of /proc/PID/smaps_rollup.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str
    """
    areas = process.machine.core.procfs.areas(process)
    values, pss = process.machine.core.procfs.rollup(process)
    out = [line(areas[0][0] if areas else 0, areas[-1][1] if areas else 0, "---p", name="[rollup]")]
    for name, value in zip(SMAPS_NAMES, values):
        if name in _OF_ONE_AREA or name == "THPeligible":
            continue
        out.append(_field(name, value))
        if name == "Pss_Dirty":
            out += [_field(part, kb) for part, kb in zip(("Pss_Anon", "Pss_File", "Pss_Shmem"), pss)]
    return "".join(out)


def _fields(values):
    return "".join(_field(name, value) for name, value in zip(SMAPS_NAMES, values))


def _field(name, value):
    if name == "THPeligible":
        return f"THPeligible:    {value:8}\n"
    width = _WIDTH.get(name, 8)
    return f"{name + ':':<{24 - width}}{value:{width}} kB\n"
