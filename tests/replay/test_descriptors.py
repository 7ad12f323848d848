"""What the calls of a trace tell of descriptors: numbers are used again, and open files are shared by fork."""
import pytest

from foliosim.replay.descriptors import open_files

READ, WRITE, SHARED, PRIVATE = 1, 3, 1, 2
LOG, CACHE = {"file": "/log", "dev": "fe:00", "ino": 5}, {"file": "/cache", "dev": "fe:00", "ino": 6}
MEMFD = {"file": "/memfd:a (deleted)", "dev": "00:01", "ino": 7}


def mmap(when, file, fd=3, prot=READ, flags=SHARED, pid=100):
    return ["c", when, pid, pid, "mmap", when, [0, 4096, prot, flags, fd, 0], 0x10000, file]


def ftruncate(when, fd=3, ret=0, pid=100):
    return ["c", when, pid, pid, "ftruncate", when, [fd, 8192], ret, {}]


def memfd(when, fd, pid=100):
    return ["c", when, pid, pid, "memfd_create", when, [0, 0], fd, {}]


def execve(when, pid):
    return ["X", when, pid, pid, "/bin/true"]


def fork(when, child, pid=100):
    return ["F", when, pid, pid, child, child, 0]


@pytest.mark.parametrize("events, writable", [
    ([mmap(1, LOG)], [False]),
    ([mmap(1, LOG), mmap(2, LOG, prot=WRITE)], [True, True]),
    ([mmap(1, LOG), mmap(2, LOG, prot=WRITE, flags=PRIVATE)], [False, False]),
    ([mmap(1, LOG), mmap(2, CACHE, prot=WRITE)], [False, True]),       # the number is used again
    ([ftruncate(1), mmap(2, LOG)], [True, True]),
    ([mmap(1, LOG), ftruncate(2), mmap(3, CACHE)], [False, True, True]),
    ([mmap(1, LOG), ftruncate(2)], [True, True]),
    ([mmap(1, LOG), ftruncate(2, ret=-22)], [False]),
    ([memfd(1, 4), mmap(2, MEMFD, fd=4)], [True, True]),
    ([memfd(1, 4), ftruncate(2, fd=4), mmap(3, LOG, fd=4)], [True, True, False]),
    ([memfd(1, 4), mmap(2, MEMFD, fd=4), ftruncate(3, fd=4), mmap(4, LOG, fd=4)], [True, True, True, True]),
    ([mmap(1, LOG), fork(2, 101), execve(3, 101), ftruncate(4, pid=101)], [False, True]),
    ([mmap(1, LOG), fork(2, 101), ftruncate(3, pid=101)], [True, True]),
    ([mmap(1, LOG), ftruncate(3, pid=101)], [False, True]),
])
def test_open_for_writing(events, writable):
    found = open_files(events)
    assert [found[event[1], event[3]].writable for event in events if (event[1], event[3]) in found] == writable


def test_a_size_is_of_the_file_that_is_mapped_next():
    found = open_files([mmap(1, LOG), ftruncate(2), mmap(3, CACHE), ftruncate(4)])
    assert [found[when, 100].key[1] for when in (1, 2, 3, 4)] == [5, 6, 6, 6]
