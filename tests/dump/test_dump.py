"""Dumps of page tables: what is in them, the files, and what is refused."""
import json
import struct

import numpy as np
import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim import cores
from foliosim.cli import main

RW = fs.PROT_READ | fs.PROT_WRITE


@pytest.fixture(params=[(arch, size) for arch, size in cores.machines()], ids=lambda at: f"{at[0]}-{at[1] >> 10}K")
def machine(request):
    """Two processes: one with a PMD leaf, single pages and pages that cannot be accessed, and its child."""
    arch, page_size = request.param
    m = fs.Machine(arch=arch, page_size=page_size, memory="8G", thp="always")
    p, huge = m.spawn(), m.core.pmd_size
    a = -(-p.mmap(8 * huge) // huge) * huge
    p.touch(a, huge, write=True)
    p.mprotect(a + 2 * huge, huge, fs.PROT_NONE)
    p.madvise(a + 3 * huge, huge, fs.MADV_NOHUGEPAGE)
    p.touch(a + 3 * huge, 4 * m.page_size, write=True)
    p.mprotect(a + 3 * huge, m.page_size, fs.PROT_READ)
    p.mprotect(a + 3 * huge + m.page_size, m.page_size, fs.PROT_NONE)
    p.fork()
    return m


def addresses(machine):
    start = int(machine.process(1).maps()["start"][0])
    return np.arange(start, start + 10 * machine.core.pmd_size, machine.core.pmd_size // 64 + 8, dtype=np.uint64)


def lime(path):
    """Address and contents of each segment of a file."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        magic, version, first, last, reserved = struct.unpack_from("<IIQQQ", data, at)
        assert (magic, version, reserved) == (0x4c694d45, 1, 0)
        at += 32
        yield first, data[at:at + last - first + 1]
        at += last - first + 1


def test_walks_of_a_dump_are_those_of_the_machine(machine):
    dump = machine.dump_physical()
    image = dump.image()
    for p in machine.processes():
        root, va_bits, pa_bits, flags = machine.core.image.processor(p)
        for access, bits in (("read", 4), ("write", 6), ("fetch", 0x14)):
            walked = machine.core.image.walk_in(image, root, addresses(machine), bits, flags=flags, pa_bits=pa_bits,
                                                va_bits=va_bits)
            assert walked.tolist() == p.walk(addresses(machine), access=access).tolist()
    assert len(set(walked["error"])) >= 2


def test_the_tables_are_all_there_and_nothing_else(machine):
    dump = machine.dump_physical()
    counts = [p.counts() for p in machine.processes()]
    linked = sum(1 + c["nr_ptes"] + c["nr_pmds"] + c["nr_puds"] for c in counts) - 2 * 1  # a table waits for a split
    assert len(dump.frames) == len(set(dump.frames.tolist())) == linked
    for frame, entries in zip(dump.frames.tolist(), dump.tables, strict=True):
        assert np.array_equal(machine.table(frame), entries)


def test_a_dump_is_a_copy(machine):
    dump = machine.dump_physical()
    before = dump.tables.copy()
    p = machine.process(1)
    p.munmap(int(p.maps()["start"][0]), machine.core.pmd_size)
    assert np.array_equal(dump.tables, before)


def test_one_process_only(machine):
    parent, child = machine.processes()
    mine, theirs = (machine.dump_physical(processes=[p]) for p in (parent, child))
    both = machine.dump_physical()
    assert list(mine.registers) == [parent.pid] and list(both.registers) == [parent.pid, child.pid]
    assert sorted([*mine.frames, *theirs.frames]) == both.frames.tolist()


def test_lime_file(machine, tmp_path):
    dump = machine.dump_physical(tmp_path / "tables.lime")
    found = list(lime(tmp_path / "tables.lime"))
    assert found == [(start, bytes(content)) for start, content in dump.runs()]
    assert sum(len(content) for _, content in found) == len(dump.frames) * machine.page_size
    assert all(first + len(content) < start for (first, content), (start, _) in zip(found, found[1:], strict=False))


def test_raw_file_has_holes(machine, tmp_path):
    dump = machine.dump_physical(tmp_path / "memory", format="raw")
    stat = (tmp_path / "memory").stat()
    assert stat.st_size == dump.memory == 8 << 30
    assert stat.st_blocks * 512 < 64 << 20
    with open(tmp_path / "memory", "rb") as file:
        for frame, entries in zip(dump.frames.tolist(), dump.tables, strict=True):
            file.seek(frame * dump.page_size)
            assert file.read(dump.page_size) == entries.tobytes()


def test_registers_of_x86_64():
    m = fs.Machine(memory="64M")
    p = m.spawn()
    assert m.dump_physical().registers == {
        p.pid: {"cr0": 0x80010001, "cr3": p.pgd << 12, "cr4": 0x3000b0, "efer": 0xd00}}


@pytest.mark.parametrize("page_size, va_bits, tcr", [("4K", 48, 0x1a500803510), ("4K", 39, 0x1a500803519),
                                                     ("16K", 47, 0x1a50080b511), ("64K", 42, 0x1a500807516)])
def test_registers_of_arm64(page_size, va_bits, tcr):
    m = fs.Machine(arch="arm64", page_size=page_size, va_bits=va_bits, memory="2G")
    p = m.spawn()
    assert m.dump_physical().registers == {
        p.pid: {"ttbr0_el1": p.pgd * m.page_size, "tcr_el1": tcr, "mair_el1": 0x40044ffff, "sctlr_el1": 0x1005,
                "pan": 1 << 22}}
    old = fs.Machine(arch="arm64", page_size=page_size, va_bits=va_bits, memory="2G", hw_afdbm=False)
    pid = old.spawn().pid
    assert old.dump_physical().registers[pid]["tcr_el1"] == tcr & ~(3 << 39)


def test_what_is_refused(tmp_path):
    m = fs.Machine(memory="64M")
    with pytest.raises(ValueError, match="no process"):
        m.dump_physical(tmp_path / "file")
    p, gone = m.spawn(), m.spawn()
    gone.exit()
    with pytest.raises(ValueError, match="exited"):
        m.dump_physical(tmp_path / "file", processes=[p, gone])
    with pytest.raises(ValueError, match="<Process pid=1> belongs to another machine"):
        m.dump_physical(tmp_path / "file", processes=[fs.Machine(memory="64M").spawn()])
    with pytest.raises(ValueError, match="'p' .*is no process"):
        m.dump_physical(tmp_path / "file", processes="p")
    with pytest.raises(ValueError, match="format 'elf': valid are lime, raw"):
        m.dump_physical(tmp_path / "file", format="elf")
    with pytest.raises(FileNotFoundError):
        m.dump_physical(tmp_path / "nowhere/file")
    assert list(tmp_path.iterdir()) == []
    m.validate()


def test_command(tmp_path):
    m = fs.Machine(arch="arm64", memory="64M")
    p, q = m.spawn(), m.spawn()
    m.save(tmp_path / "machine")
    command = ["dump", str(tmp_path / "machine"), str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*command, "--pid", str(q.pid)])
    said = json.loads(done.output)
    assert int(said["registers"][str(q.pid)]["ttbr0_el1"], 16) == q.pgd * 4096
    assert (said["arch"], said["page_size"], said["va_bits"], said["tables"]) == ("arm64", 4096, 48, 1)
    assert [start for start, _ in lime(tmp_path / "out")] == [q.pgd * 4096]
    wrong = CliRunner().invoke(main, [*command, "--pid", "9"])
    assert wrong.exit_code == 1 and "no process 9" in wrong.output
    assert p.pid != q.pid
