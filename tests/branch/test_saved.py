"""Files that keep a machine: refused with the reason if they are not whole; an old one survives a failed save."""
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from state import everything
from test_branch import Careful

import foliosim as fs
from foliosim import saved


@pytest.fixture
def machine():
    machine = fs.Machine(memory="16M", thp="never")
    process = machine.spawn()
    a = process.mmap(8 << 12)
    process.write(a, 3 << 12, value=7)
    return machine


@pytest.fixture
def path(machine, tmp_path):
    machine.save(tmp_path / "machine")
    return tmp_path / "machine"


def test_in_another_process(machine, path):
    code = ("import sys, foliosim as fs\nm = fs.Machine.load(sys.argv[1])\nm.validate()\np = m.process(1)\n"
            "a = int(p.maps()['start'][0])\nprint(p.read(a, 8 << 12).hex())")
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "0707070000000000"


def test_saved_twice_is_the_same(machine, path, tmp_path):
    fs.Machine.load(path).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


class TestRefused:
    def test_every_beginning_of_it(self, path):
        content = path.read_bytes()
        for size in [*range(300), *range(300, len(content), 37), len(content) - 1]:
            with pytest.raises(fs.SavedError, match="cut short"):
                saved.from_bytes(fs.Machine, content[:size])

    def test_every_byte_changed(self, path):
        content = path.read_bytes()
        reasons = set()
        for at in [*range(200), *range(200, len(content), 23), *range(len(content) - 32, len(content))]:
            changed = bytearray(content)
            changed[at] ^= 1 << at % 8
            with pytest.raises(fs.SavedError) as caught:
                saved.from_bytes(fs.Machine, bytes(changed))
            reasons.add(str(caught.value).split(":")[0].split(" ")[0])
        assert reasons == {"not", "format", "cut", "damaged"}

    def test_more_behind_it(self, path):
        with pytest.raises(fs.SavedError, match="damaged: .* it was written with"):
            saved.from_bytes(fs.Machine, path.read_bytes() + b"\0")

    @pytest.mark.parametrize("content, reason", [(b"", "cut short: 0 bytes"), (b"PNG....", "not a saved machine"),
                                                 (b"foliosimulator, a novel of", "format")])
    def test_foreign(self, tmp_path, content, reason):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(fs.SavedError, match=f"file: {reason}"):
            fs.Machine.load(tmp_path / "file")

    def test_another_format(self, path):
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, 8, 7)
        with pytest.raises(fs.SavedError, match=f"format 7: this foliosim reads format {saved.FORMAT}"):
            saved.from_bytes(fs.Machine, bytes(content))

    def test_other_records(self, path, monkeypatch):
        monkeypatch.setattr(saved, "layout", lambda core: "0123456789abcdef")
        with pytest.raises(fs.SavedError, match="saved by another version of foliosim"):
            fs.Machine.load(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            fs.Machine.load(tmp_path / "none")

    def test_records_that_contradict_each_other(self, machine):
        """A right checksum and wrong contents: each item's kind and size is compared with what points to it."""
        header, sections = saved._opened(saved.to_bytes(machine))
        for at in (start + field for start in range(0, len(sections["items"]), 32) for field in (0, 8, 9)):
            table = bytearray(sections["items"])
            table[at] ^= 0x41
            image = machine.core.branch.Image.of_parts(bytes(table), sections["data"])
            blank = machine.core.branch.blank(type(machine), header["nr_pages"])
            with pytest.raises(ValueError, match="contradict each other"):
                image.make(blank)


class TestWhole:
    def test_a_save_that_fails_leaves_the_old_file(self, machine, path, monkeypatch):
        old = path.read_bytes()
        machine.process(1).exit()

        def fail(*_):
            raise OSError("disk on fire")

        for name in ("fsync", "replace"):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, fail)
                with pytest.raises(OSError, match="disk on fire"):
                    machine.save(path)
            assert path.read_bytes() == old
            assert [file.name for file in path.parent.iterdir()] == ["machine"]
        machine.save(path)
        assert fs.Machine.load(path).processes() == []

    def test_a_save_that_is_killed_leaves_the_old_file(self, machine, path):
        old = path.read_bytes()
        code = ("import os, signal, sys, foliosim as fs\nm = fs.Machine.load(sys.argv[1])\nm.spawn()\n"
                "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\nm.save(sys.argv[1])")
        assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
        assert path.read_bytes() == old and len(fs.Machine.load(path).processes()) == 1

    def test_no_folder(self, machine, tmp_path):
        with pytest.raises(FileNotFoundError):
            machine.save(tmp_path / "none" / "machine")


class TestPolicies:
    def test_alternatives_and_functions_are_kept_by_name(self, tmp_path):
        machine = fs.Machine(memory="16M", policy={"cow_order": zlib.crc32, "mlock_rule": "whole", "vma_split": "split_try"})
        machine.save(tmp_path / "machine")
        assert fs.Machine.load(tmp_path / "machine").policy == machine.policy

    def test_objects_are_refused(self, tmp_path):
        for answer in (Careful().cow_order, lambda order, pmd: "order0"):
            machine = fs.Machine(memory="16M", policy={"cow_order": answer})
            with pytest.raises(ValueError, match="policy cow_order: .* cannot be saved: a file keeps names"):
                machine.save(tmp_path / "machine")
            assert not list(tmp_path.iterdir())
            machine.branch(policy="linux-6.18").save(tmp_path / "machine")
            (tmp_path / "machine").unlink()

    def test_a_function_that_is_not_there(self, tmp_path, monkeypatch):
        machine = fs.Machine(memory="16M", policy={"cow_order": zlib.crc32})
        content = saved.to_bytes(machine)
        monkeypatch.delattr(zlib, "crc32")
        with pytest.raises(fs.SavedError, match="policy cow_order: zlib:crc32 is not here"):
            saved.from_bytes(fs.Machine, content)

    def test_an_attribute_that_json_cannot_hold(self, machine, tmp_path):
        machine.notes = object()
        with pytest.raises(ValueError, match="an attribute of the machine cannot be saved"):
            machine.save(tmp_path / "other")


@pytest.mark.parametrize("value", [{"bytes": "zz"}, (1, 2), {1: 2}, float, np.arange(3)])
def test_an_attribute_that_would_come_back_as_another(value, tmp_path):
    machine = fs.Machine(memory="16M")
    machine.x = value
    with pytest.raises(ValueError, match="cannot be saved: x = "):
        machine.save(tmp_path / "machine")
    machine.x = [1, b"2", {"a": None}]
    machine.save(tmp_path / "machine")
    assert fs.Machine.load(tmp_path / "machine").x == machine.x


def test_trouble_goes_on(tmp_path):
    machine = fs.Machine(memory="16M", thp="always")
    process = machine.spawn()
    a = process.mmap(4 << 20)
    process.write(a, 4 << 20, value=1)
    held = machine.inject.reference((process, a), steps=3)
    machine.inject.pin((process, a + (2 << 20)), after=2)
    machine.inject.failure(2, kinds=("folio",), steps=4)
    machine.save(tmp_path / "machine")
    other = fs.Machine.load(tmp_path / "machine")
    for m in (machine, other):
        m.process(1).madvise(a, 4096, fs.MADV_COLD)
    assert len(other.inject.active) == 2 and other.inject.active[0].pfn == held.pfn
    for _ in range(4):
        for m in (machine, other):
            m.process(1).munmap(a, 4096)
        assert everything(other) == everything(machine)
    assert [one.state for one in other.inject.active] == ["active"]
    other.inject.clear()
    other.validate()
