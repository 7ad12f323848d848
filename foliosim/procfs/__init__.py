"""Text and words of /proc and /sys for an emulated machine: one function per file, byte for byte the kernel's."""
from foliosim.procfs.kpage import kpagecount, kpageflags
from foliosim.procfs.maps import maps
from foliosim.procfs.pagemap import pagemap
from foliosim.procfs.smaps import smaps, smaps_rollup
from foliosim.procfs.status import statm, status, status_memory
from foliosim.procfs.sysfs_thp import transparent_hugepage
from foliosim.procfs.tree import write_proc
from foliosim.procfs.vmstat import vmstat

__all__ = ["kpagecount", "kpageflags", "maps", "pagemap", "smaps", "smaps_rollup", "statm", "status", "status_memory",
           "transparent_hugepage", "vmstat", "write_proc"]
