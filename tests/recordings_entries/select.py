"""Choose the scenarios with page-table entries that are copied here: python select.py FOLDER_OF_RECORDINGS

FOLDER has a folder of .jsonl.gz files for each architecture.  Those written by hand for the entries are all taken, of
every other theme a few, evenly spaced in the order of the file.  The same recordings always give the same bytes.
"""
import argparse
import gzip
from pathlib import Path

HERE = Path(__file__).parent
WANTED = {"directed": 14, "entries": None}  # theme: how many, None: all
OTHERS = 1


def evenly(items, count):
    """`count` items, evenly spaced."""
    return [items[(2 * k + 1) * len(items) // (2 * count)] for k in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for folder in sorted(path for path in parser.parse_args().folder.iterdir() if path.is_dir()):
        chosen = []
        for path in sorted(folder.glob("*.jsonl.gz")):
            with gzip.open(path) as file:
                lines = list(file)
            count = WANTED.get(path.name.partition(".")[0], OTHERS)
            chosen += lines if count is None else evenly(lines, count)
        data = gzip.compress(b"".join(chosen), 9, mtime=0)
        (HERE / f"{folder.name}.jsonl.gz").write_bytes(data)
        print(f"{folder.name}: {len(chosen)} scenarios, {len(data)} bytes")


if __name__ == "__main__":
    main()
