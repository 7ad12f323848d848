"""What a trace does not tell, each shown by a pair of programs: their traces are alike, and the kernel's smaps are not.

docs/replay.md lists them.  Live: both are recorded here.
"""
import struct
import sys

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.intake import record
from foliosim.replay import read_trace
from foliosim.replay.truth import read_truth

pytestmark = [pytest.mark.live, pytest.mark.skipif(bool(record.missing()), reason="cannot record here")]

COMMON = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
second = sys.argv[1] == "b"
path = sys.argv[2]
def memory(pages):
    return libc.mmap(None, ctypes.c_size_t(pages << 12), 3, 0x22, -1, ctypes.c_long(0))
"""
OPEN = COMMON + """
fd = os.open(path, os.O_RDWR if second else os.O_RDONLY)
libc.mmap(None, ctypes.c_size_t(4096), 1, 1, fd, ctypes.c_long(0))
"""
SEAL = COMMON + """
at = memory(4)
libc.syscall(462 if second else 39, ctypes.c_void_p(at + 4096), ctypes.c_size_t(4096), 0)
"""
VECTOR = COMMON + """
at = memory(8)
ctypes.memset(at, 1, 8 << 12)
self = libc.syscall(434, os.getpid(), 0)
ranges = (ctypes.c_size_t * 2)(at + 4096 * second, 4096)
assert libc.syscall(440, self, ranges, 1, 4, 0) == 4096
"""
DIRECT = COMMON + """
at = memory(8)
fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
assert libc.pread(fd, ctypes.c_void_p(at), ctypes.c_size_t(8192 if second else 4096), ctypes.c_long(0)) > 0
"""


def recorded(tmp_path, name, *program):
    """A program's calls, mappings and forks without times, and its last smaps."""
    trace, truth = tmp_path / f"{name}.trace.jsonl", tmp_path / f"{name}.truth.json"
    out = CliRunner().invoke(main, ["trace", "--every", "0", "--out", str(trace), "--truth", str(truth), "--", *program])
    assert out.exit_code == 0, out.output
    read = read_trace(trace)
    calls = [[*event[:1], *event[2:5], *event[6:]] if event[0] == "c" else [event[0], *event[2:]]
             for event in read.events]
    return calls, (read.address // 4096).tolist(), read_truth(truth).snapshots[-1]["procs"]["100"]["smaps"]


def alike(one, other):
    """Two recordings cannot be told apart, but for a fault that happened to be taken twice."""
    return one[0] == other[0] and len(set(one[1]) ^ set(other[1])) == 0


@pytest.mark.parametrize("script, field", [(OPEN, "VmFlags"), (SEAL, "VmFlags"), (VECTOR, "pages"), (DIRECT, "Rss")],
                         ids=["how a file is open", "mseal", "ranges of process_madvise", "direct I/O"])
def test_a_trace_does_not_tell(script, field, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 14))
    one, other = (recorded(tmp_path, which, sys.executable, "-S", "-c", script, which, str(file)) for which in "ab")
    assert alike(one, other)
    assert [area.get(field) for area in one[2]] != [area.get(field) for area in other[2]]


def elf(first):
    """A program of two segments that exits: the first has so many bytes, and the second begins 16 bytes behind a page."""
    code = b"\x31\xff\xb8\xe7\x00\x00\x00\x0f\x05"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0x2010, 64, 0, 0, 64, 56, 2,
                                                              64, 0, 0)
    segments = [(4, 0, 0, first), (5, 0x1010, 0x2010, len(code))]
    header += b"".join(struct.pack("<IIQQQQQQ", 1, flags, at, addr, addr, size, size, 4096)
                       for flags, at, addr, size in segments)
    return header.ljust(0x1010, b"\0") + code


def test_a_trace_does_not_tell_where_a_programs_first_segment_ends(tmp_path):
    """Its last bytes are of the page in which the second one begins, or are not."""
    found = []
    for size in (0x1000, 0x1008):
        (tmp_path / "it").write_bytes(elf(size))
        (tmp_path / "it").chmod(0o755)
        found.append(recorded(tmp_path, "it", str(tmp_path / "it")))
    one, other = found
    assert alike(one, other)
    assert [area["end"] for area in one[2]] != [area["end"] for area in other[2]]
