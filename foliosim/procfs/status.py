"""/proc/PID/status and statm.  Follows task_mem (fs/proc/task_mmu.c) and proc_pid_status (fs/proc/array.c)."""

_READ, _WRITE, _EXEC, _SHARED, _STACK = 1, 2, 4, 8, 0x100


def kinds(process):
    """Pages of areas by what they are for: (data, stack, exec).  Follows vm_stat_account (mm/mmap.c)."""
    data = stack = code = 0
    for start, end, flags, *_ in process.machine.core.procfs.areas(process):
        pages = (end - start) // process.machine.page_size
        if flags & (_EXEC | _WRITE | _STACK) == _EXEC:
            code += pages
        elif flags & _STACK:
            stack += pages
        elif flags & (_WRITE | _SHARED) == _WRITE:
            data += pages
    return data, stack, code


def status_memory(process):
    """The memory lines of /proc/PID/status, VmPeak to VmSwap.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str

    Notes
    -----
    VmPin is what registered buffers are charged; pinning by itself does not raise it.  No program was started,
    so VmExe is 0 and VmLib has all executable areas.  The kernel adds up resident pages per processor and may miss up
    to 32 pages on each when it notes the highest value (VmHWM); here nothing is missed.
    """
    counts, page_kb = process.counts(), process.machine.page_size >> 10
    data, stack, code = kinds(process)
    rss = [counts[name] for name in ("rss_anon", "rss_file", "rss_shmem")]
    tables = counts["nr_ptes"] + counts["nr_pmds"] + counts["nr_puds"]
    pages = {
        "VmPeak": counts["hiwater_vm"], "VmSize": counts["total_vm"], "VmLck": counts["locked_vm"],
        "VmPin": counts["pinned_vm"],
        "VmHWM": counts["hiwater_rss"], "VmRSS": sum(rss), "RssAnon": rss[0], "RssFile": rss[1], "RssShmem": rss[2],
        "VmData": data, "VmStk": stack, "VmExe": 0, "VmLib": code, "VmPTE": tables, "VmSwap": counts["swapents"],
    }
    return "".join(f"{name}:\t{number * page_kb:8} kB\n" for name, number in pages.items())


def status(process):
    """Text of /proc/PID/status: the lines that readers look for, and the memory lines.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str
    """
    pid = process.pid
    enabled = int(process.machine.core.procfs.thp_disable(process) != 1)
    return (f"Name:\t{NAME}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t0\n"
            f"TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nKthread:\t0\n{status_memory(process)}"
            f"HugetlbPages:\t{0:8} kB\nCoreDumping:\t0\nTHP_enabled:\t{enabled}\nThreads:\t1\n"
            "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n")


NAME = "foliosim"


def statm(process):
    """Text of /proc/PID/statm: size, resident, shared, text, lib, data, dirty pages.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str
    """
    counts = process.counts()
    data, stack, _ = kinds(process)
    shared = counts["rss_file"] + counts["rss_shmem"]
    return f"{counts['total_vm']} {shared + counts['rss_anon']} {shared} 0 0 {data + stack} 0\n"
