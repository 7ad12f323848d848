"""`Machine.write_proc`: tools written for the real files work on it, and nothing of the user's is overwritten."""
import os
import subprocess

import psutil
import pytest
import readers

import foliosim as fs

MIB = 1 << 20
KPF_BUDDY, KPF_NOPAGE, KPF_PGTABLE, KPF_RESERVED = 1 << 10, 1 << 20, 1 << 26, 1 << 32


@pytest.fixture
def machine():
    return fs.Machine(memory="64M", mthp={"64kB": "madvise"})


def huge(machine):
    process = machine.spawn()
    addr = process.mmap(4 * MIB, addr=0x200000000000, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.madvise(addr, 2 * MIB, fs.MADV_HUGEPAGE)
    process.write(addr, 2 * MIB, value=3)
    return process, addr


class TestPsutil:
    @pytest.fixture(autouse=True)
    def written(self, machine, tmp_path, monkeypatch):
        self.process, self.addr = huge(machine)
        shared = self.process.mmap(MIB, flags=fs.MAP_SHARED | fs.MAP_ANONYMOUS)
        self.process.touch(shared, 65536, write=True)
        machine.write_proc(tmp_path)
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
        self.seen = psutil.Process(self.process.pid)

    def test_memory_maps(self):
        areas = {area.addr.split("-")[0]: area for area in self.seen.memory_maps(grouped=False)}
        area = areas[f"{self.addr:x}"]
        assert (area.path, area.perms) == ("[anon]", "rw-p")
        assert area.rss == area.private_dirty == area.pss == area.anonymous == 2 * MIB
        assert area.size == 2 * MIB
        assert next(area for area in areas.values() if "/dev/zero" in area.path).rss == 65536
        assert sum(area.rss for area in areas.values()) == 2 * MIB + 65536

    def test_memory_info(self):
        info = self.seen.memory_info()
        assert (info.rss, info.vms, info.shared) == (2 * MIB + 65536, 5 * MIB, 65536)
        assert info.data == 4 * MIB

    def test_name_and_parent(self):
        assert self.seen.name() == "foliosim"
        assert self.seen.num_threads() == 1


class TestFolder:
    def test_is_made(self, machine, tmp_path):
        machine.write_proc(tmp_path / "new" / "proc")
        assert (tmp_path / "new/proc/vmstat").exists()

    def test_that_holds_something_is_left_alone(self, machine, tmp_path):
        (tmp_path / "mine").write_text("x")
        with pytest.raises(FileExistsError, match="not an empty folder"):
            machine.write_proc(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_cannot_be_a_file(self, machine, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(FileExistsError):
            machine.write_proc(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "x"

    def test_takes_little_room(self, machine, tmp_path):
        process, _ = huge(machine)
        machine.write_proc(tmp_path)
        pagemap = os.stat(tmp_path / str(process.pid) / "pagemap")
        assert pagemap.st_size == 0x3ffffffff8
        assert pagemap.st_blocks * 512 < MIB


class TestFrames:
    def test_every_frame_has_a_word(self, machine, tmp_path):
        process, addr = huge(machine)
        machine.write_proc(tmp_path)
        flags = readers.words(tmp_path / "kpageflags", 0, 1 << 20)
        assert len(flags) == 64 * MIB // 4096 == len(readers.words(tmp_path / "kpagecount", 0, 1 << 20))
        assert flags[-1] == KPF_BUDDY
        assert flags[process.pgd] == KPF_PGTABLE
        assert not any(word & KPF_NOPAGE for word in flags)

    def test_the_zero_page_is_reserved(self, machine, tmp_path):
        process, addr = huge(machine)
        process.read(addr + 3 * MIB, 1)
        machine.write_proc(tmp_path)
        word = dict(readers.pagemap(tmp_path / str(process.pid)))[addr + 3 * MIB]
        pfn = word & readers.PFN_MASK
        assert readers.words(tmp_path / "kpageflags", pfn, 1) == [fs.KPF_ZERO_PAGE | KPF_RESERVED]

    def test_a_page_that_is_not_mapped_shows_its_folio(self, machine, tmp_path):
        process, addr = huge(machine)
        head = process.translate(addr) >> 12
        process.munmap(addr, 4096)
        machine.write_proc(tmp_path)
        first, second = readers.words(tmp_path / "kpageflags", head, 2)
        assert first & fs.KPF_MMAP
        assert first ^ second == readers.HEAD | readers.TAIL
        assert readers.words(tmp_path / "kpagecount", head, 2) == [0, 1]
        machine.validate()


class TestProcesses:
    def test_all_live_ones_in_order(self, machine):
        parent, _ = huge(machine)
        child = parent.fork()
        assert machine.processes() == [parent, child]
        parent.exit()
        assert machine.processes() == [child]

    def test_also_one_whose_object_is_gone(self, machine, tmp_path):
        pid = huge(machine)[0].pid
        (again,) = machine.processes()
        assert again.pid == pid
        assert machine.processes()[0] is again
        machine.write_proc(tmp_path)
        assert (tmp_path / str(pid) / "maps").exists()
        again.exit()
        assert machine.processes() == []
        machine.validate()


class TestCounters:
    def row(self, folder, name):
        return int(dict(line.split() for line in (folder / "vmstat").read_text().splitlines())[name])

    def test_rows_of_vmstat(self, machine, tmp_path):
        process, addr = huge(machine)
        process.mlock(addr, 2 * MIB)
        machine.write_proc(tmp_path)
        assert self.row(tmp_path, "thp_fault_alloc") == 1
        assert self.row(tmp_path, "nr_anon_transparent_hugepages") == 1
        assert self.row(tmp_path, "nr_mlock") == self.row(tmp_path, "nr_unevictable") == 512
        assert self.row(tmp_path, "thp_swpout") == 0

    def test_statistics_of_sizes(self, machine, tmp_path):
        process, addr = huge(machine)
        more = process.mmap(65536 * 2)
        process.madvise(more, 65536 * 2, fs.MADV_HUGEPAGE)
        process.touch(more, 65536 * 2, write=True)
        machine.write_proc(tmp_path)
        files = readers.sysfs(tmp_path / "sys/kernel/mm/transparent_hugepage")
        assert files["hugepages-2048kB/stats/nr_anon"] == "1\n"
        assert int(files["hugepages-64kB/stats/anon_fault_alloc"]) == machine.mthp_stats()[4]["anon_fault_alloc"] > 0


class TestHighWater:
    def test_of_memory_that_is_gone(self, machine):
        process, addr = huge(machine)
        process.madvise(addr, 2 * MIB, fs.MADV_DONTNEED)
        process.munmap(addr + 2 * MIB, 2 * MIB)
        counts = process.counts()
        assert (counts["hiwater_rss"], counts["hiwater_vm"]) == (512, 1024)
        assert (counts["rss_anon"], counts["total_vm"]) == (0, 512)
        process.clear_refs(5)
        assert process.counts()["hiwater_rss"] == 0

    def test_thp_disable_shows(self, machine):
        from foliosim.procfs import status

        process = machine.spawn()
        assert "THP_enabled:\t1\n" in status(process)
        process.prctl_thp_disable(1)
        assert "THP_enabled:\t0\n" in status(process)


class TestPagemapBytes:
    def test_ends_where_the_address_space_ends(self, machine):
        from foliosim.procfs import pagemap

        process = machine.spawn()
        assert pagemap(process, 0x3ffffffff0, 64) == bytes(8)
        assert pagemap(process, 0x3ffffffff8, 64) == b""
        with pytest.raises(ValueError, match="multiples of 8"):
            pagemap(process, 4, 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="pagemap and kpageflags need root")
def test_the_reader_reads_the_kernels_files():
    from pathlib import Path

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env={}) as process:   # small, and no sanitizer's terabytes
        shown = readers.show(Path("/proc"), {"p0": process.pid})
    assert shown["frames"]
    present = [word for _, word in shown["procs"]["p0"]["pagemap"] if word & readers.PRESENT]
    assert present
    assert "VmRSS" in shown["procs"]["p0"]["status"]
