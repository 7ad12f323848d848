"""Names that recordings use for Linux's numbers."""

ARENA = 0x200000000000
ARENA_SIZE = 64 << 20  # 32 leaves of a PMD
PAGE_SIZE = 4096       # of most recordings; other sizes stand in a recording's machine

PROT = {"none": 0, "r": 1, "w": 2, "rw": 3, "x": 4, "rx": 5, "wx": 6, "rwx": 7}
MAP = {
    "shared": 0x1, "private": 0x2, "shared_validate": 0x3, "fixed": 0x10, "anonymous": 0x20, "growsdown": 0x100,
    "locked": 0x2000, "noreserve": 0x4000, "populate": 0x8000, "stack": 0x20000, "fixed_noreplace": 0x100000,
}
MADV = {
    "normal": 0, "random": 1, "sequential": 2, "willneed": 3, "dontneed": 4, "free": 8, "remove": 9, "dontfork": 10,
    "dofork": 11, "hugepage": 14, "nohugepage": 15, "dontdump": 16, "dodump": 17, "wipeonfork": 18, "keeponfork": 19,
    "cold": 20, "pageout": 21, "populate_read": 22, "populate_write": 23, "dontneed_locked": 24, "collapse": 25,
    "guard_install": 102, "guard_remove": 103,
}
MREMAP = {"maymove": 1, "fixed": 2, "dontunmap": 4}
MLOCK = {"onfault": 1, "invalid": 2}
MSYNC = {"async": 1, "invalidate": 2, "sync": 4}

# Bits of /proc/kpageflags that are recorded; all others are masked.
KPF = {
    "REFERENCED": 1 << 2, "UPTODATE": 1 << 3, "DIRTY": 1 << 4, "LRU": 1 << 5, "ACTIVE": 1 << 6, "MMAP": 1 << 11,
    "ANON": 1 << 12, "SWAPBACKED": 1 << 14, "COMPOUND_HEAD": 1 << 15, "COMPOUND_TAIL": 1 << 16,
    "UNEVICTABLE": 1 << 18, "THP": 1 << 22, "ZERO_PAGE": 1 << 24, "MLOCKED": 1 << 33,
}
KPF_MASK = sum(KPF.values())
KPF_ZERO_MASK = KPF["ZERO_PAGE"] | KPF["THP"] | KPF["COMPOUND_HEAD"] | KPF["COMPOUND_TAIL"]

# Bits of a `pages` run: the pagemap word shifted right by 55.
PAGE_BITS = {
    "soft-dirty": 0x1, "exclusive": 0x2, "uffd-wp": 0x4, "guard": 0x8, "file-or-shared": 0x40, "swapped": 0x80,
    "present": 0x100,
}

# VmFlags of /proc/PID/smaps.
VMFLAGS = {
    "rd": "readable", "wr": "writable", "ex": "executable", "sh": "shared", "mr": "may read", "mw": "may write",
    "me": "may execute", "ms": "may share", "gd": "grows down", "pf": "pure PFN", "lo": "locked", "lf": "lock on fault",
    "io": "I/O", "sr": "sequential read", "rr": "random read", "dc": "not copied on fork", "de": "no expanding",
    "ac": "accountable", "nr": "no swap reserve", "ht": "hugetlb", "sf": "synchronous fault", "ar": "architecture",
    "wf": "wipe on fork", "dd": "not in core dumps", "sd": "soft-dirty", "mm": "mixed map", "hg": "hugepage advised",
    "nh": "no hugepage advised", "mg": "mergeable", "um": "uffd missing", "uw": "uffd-wp", "ui": "uffd minor",
    "ss": "shadow stack", "sl": "sealed", "gu": "has guard regions",
}


def arena_size(page_size):
    """Bytes that are observed: 32 leaves of a PMD, which grow with the page and with the number of entries in it."""
    return ARENA_SIZE * (page_size // PAGE_SIZE) ** 2


def mask(names, table):
    """Or of the named values of a table."""
    value = 0
    for name in names:
        value |= table[name]
    return value


def decode(value, table):
    """Names of the set bits; bits without a name in hexadecimal."""
    names = [name for name, bit in table.items() if value & bit]
    rest = value & ~sum(table.values())
    if rest:
        names.append(hex(rest))
    return names
