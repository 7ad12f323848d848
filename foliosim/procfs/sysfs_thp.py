"""/sys/kernel/mm/transparent_hugepage.  Follows mm/huge_memory.c, mm/khugepaged.c and mm/shmem.c."""

ENABLED = ("always", "madvise", "never")
SHMEM_ENABLED = {1: "always", 2: "within_size", 3: "advise", 0: "never", -1: "deny", -2: "force"}
DEFRAG = ("always", "defer", "defer+madvise", "madvise", "never")
KHUGEPAGED = {"alloc_sleep_millisecs": 60000, "defrag": 1, "scan_sleep_millisecs": 10000}  # and what the machine has
OURS = ("scan_sleep_steps", "wake_at_limit")
_SWAP_STATS = ("swpin", "swpin_fallback", "swpin_fallback_charge", "swpout", "swpout_fallback", "zswpout")
_SHMEM_STATS = ("shmem_alloc", "shmem_fallback", "shmem_fallback_charge", "split", "split_failed")
_ANON_STATS = ("anon_fault_alloc", "anon_fault_fallback", "anon_fault_fallback_charge", "nr_anon",
               "nr_anon_partially_mapped", "split_deferred")


def transparent_hugepage(machine):
    """All files of the folder.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    dict
        Path relative to /sys/kernel/mm/transparent_hugepage: text.
    """
    thp = machine.core.procfs.thp_settings(machine)
    files = {
        "enabled": _choice(ENABLED, ("never", "madvise", "always")[thp["enabled"]]),
        "defrag": _choice(DEFRAG, "madvise"),
        "shmem_enabled": _choice(SHMEM_ENABLED.values(), SHMEM_ENABLED[thp["shmem_enabled"]]),
        "use_zero_page": f"{int(thp['use_zero_page'])}\n", "shrink_underused": "1\n",
        "hpage_pmd_size": f"{machine.core.pmd_size}\n",
    }
    files |= {f"khugepaged/{name}": f"{value}\n" for name, value in (KHUGEPAGED | machine.khugepaged()).items()
              if name not in OURS}
    stats = machine.mthp_stats()
    for order in range(1, machine.core.pmd_order + 1):
        folder = f"hugepages-{machine.page_size >> 10 << order}kB"
        files |= {f"{folder}/{name}": text for name, text in _size(thp, order, stats[order]).items()}
    return files


def _size(thp, order, stats):
    """The files of one size; anonymous memory has none of order 1."""
    files, names = {}, _SWAP_STATS + _SHMEM_STATS
    if order > 1:
        names += _ANON_STATS
        files["enabled"] = _choice(("always", "inherit", "madvise", "never"), _mode(thp, order, (
            ("always", "always"), ("inherit", "inherit"), ("madvise", "madvise"))))
    files["shmem_enabled"] = _choice(("always", "inherit", "within_size", "advise", "never"), _mode(thp, order, (
        ("always", "shmem_always"), ("inherit", "shmem_inherit"), ("within_size", "shmem_within_size"),
        ("advise", "shmem_advise"))))
    return files | {f"stats/{name}": f"{stats.get(name, 0)}\n" for name in names}


def _mode(thp, order, masks):
    return next((name for name, mask in masks if thp[mask] >> order & 1), "never")


def _choice(names, chosen):
    return " ".join(f"[{name}]" if name == chosen else name for name in names) + "\n"
