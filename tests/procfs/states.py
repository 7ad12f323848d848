"""The states that are recorded: steps in the words of scenario-format.md."""

SIZES = ["16kB", "32kB", "64kB", "128kB", "256kB", "512kB", "1024kB"]
DEFAULT = {
    "release": "6.18.44", "arch": "x86_64", "page_size": 4096, "thp_enabled": "madvise", "shmem_enabled": "never",
    "mthp": {**dict.fromkeys(SIZES, "never"), "2048kB": "inherit"},
    "mthp_shmem": {**dict.fromkeys(["8kB", *SIZES], "never"), "2048kB": "inherit"},
}
A = 0x200000000000
K = 1 << 10
M = 1 << 20


def at(op, start, length, proc="p0", **more):
    return {"op": op, "proc": proc, "addr": hex(A + start), "length": length, **more}


def area(offset, length, prot="rw", *flags, proc="p0"):
    flags = list(flags) if {"private", "shared"} & set(flags) else ["private", *flags]
    return at("mmap", offset, length, proc, prot=prot, flags=[*flags, "anonymous", "fixed"])


def file(kind, length, name="f0", fill=None):
    return {"op": "file", "proc": "p0", "file": name, "kind": kind, "length": length} | (
        {} if fill is None else {"fill": fill})


def of_file(offset, length, prot, flag, at_offset=0, name="f0"):
    return at("mmap", offset, length, prot=prot, flags=[flag, "fixed"], file=name, offset=at_offset)


def write(offset, length, value=7, proc="p0"):
    return at("write", offset, length, proc, value=value)


def read(offset, length, proc="p0"):
    return at("read", offset, length, proc)


def madvise(advice, offset, length, proc="p0"):
    return at("madvise", offset, length, proc, advice=advice)


def fork(child="p1", proc="p0"):
    return {"op": "fork", "proc": proc, "child": child}


THP = [area(0, 4 * M), madvise("hugepage", 0, 4 * M), write(0, 2 * M)]
MTHP_64K = {"mthp": {**DEFAULT["mthp"], "64kB": "madvise"}}

STATES = {
    "empty": {"steps": [], "sysfs": True},
    "settings": {"sysfs": True, "steps": [], "machine": {
        "thp_enabled": "always", "shmem_enabled": "within_size",
        "mthp": {**DEFAULT["mthp"], "64kB": "always", "128kB": "inherit", "2048kB": "madvise"},
        "mthp_shmem": {**DEFAULT["mthp_shmem"], "8kB": "always", "64kB": "within_size", "1024kB": "advise",
                       "2048kB": "never"}}},
    "anon": {"steps": [area(0, 16 * K), write(0, 8 * K), read(8 * K, 4 * K)]},
    "addresses": {"steps": [
        {"op": "mmap", "proc": "p0", "addr": "0x10000", "length": 4096, "prot": "r",
         "flags": ["private", "anonymous", "fixed"]},
        {"op": "mmap", "proc": "p0", "addr": "0x7ffffffde000", "length": 4096, "prot": "none",
         "flags": ["private", "anonymous", "fixed"]},
        area(0, 4 * K, "x"), area(8 * K, 4 * K, "rwx")]},
    "rights": {"steps": [
        area(0, 40 * K), write(0, 40 * K), at("mprotect", 0, 4 * K, prot="none"),
        at("mprotect", 8 * K, 4 * K, prot="r"),
        at("mprotect", 16 * K, 4 * K, prot="rx"), at("mprotect", 24 * K, 4 * K, prot="rwx"), write(24 * K, 4 * K)]},
    "flags": {"steps": [area(64 * K * n, 32 * K, "rw") for n in range(12)] + [write(0, 32 * K)] + [
        madvise(advice, 64 * K * n, 32 * K) for n, advice in enumerate((
            "random", "sequential", "dontfork", "dontdump", "wipeonfork", "hugepage", "nohugepage"))] + [
        at("mseal", 64 * K * 7, 32 * K), at("mlock", 64 * K * 8, 32 * K),
        at("mlock2", 64 * K * 9, 32 * K, flags=["onfault"]), read(64 * K * 9, 4 * K),
        area(64 * K * 10, 32 * K, "rw", "private", "noreserve"),
        madvise("guard_install", 64 * K * 11 + 8 * K, 8 * K), write(64 * K * 11, 4 * K)]},
    "zero-pages": {"steps": [area(0, 4 * M), madvise("hugepage", 2 * M, 2 * M), read(0, 8 * K), read(2 * M, 4 * K)]},
    "thp": {"steps": [*THP, write(2 * M, 4 * K)]},
    "thp-written-once": {"steps": [area(0, 2 * M), madvise("hugepage", 0, 2 * M), read(0, 4 * K),
                                   at("mprotect", 0, 2 * M, prot="r")]},
    "thp-pte-mapped": {"steps": [*THP, at("mprotect", 64 * K, 4 * K, prot="r")]},
    "thp-partly-unmapped": {"steps": [*THP, at("munmap", 0, 8 * K), madvise("dontneed", 64 * K, 8 * K)]},
    "thp-one-page-left": {"steps": [*THP, madvise("dontneed", 0, 1 * M), madvise("dontneed", 1 * M + 4 * K,
                                                                                1 * M - 4 * K)]},
    "thp-locked": {"steps": [*THP, at("mlock", 0, 2 * M)]},
    "thp-partly-locked": {"steps": [*THP, at("mlock", 0, 1 * M)]},
    "thp-shared": {"steps": [*THP, fork()]},
    "thp-shared-in-part": {"steps": [*THP, fork(), write(64 * K, 64 * K, 9, "p1"), at("munmap", M, M, "p1")]},
    "thp-freed": {"steps": [*THP, madvise("free", 0, 2 * M), area(8 * M, 64 * K), write(8 * M, 64 * K),
                            madvise("free", 8 * M, 32 * K), write(8 * M, 4 * K)]},
    "mthp": {"machine": MTHP_64K, "steps": [
        area(0, 256 * K), madvise("hugepage", 0, 256 * K), write(0, 4 * K), write(64 * K, 4 * K),
        madvise("dontneed", 64 * K, 16 * K)]},
    "mthp-locked": {"machine": MTHP_64K, "steps": [
        area(0, 256 * K), madvise("hugepage", 0, 256 * K), at("mlock", 0, 128 * K),
        at("mprotect", 128 * K, 64 * K, prot="r"), write(192 * K, 4 * K)]},
    "mthp-shared": {"machine": MTHP_64K, "steps": [
        area(0, 256 * K), madvise("hugepage", 0, 256 * K), write(0, 128 * K), fork(), fork("p2", "p1"),
        write(0, 16 * K, 1, "p2"), at("munmap", 64 * K, 4 * K, "p1")]},
    "fork": {"steps": [area(0, 64 * K), write(0, 32 * K), read(32 * K, 16 * K), at("mlock", 0, 8 * K), fork(),
                       write(8 * K, 8 * K, 1, "p1"), write(16 * K, 8 * K, 2)]},
    "fork-left-alone": {"steps": [area(0, 64 * K), write(0, 32 * K), fork(), write(0, 8 * K),
                                  {"op": "exit", "proc": "p0"}, write(8 * K, 4 * K, 3, "p1")]},
    "thirds": {"steps": [area(0, 64 * K), write(0, 20 * K), fork(), fork("p2")]},
    "guard": {"steps": [area(0, 64 * K), write(0, 64 * K), madvise("guard_install", 16 * K, 16 * K),
                        madvise("guard_remove", 24 * K, 4 * K), fork()]},
    "cold": {"steps": [area(0, 64 * K), write(0, 64 * K), madvise("cold", 0, 32 * K)]},
    "shared": {"steps": [area(0, 32 * K, "rw", "shared"), area(64 * K, 32 * K, "r", "shared"), write(0, 8 * K),
                         read(8 * K, 4 * K), read(64 * K, 4 * K), fork(), write(12 * K, 4 * K, 1, "p1"),
                         at("munmap", 0, 4 * K)]},
    "shared-thp": {"machine": {"shmem_enabled": "always"}, "steps": [
        area(0, 4 * M, "rw", "shared"), write(0, 4 * K), write(2 * M, 4 * K), at("mprotect", 2 * M, 4 * K, prot="r"),
        fork(), read(0, 2 * M, "p1")]},
    "memfd": {"steps": [
        file("memfd", 128 * K, fill=1), file("memfd", 64 * K, "f1"), of_file(0, 64 * K, "rw", "shared"),
        of_file(M, 64 * K, "rw", "private", 32 * K), of_file(2 * M, 128 * K, "rw", "shared", 0, "f1"), read(0, 4 * K),
        write(32 * K, 4 * K), read(M, 4 * K), write(M + 4 * K, 4 * K), write(2 * M, 8 * K), at("mlock", 2 * M, 8 * K),
        fork(), write(M + 8 * K, 4 * K, 1, "p1")]},
    "tmpfs": {"steps": [
        file("tmpfs", 128 * K, fill=1), of_file(0, 128 * K, "r", "shared"), of_file(M, 64 * K, "rw", "private", 64 * K),
        read(0, 4 * K), write(M, 4 * K), fork()]},
    "disk": {"steps": [
        file("disk", 128 * K, fill=1), of_file(0, 128 * K, "rw", "shared"), of_file(M, 64 * K, "rw", "private", 64 * K),
        read(0, 4 * K), write(8 * K, 4 * K), write(M, 4 * K), at("mlock", 0, 8 * K)]},
    "moved": {"steps": [
        area(0, 128 * M), area(512 * M, 4 * M), madvise("hugepage", 512 * M, 4 * M), write(512 * M, 4 * M),
        at("mremap", 0, 0, old_length=128 * M, new_length=128 * M, flags=["maymove", "fixed"],
           new_addr=hex(A + 1024 * M)),
        at("mremap", 512 * M, 0, old_length=2 * M, new_length=3 * M, flags=["maymove", "fixed"],
           new_addr=hex(A + 640 * M)),
        at("mremap", 514 * M, 0, old_length=M, new_length=M, flags=["maymove", "fixed", "dontunmap"],
           new_addr=hex(A + 700 * M))]},
    "high-water": {"steps": [area(0, 8 * M), madvise("hugepage", 0, 8 * M), write(0, 8 * M),
                             madvise("dontneed", 0, 4 * M), at("munmap", 4 * M, 2 * M),
                             area(128 * M, 64 * M, "none"), at("munmap", 128 * M, 64 * M)]},
    "page-tables": {"steps": [area(0, 4 * M), write(0, 4 * K), write(2 * M, 4 * K), madvise("dontneed", 0, 4 * M),
                              area(1 << 30, 2 * M), write(1 << 30, 4 * K), at("munmap", 1 << 30, 2 * M)]},
}
