import errno

import numpy as np
import pytest

import foliosim as fs

HUGE, PAGE = 2 << 20, 4096


@pytest.fixture
def base(process):
    """Address of eight single pages, written."""
    addr = process.mmap(8 * PAGE)
    process.write(addr, 8 * PAGE, value=1, delta=1)
    return addr


class TestSystemCallErrors:
    @pytest.mark.parametrize("call, number, builtin", [
        (lambda p, a: p.mmap(0), errno.EINVAL, OSError),
        (lambda p, a: p.mmap(1 << 60), errno.ENOMEM, OSError),
        (lambda p, a: p.mmap(PAGE, addr=a, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED_NOREPLACE),
         errno.EEXIST, FileExistsError),
        (lambda p, a: p.munmap(a + 1, PAGE), errno.EINVAL, OSError),
        (lambda p, a: p.munmap(a, 0), errno.EINVAL, OSError),
        (lambda p, a: p.mprotect(a + 1, PAGE, fs.PROT_READ), errno.EINVAL, OSError),
        (lambda p, a: p.mprotect(a + 8 * PAGE, PAGE, fs.PROT_READ), errno.ENOMEM, OSError),
        (lambda p, a: p.madvise(a, PAGE, 4711), errno.EINVAL, OSError),
        (lambda p, a: p.madvise(a + 1, PAGE, fs.MADV_DONTNEED), errno.EINVAL, OSError),
        (lambda p, a: p.mlock(a + 8 * PAGE, PAGE), errno.ENOMEM, OSError),
        (lambda p, a: p.munlock(a + 8 * PAGE, PAGE), errno.ENOMEM, OSError),
        (lambda p, a: p.mlock2(a, PAGE, 7), errno.EINVAL, OSError),
        (lambda p, a: p.mincore(a + 1, PAGE), errno.EINVAL, OSError),
        (lambda p, a: p.mincore(a + 8 * PAGE, PAGE), errno.ENOMEM, OSError),
        (lambda p, a: p.clear_refs(9), errno.EINVAL, OSError),
        (lambda p, a: p.prctl_thp_disable(0, 2), errno.EINVAL, OSError),
        (lambda p, a: p.get_user_pages(a + 8 * PAGE, PAGE), errno.EFAULT, OSError),
        (lambda p, a: p.pin_user_pages(a, 9 * PAGE), errno.EFAULT, OSError),
    ])
    def test_errno(self, machine, process, base, call, number, builtin):
        with pytest.raises(fs.SyscallError) as caught:
            call(process, base)
        machine.validate()
        assert caught.value.errno == number
        assert isinstance(caught.value, builtin) and isinstance(caught.value, OSError)
        assert errno.errorcode[number] in str(caught.value)

    def test_the_message_names_the_call(self, process, base):
        with pytest.raises(fs.SyscallError) as caught:
            process.munmap(base + 1, PAGE)
        assert caught.value.syscall == "munmap"
        assert caught.value.syscall_args == (base + 1, PAGE)
        assert hex(base + 1) in str(caught.value)

    def test_map_count_limit(self):
        machine = fs.Machine(memory="64M", max_map_count=2)
        process = machine.spawn()
        addr = process.mmap(8 * PAGE)
        with pytest.raises(fs.SyscallError) as caught:
            process.mprotect(addr + PAGE, PAGE, fs.PROT_READ)
        assert caught.value.errno == errno.ENOMEM
        machine.validate()

    def test_use_after_exit(self, machine, process, base):
        process.exit()
        machine.validate()
        assert repr(process) == "<Process exited>"
        for call in (lambda: process.mmap(PAGE), lambda: process.read(base, PAGE), process.fork, process.exit,
                     process.maps, lambda: process.pagemap(base, PAGE), lambda: process.pid):
            with pytest.raises(ValueError, match="exited"):
                call()


class TestAccesses:
    def test_one_byte_per_stride(self, machine, process, base):
        assert process.read(base, 8 * PAGE) == bytes(range(1, 9))
        assert process.write(base, PAGE, value=200, stride=512, offset=100) == 8
        assert process.read(base, 612, stride=512, offset=100) == b"\xc8"
        assert process.read(base, PAGE, stride=512, offset=100) == b"\xc8" * 8
        machine.validate()

    def test_touch_counts(self, machine, process):
        addr = process.mmap(8 * PAGE)
        assert process.touch(addr, 8 * PAGE) == 8
        assert machine.folio(process.translate(addr) >> 12) is None      # the zero page
        machine.validate()
        assert process.touch(addr, 8 * PAGE, write=True) == 8
        assert machine.folio(process.translate(addr) >> 12).order == 0

    def test_nothing_mapped(self, machine, process, base):
        with pytest.raises(fs.SegvError) as caught:
            process.write(base, 9 * PAGE, value=9)
        assert (caught.value.addr, caught.value.si_code, caught.value.access) == (base + 8 * PAGE, "MAPERR", "write")
        assert process.read(base, 8 * PAGE) == b"\x09" * 8       # stores before it took effect
        machine.validate()

    @pytest.mark.parametrize("prot, access", [(fs.PROT_READ, "write"), (fs.PROT_NONE, "read")])
    def test_not_allowed(self, machine, process, base, prot, access):
        process.mprotect(base, PAGE, prot)
        with pytest.raises(fs.SegvError) as caught:
            process.touch(base, PAGE, write=access == "write")
        assert (caught.value.addr, caught.value.si_code, caught.value.access) == (base, "ACCERR", access)
        assert not isinstance(caught.value, OSError)
        machine.validate()

    @pytest.mark.parametrize("wrong", [{"stride": 0}, {"length": (1 << 64) - 1}])
    def test_misuse(self, process, base, wrong):
        with pytest.raises(ValueError):
            process.read(base, **{"length": PAGE, **wrong})

    def test_wrong_types(self, process, base):
        with pytest.raises(TypeError):
            process.read("base", PAGE)
        with pytest.raises(TypeError):
            process.write(base, PAGE)
        with pytest.raises(TypeError):
            process.mprotect(base, PAGE, "r")

    def test_negative_address(self, process):
        with pytest.raises((OverflowError, ValueError)):
            process.read(-4096, PAGE)


class TestForkAndExit:
    def test_copies_are_seen_in_the_data(self, machine, process, base):
        child = process.fork()
        machine.validate()
        assert child.pid != process.pid
        child.write(base, 2 * PAGE, value=50)
        assert process.read(base, 2 * PAGE) == b"\x01\x02"
        assert child.read(base, 3 * PAGE) == b"\x32\x32\x03"
        machine.validate()
        child.exit()
        machine.validate()
        frame = process.translate(base + 5 * PAGE)
        process.write(base, 8 * PAGE, value=60)
        assert process.translate(base + 5 * PAGE) == frame      # sole owner again: reused

    def test_advice_for_fork(self, machine, process, base):
        process.madvise(base, PAGE, fs.MADV_DONTFORK)
        process.madvise(base + PAGE, PAGE, fs.MADV_WIPEONFORK)
        child = process.fork()
        machine.validate()
        with pytest.raises(fs.SegvError):
            child.read(base, PAGE)
        assert child.read(base + PAGE, 2 * PAGE) == b"\x00\x03"

    def test_shared_memory(self, machine, process):
        addr = process.mmap(PAGE, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
        child = process.fork()
        child.write(addr, PAGE, value=5)
        machine.validate()
        assert process.read(addr, PAGE) == b"\x05"


class TestReferences:
    def test_short_term(self, machine, process, thp):
        pfn = process.translate(thp) >> 12
        with process.get_user_pages(thp + 100, 2 * PAGE) as ref:
            assert ref.nbytes == 2 * PAGE and not ref.pinned
            assert ref.page_frames == [pfn, pfn + 1, pfn + 2]
            assert ref.peek() == b"\x00\x00"         # the byte at 100; only byte 0 was written
            assert machine.folio(pfn).refcount == 4
            machine.validate()
        assert machine.folio(pfn).refcount == 1
        ref.release()
        machine.validate()

    def test_long_term_pin(self, machine, process, thp):
        pfn = process.translate(thp) >> 12
        pin = process.pin_user_pages(thp, 2 * PAGE, longterm=True, write=True)
        assert pin.pinned and machine.folio(pfn).pincount == 2
        machine.validate()
        child = process.fork()
        machine.validate()
        process.write(thp, PAGE, value=8)
        assert pin.peek() == b"\x08\x07"             # a pinned page is never replaced in its owner
        assert child.read(thp, PAGE) == b"\x07"
        pin.release()
        machine.validate()
        assert machine.folio(process.translate(thp) >> 12).pincount == 0

    def test_a_reference_outlives_the_mapping(self, machine, process, base):
        ref = process.get_user_pages(base, PAGE)
        process.munmap(base, 8 * PAGE)
        machine.validate()
        assert ref.peek() == b"\x01"
        assert machine.folio(ref.page_frames[0]).refcount == 1
        ref.release()
        machine.validate()

    def test_exit_drops_references(self, machine, process, base):
        process.pin_user_pages(base, 4 * PAGE, longterm=True)
        process.get_user_pages(base, 4 * PAGE)
        process.exit()
        machine.validate()

    def test_short_of_what_was_asked(self, machine, process, base):
        ref = process.get_user_pages(base, 20 * PAGE)
        assert ref.nbytes == 8 * PAGE
        assert repr(ref) == f"<PageReference pid={process.pid} nbytes={8 * PAGE} referenced>"
        machine.validate()


class TestViews:
    def test_translate_and_walk_agree(self, process, thp, base):
        addrs = np.array([thp, thp + 5 * PAGE + 17, base, base + 3 * PAGE], dtype=np.uint64)
        walks = process.walk(addrs)
        assert walks["error"].tolist() == [0] * 4
        assert walks["pa"].tolist() == [process.translate(int(addr)) for addr in addrs]
        assert walks["level"].tolist() == [1, 1, 0, 0]

    def test_walk_faults(self, process, base):
        process.mprotect(base, PAGE, fs.PROT_READ)
        assert process.walk([base])["error"][0] == 0
        present, write, user = 1, 2, 4
        assert process.walk([base], access="write")["error"][0] == 1 << 31 | present | write | user
        assert process.walk([base + 8 * PAGE])["error"][0] == 1 << 31 | user
        with pytest.raises(ValueError, match="sniff"):
            process.walk([base], access="sniff")
        with pytest.raises(fs.SegvError):
            process.translate(base + 8 * PAGE)

    def test_pagemap(self, machine, process, thp):
        words = process.pagemap(thp - PAGE, HUGE + PAGE)
        assert words.dtype == np.uint64 and len(words) == 513
        assert words[0] == 0
        assert (words[1:] & fs.PM_PRESENT != 0).all() and (words[1:] & fs.PM_MMAP_EXCLUSIVE != 0).all()
        assert (words[1:] & fs.PM_PFRAME_MASK).tolist() == [(process.translate(thp) >> 12) + i for i in range(512)]

    def test_maps(self, process, base):
        process.mprotect(base + PAGE, PAGE, fs.PROT_READ)
        areas = process.maps()
        assert areas["perms"].tolist() == ["rw-p", "r--p", "rw-p"]
        assert areas["start"].tolist() == [base, base + PAGE, base + 2 * PAGE]
        assert areas["end"][-1] == base + 8 * PAGE
        process.mprotect(base + PAGE, PAGE, fs.PROT_READ | fs.PROT_WRITE)
        assert len(process.maps()) == 1                          # merged again

    def test_smaps(self, machine, process, thp):
        process.mlock(thp, HUGE)
        machine.validate()
        area = process.smaps()[0]
        assert (area["Rss"], area["AnonHugePages"], area["Locked"], area["THPeligible"]) == (2048, 2048, 2048, 1)
        assert {"lo", "hg", "ac"} <= set(area["VmFlags"].split())

    def test_mincore(self, process, base):
        addr = process.mmap(4 * PAGE, addr=base + (1 << 30))
        process.touch(addr + PAGE, PAGE, write=True)
        assert process.mincore(addr, 4 * PAGE) == b"\x00\x01\x00\x00"

    def test_prctl_thp_disable(self, machine, process):
        process.prctl_thp_disable(1)
        addr = process.mmap(HUGE)
        process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
        process.touch(addr, HUGE, write=True)
        assert machine.folio(process.translate(addr) >> 12).order == 0

    def test_clear_refs(self, machine, process, base):
        process.clear_refs(1)
        machine.validate()
        assert process.smaps()["Referenced"].tolist() == [0]


@pytest.mark.parametrize("stride", [(1 << 64) - 1, (1 << 64) - 4096, 1 << 63, 20000])
def test_a_stride_beyond_the_range_is_one_access(process, stride):
    addr = process.mmap(16384)
    assert process.write(addr + 4096, 8192, value=5, stride=stride) == 1
    assert process.read(addr, 16384) == b"\0\5\0\0"
    assert process.read(addr + 4096, 8192, stride=stride) == b"\5"


def test_more_bytes_than_the_host_has(process):
    with pytest.raises(MemoryError):
        process.read(1, (1 << 64) - 2, stride=1)


class Raises:
    def fork_pinned(self, *arguments):
        raise KeyError("on purpose")


def test_a_fork_that_raises_leaves_no_child():
    machine = fs.Machine(memory="64M", policy=Raises())
    process = machine.spawn()
    addr = process.mmap(4096)
    process.write(addr, 4096, value=1)
    with process.pin_user_pages(addr, 4096), pytest.raises(KeyError, match="on purpose"):
        process.fork()
    assert machine.processes() == [process]
    machine.validate()


def test_fork_into_what_is_no_new_process(process):
    other = process.machine.spawn()
    process.mmap(4096)
    for child in (process, fs.Machine(memory="64M").spawn()):
        with pytest.raises(ValueError, match="new process of the same machine"):
            process.fork_into(child)
    process.fork_into(other)
    process.machine.validate()
