"""What one value is: the scalar leaves of an expected entry, and which of them the contract masks.

========================  =====================================================================================
part                      leaves
========================  =====================================================================================
result                    ``ret`` or ``errno`` or ``signal``; ``code`` and ``addr`` of a signal
data                      one per byte
vmas                      ``start``, ``end``, ``perms``, ``file``, ``offset``, each field of ``smaps``, each VmFlag
pages                     two per page: its bits and its frame
changed                   one per page
frames                    two per frame: its flags and its mapcount
locked_kb, pgtable_kb     one each
vmstat, mthp_stats        one per counter
entries, tables           two per entry: its level and its bits; one per kind of table
========================  =====================================================================================

Masked are ``Referenced`` of every process but p0, and the counters of ``file`` steps and of machines where huge pages
are "always" enabled.  Raw frame numbers, other page flags and other counters are masked by not being recorded.
"""

VMA_SCALARS = ("start", "end", "perms", "file", "offset")


def counters_masked(step, noisy):
    """Are the counters of this step masked?"""
    return noisy or step["op"] == "file"


def run_pages(runs, at=1):
    """Sum of the counts of runs."""
    return sum([run[at] for run in runs])


def counter_leaves(entry):
    return len(entry.get("vmstat", ())) + sum(map(len, entry.get("mthp_stats", {}).values()))


def vma_leaves(vma):
    return len(vma) - 2 + len(vma["smaps"]) + len(vma["flags"])


def proc_leaves(proc):
    """Leaves of one process."""
    return (
        sum(map(vma_leaves, proc["vmas"]))
        + 2 * run_pages(proc["pages"])
        + run_pages(proc["changed"])
        + 2
        + 2 * run_pages(proc.get("entries", ()), at=2)
        + len(proc.get("tables", ()))
    )


def count(entry):
    """Leaves of an expected entry."""
    state = entry["state"]
    return (
        (3 if "signal" in entry else 1)
        + run_pages(entry.get("data", ()))
        + counter_leaves(entry)
        + sum(map(proc_leaves, state["procs"].values()))
        + 2 * run_pages(state["frames"])
    )


def masked(entry, step, noisy):
    """How many leaves of an expected entry the contract masks."""
    n = counter_leaves(entry) if counters_masked(step, noisy) else 0
    for name, proc in entry["state"]["procs"].items():
        if name != "p0":
            n += sum(["Referenced" in vma["smaps"] for vma in proc["vmas"]])
    return n
