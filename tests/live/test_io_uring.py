"""What registered buffers are charged (VmPin) on the live kernel and in the emulator.

The kernel's answers are kept in io_uring.json, which is written by

    FOLIOSIM_RECORD=1 pytest tests/live/test_io_uring.py -m live
"""
import ctypes
import json
import os
import re
import resource
import struct
from pathlib import Path

import pytest

import foliosim as fs
from foliosim.live import settings
from foliosim.procfs.status import status

GOLDEN = Path(__file__).parent / "io_uring.json"
PAGE, HUGE = 4096, 2 << 20
AREA = 4 * HUGE
MEMLOCK = (7 << 20) - PAGE  # three huge folios, and the ring itself, which counts too
MADV_HUGEPAGE, MADV_NOHUGEPAGE = 14, 15

A, B, A_TOO = (0, PAGE), (HUGE, PAGE), (5 * PAGE, PAGE)
FOUR = [(n * HUGE, PAGE) for n in range(4)]
# Advice, then what is done: "register" buffers, "update" a slot, "unregister" all; offsets and lengths in the area.
SCENARIOS = {
    "a call does not know its own buffers": (MADV_HUGEPAGE, [
        ("register", [A, B, A_TOO]), ("update", 0, None), ("update", 1, None), ("update", 2, None)]),
    "but for the one before": (MADV_HUGEPAGE, [("register", [A, A_TOO, B]), ("unregister",), ("unregister",)]),
    "the first takes the charge away": (MADV_HUGEPAGE, [
        ("register", [A, None, None]), ("update", 1, A_TOO), ("update", 2, (HUGE - 100, 200)), ("update", 0, None),
        ("update", 1, (8 * PAGE, PAGE)), ("unregister",)]),
    "over folios": (MADV_HUGEPAGE, [("register", [(PAGE, 2 * HUGE)]), ("unregister",)]),
    "single pages": (MADV_NOHUGEPAGE, [
        ("register", [(100, PAGE), (100, PAGE), None]), ("update", 0, None), ("update", 2, (0, HUGE)),
        ("register", [A])]),
    "errors": (MADV_NOHUGEPAGE, [
        ("update", 0, A), ("register", []), ("register", [A, (0, 0)]), ("register", [A, (AREA - PAGE, 1 << 20)]),
        ("register", [A, None]), ("update", 1, (0, (1 << 30) + 1)), ("update", 2, A), ("update", 1, (AREA, PAGE))]),
    "the limit": (MADV_HUGEPAGE, [
        ("register", FOUR), ("register", FOUR[:3] + [None]), ("update", 3, FOUR[3]), ("update", 3, A_TOO),
        ("update", 0, None), ("update", 0, FOUR[3])]),
}


def vm_pin(text):
    return int(re.search(r"VmPin:\s+(\d+)", text)[1])


# ---- the emulator ----

def emulated(name):
    advice, calls = SCENARIOS[name]
    machine = fs.Machine(memory="64M")
    process = machine.spawn()
    area = process.mmap(AREA)
    process.madvise(area, AREA, advice)
    process.write(area, AREA, value=7)
    ring, out = None, []

    def place(span):
        return span if span is None else (area + span[0] if span[1] else 8, span[1])

    def call(verb, *args):
        nonlocal ring
        if verb == "register" and ring is None:
            ring = process.register_buffers([place(span) for span in args[0]], memlock=MEMLOCK)
        elif verb == "register":
            ring.io_sqe_buffers_register([place(span) or (0, 0) for span in args[0]])
        elif ring is None:
            raise OSError(6, "there is no table yet")
        elif verb == "unregister" or args[1] is None:
            ring.unregister(*args[:1])
        else:
            ring.update(args[0], *place(args[1]))

    for step in calls:
        try:
            call(*step)
            errno = 0
        except OSError as error:
            errno = error.errno
        machine.validate()
        out.append([errno, vm_pin(status(process))])
    return out


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_recorded(name):
    assert emulated(name) == json.loads(GOLDEN.read_text())[name]


# ---- the kernel ----

IO_URING_SETUP, IO_URING_REGISTER = 425, 427
REGISTER_BUFFERS, UNREGISTER_BUFFERS, REGISTER_BUFFERS_UPDATE = 0, 1, 16
libc = ctypes.CDLL(None, use_errno=True)


def syscall(*args):
    result = libc.syscall(*args)
    return -ctypes.get_errno() if result < 0 else result


def area_of(advice):
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    size = AREA + 2 * HUGE      # a hole behind the area
    area = (libc.mmap(None, size, 3, 0x22, -1, 0) + HUGE - 1) & -HUGE
    libc.munmap(ctypes.c_void_p(area + AREA), ctypes.c_size_t(HUGE))
    libc.madvise(ctypes.c_void_p(area), ctypes.c_size_t(AREA), advice)
    ctypes.memset(area, 7, AREA)
    return area


def huge_kb():
    return int(re.search(r"AnonHugePages:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text())[1])


def on_the_kernel(name):
    """In a process of a user that may not lock more than MEMLOCK."""
    advice, calls = SCENARIOS[name]
    ring = syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
    area, out = area_of(advice), []
    if ring < 0 or (advice == MADV_HUGEPAGE and huge_kb() < AREA >> 10):
        return f"io_uring_setup: {ring}; {huge_kb()} kB are huge"

    def vectors(spans):
        packed = [struct.pack("QQ", *((0, 0) if span is None else (area + span[0] if span[1] else 8, span[1])))
                  for span in spans]
        return ctypes.create_string_buffer(b"".join(packed) or b"\0")

    for verb, *args in calls:
        if verb == "register":
            result = syscall(IO_URING_REGISTER, ring, REGISTER_BUFFERS, vectors(args[0]), len(args[0]))
        elif verb == "unregister":
            result = syscall(IO_URING_REGISTER, ring, UNREGISTER_BUFFERS, None, 0)
        else:
            vector = vectors(args[1:])
            update = struct.pack("IIQQII", args[0], 0, ctypes.addressof(vector), 0, 1, 0)
            result = syscall(IO_URING_REGISTER, ring, REGISTER_BUFFERS_UPDATE, ctypes.create_string_buffer(update), 32)
        out.append([max(-result, 0), vm_pin(Path("/proc/self/status").read_text())])
    return out


def as_user(uid, name):
    """The kernel's answers to a user of its own: what a ring counts is given back some time after it is closed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK, MEMLOCK))
        os.setgid(uid)
        os.setuid(uid)
        libc.prctl(4, 1, 0, 0, 0)       # PR_SET_DUMPABLE: /proc/self stays readable
        os.write(writer, json.dumps(on_the_kernel(name)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as text:
        return json.load(text)


@pytest.mark.live
def test_the_kernel_does_so(turn):
    if os.geteuid():
        pytest.skip("not root: other users are needed")
    turn.apply(settings.default())
    told = {name: as_user(60000 + i, name) for i, name in enumerate(SCENARIOS)}
    if os.environ.get("FOLIOSIM_RECORD"):
        GOLDEN.write_text(json.dumps(told) + "\n")
    assert told == json.loads(GOLDEN.read_text())
