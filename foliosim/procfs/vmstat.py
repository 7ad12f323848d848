"""/proc/vmstat: the rows about huge pages and unevictable memory, and others that the machine counts."""

# In the order of the file.  Rows that no event of the emulator can raise are 0.
ROWS = (
    "nr_free_pages", "nr_mlock", "nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file",
    "nr_unevictable", "workingset_refault_anon", "workingset_activate_anon", "nr_shmem_hugepages",
    "nr_shmem_pmdmapped", "nr_file_hugepages", "nr_file_pmdmapped",
    "nr_anon_transparent_hugepages", "nr_foll_pin_acquired", "nr_foll_pin_released", "nr_page_table_pages",
    "pswpin", "pswpout", "pgactivate", "pgdeactivate", "pglazyfree", "pgfault", "pgmajfault", "pglazyfreed", "pgreuse",
    "pgscan_anon", "pgscan_file", "pgsteal_anon", "pgsteal_file", "pgrotated",
    "thp_migration_success", "thp_migration_fail", "thp_migration_split", "unevictable_pgs_culled",
    "unevictable_pgs_scanned", "unevictable_pgs_rescued", "unevictable_pgs_mlocked", "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared", "unevictable_pgs_stranded", "thp_fault_alloc", "thp_fault_fallback",
    "thp_fault_fallback_charge", "thp_collapse_alloc", "thp_collapse_alloc_failed", "thp_file_alloc",
    "thp_file_fallback", "thp_file_fallback_charge", "thp_file_mapped", "thp_split_page", "thp_split_page_failed",
    "thp_deferred_split_page", "thp_underused_split_page", "thp_split_pmd", "thp_scan_exceed_none_pte",
    "thp_scan_exceed_swap_pte", "thp_scan_exceed_share_pte", "thp_split_pud", "thp_zero_page_alloc",
    "thp_zero_page_alloc_failed", "thp_swpout", "thp_swpout_fallback", "swpin_zero", "swpout_zero",
)


def vmstat(machine):
    """Text of /proc/vmstat.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    str
    """
    values = machine.vmstat() | machine.core.procfs.folio_gauges(machine)
    return "".join(f"{name} {values.get(name, 0)}\n" for name in ROWS)
