"""What can be observed of the running kernel, and where it is not the machine that the contract describes."""
import os
import platform
import sys
from pathlib import Path

from foliosim.live.settings import THP

CONTRACT_RELEASE = "6.18"
TMPFS = Path("/dev/shm")
DISK = Path("/var/tmp")

# File, the value the contract has, and what it is called.
_EXPECTED = (
    (Path("/proc/sys/vm/overcommit_memory"), "0", "vm.overcommit_memory"),
    (Path("/proc/sys/vm/max_map_count"), "65530", "vm.max_map_count"),
    (Path("/sys/kernel/mm/ksm/run"), "0", "KSM (ksm/run)"),
    (Path("/sys/kernel/debug/fault_around_bytes"), "65536", "fault_around_bytes"),
)


def why_not():
    """The reason for which the live kernel cannot be observed, or None."""
    if sys.platform != "linux":
        return f"this is {sys.platform}; only Linux can be observed"
    if os.geteuid() != 0:
        return "not root: frame numbers, /proc/kpageflags and the settings are root's"
    for path in ("/proc/kpageflags", "/proc/kpagecount"):
        if not os.path.exists(path):
            return f"no {path}: this kernel has no CONFIG_PROC_PAGE_MONITOR, or this is a container"
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    if os.sysconf("SC_PAGE_SIZE") != 4096:
        return f"pages of {os.sysconf('SC_PAGE_SIZE')} bytes; scenarios count in pages of 4096"
    if not _sees_frames():
        return "/proc/self/pagemap hides frame numbers: CAP_SYS_ADMIN is missing"
    return None


def _sees_frames():
    # The page of any object has a frame number unless they are hidden.
    address = id(sys) & -4096
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // 512)
        word = int.from_bytes(pagemap.read(8), "little")
    return bool(word & ((1 << 55) - 1))


def release():
    """Release of the running kernel, without what a distribution adds."""
    return platform.release().partition("-")[0].partition("+")[0]


def describe(settings):
    """The ``machine`` of a scenario recorded under these settings."""
    arch = platform.machine().replace("aarch64", "arm64")
    return {"release": release(), "arch": arch, "page_size": os.sysconf("SC_PAGE_SIZE"), **settings}


def notes(missing_counters=()):
    """Plain sentences: what cannot be observed, and what is not as the contract has it."""
    found = []
    if release().split(".")[:2] != CONTRACT_RELEASE.split("."):
        found.append(f"this kernel is {release()}, not {CONTRACT_RELEASE}: its differences are reported as such")
    if platform.machine() != "x86_64":
        found.append(f"this machine is {platform.machine()}, not x86_64")
    if not (THP / "enabled").exists():
        found.append("THP off: this kernel has no transparent huge pages; settings of them are left out")
    elif not (THP / "hugepages-64kB").exists():
        found.append("this kernel has no sizes below 2 MiB (mTHP); settings and counters of them are left out")
    if missing_counters:
        found.append(f"counters not in /proc/vmstat: {', '.join(missing_counters)}")
    found += _values()
    found += _machine()
    return found


def _values():
    found = []
    for path, right, name in _EXPECTED:
        try:
            value = path.read_text().strip()
        except OSError:
            if path.parent.name == "debug":
                found.append(f"{name} cannot be read; {right} is assumed")
            continue
        if value != right:
            found.append(f"{name} is {value}, not {right}")
    return found


def _machine():
    found = []
    with open("/proc/swaps") as swaps:
        if len(swaps.readlines()) > 1:
            found.append("swap is on: PAGEOUT and COLD may differ")
    lru_gen = Path("/sys/kernel/mm/lru_gen/enabled")
    if lru_gen.exists() and int(lru_gen.read_text(), 0) & 1:
        found.append("the multi-generational LRU is on: LRU, ACTIVE and REFERENCED differ")
    if len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) > 1:
        found.append("more than one NUMA node")
    for path, kind, name in ((TMPFS, ("tmpfs",), "tmpfs"), (DISK, ("ext4",), "disk")):
        there = _filesystem(path)
        if there not in kind:
            found.append(f"{name} files lie in {path}, which is {there or 'missing'}, not {kind[0]}")
    disabled = Path("/proc/sys/kernel/io_uring_disabled")
    if disabled.exists() and disabled.read_text().strip() == "2":
        found.append("io_uring is disabled: pin cannot be performed")
    return found


def _filesystem(path):
    # Type of the file system that a folder lies on: the last mount of the longest matching mount point.
    best = ("", None)
    with open("/proc/mounts") as mounts:
        for line in mounts:
            _, point, kind, *_ = line.split()
            inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, kind)
    return best[1] if path.is_dir() else None
