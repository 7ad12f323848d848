"""Scenarios for a kernel with 16 KiB pages, from those of one with 4 KiB: python scale.py RECORDINGS... > SCENARIOS

arm64.jsonl.gz was recorded on Linux 6.18.15 for arm64 with 16 KiB pages (a distribution's build for 52-bit addresses on
a processor without LPA2, so 47 bits and three levels: `va_bits`), from recordings of the same kernel with 4 KiB pages.

A page becomes a page and a PMD leaf of 2 MiB one of 32 MiB: the first half of a leaf's 512 pages go to the beginning of
the larger leaf, the others to its end.  So ranges keep their order, and what began or ended with a leaf still does.
"""
import gzip
import json
import sys

ARENA, ARENA_END = 0x200000000000, 0x200004000000
PAGE, LARGE_PAGE = 4096, 16384
LEAF, LARGE_LEAF = PAGE * 512, LARGE_PAGE * 2048


def scaled(offset):
    """Where a byte goes, from the beginning of the arena or of a file."""
    leaf, rest = divmod(offset, LEAF)
    page, byte = divmod(rest, PAGE)
    gap = LARGE_LEAF // LARGE_PAGE - LEAF // PAGE if page >= LEAF // PAGE // 2 else 0
    return leaf * LARGE_LEAF + (page + gap) * LARGE_PAGE + byte


def address(addr):
    return ARENA + scaled(addr - ARENA) if ARENA <= addr <= ARENA_END else addr


def length_at(addr, length):
    if not ARENA <= addr <= ARENA_END:
        return length * LARGE_PAGE // PAGE
    if addr + length > ARENA_END:
        return length * LARGE_LEAF // LEAF
    return address(addr + length) - address(addr)


def scaled_step(step):
    step = dict(step)
    if "addr" in step:
        addr = int(step["addr"], 16)
        step["addr"] = hex(address(addr))
        for key in {"length", "old_length", "new_length"} & step.keys():
            step[key] = length_at(addr, step[key])
    elif "length" in step:
        step["length"] = scaled(step["length"])
    if "new_addr" in step:
        step["new_addr"] = hex(address(int(step["new_addr"], 16)))
    if "stride" in step:
        step["stride"] = LARGE_LEAF if step["stride"] == LEAF else step["stride"] * LARGE_PAGE // PAGE
    if step.get("offset", 0) >= PAGE:
        step["offset"] = scaled(step["offset"]) if step["op"] == "mmap" else step["offset"] * LARGE_PAGE // PAGE
    return step


def scaled_settings(machine):
    settings = {key: machine[key] for key in ("thp_enabled", "shmem_enabled")}
    for key in ("mthp", "mthp_shmem"):
        sizes = {int(size[:-2]) << 10: value for size, value in machine[key].items()}
        settings[key] = {f"{(LARGE_LEAF if size == LEAF else size * LARGE_PAGE // PAGE) >> 10}kB": value
                         for size, value in sizes.items()}
    return settings


def main():
    for path in sys.argv[1:]:
        with gzip.open(path, "rt") as lines:
            for scenario in map(json.loads, lines):
                print(json.dumps({"id": f"16k-{scenario['id']}", "settings": scaled_settings(scenario["machine"]),
                                  "steps": [scaled_step(step) for step in scenario["steps"]]}))


if __name__ == "__main__":
    main()
