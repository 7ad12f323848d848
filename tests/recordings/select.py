"""Choose the scenarios that are copied here: python select.py FOLDER_OF_RECORDINGS

Of each theme a fixed number is taken, evenly spaced in the order of the file: some that use only the operations of
anonymous memory that came first, and some of the others.  The same recordings always give the same bytes.
"""
import argparse
import gzip
import json
from pathlib import Path

HERE = Path(__file__).parent

FIRST_OPS = {
    "mmap", "munmap", "mprotect", "madvise", "mlock", "mlock2", "munlock", "mincore", "fork", "exit", "thp_disable",
    "clear_refs", "write", "read", "get", "peek", "put", "pin", "unpin",
}
FIRST_ADVICE = {
    "hugepage", "nohugepage", "dontneed", "populate_read", "populate_write", "dontfork", "dofork", "wipeonfork",
    "keeponfork",
}
# theme: how many with the first operations only, how many others
WANTED = {
    "directed": (40, 8), "fork-cow": (16, 1), "mlock": (14, 1), "gup": (14, 1), "vma": (10, 2), "thp": (8, 2),
    "mthp": (4, 3), "always": (2, 4), "mixed": (2, 4), "madvise": (0, 5), "mremap": (0, 5), "files": (0, 4),
}


def uses_first_operations(scenario):
    """Does a scenario use only the operations of anonymous memory that came first?"""
    return all(
        step["op"] in FIRST_OPS and "file" not in step and (step["op"] != "madvise" or step["advice"] in FIRST_ADVICE)
        for step in scenario["steps"])


def evenly(items, count):
    """`count` items, evenly spaced."""
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def select(lines, first, others):
    """The chosen lines of one theme, in their order."""
    groups = {True: [], False: []}
    for line in lines:
        groups[uses_first_operations(json.loads(line))].append(line)
    chosen = {*evenly(groups[True], first), *evenly(groups[False], others)}
    return [line for line in lines if line in chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    scenarios = size = 0
    for theme, (first, others) in WANTED.items():
        with gzip.open(folder / f"{theme}.jsonl.gz") as lines:
            chosen = select(list(lines), first, others)
        data = gzip.compress(b"".join(chosen), 9, mtime=0)
        (HERE / f"{theme}.jsonl.gz").write_bytes(data)
        scenarios += len(chosen)
        size += len(data)
    print(f"{scenarios} scenarios, {size} bytes")


if __name__ == "__main__":
    main()
