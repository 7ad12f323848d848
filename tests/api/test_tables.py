"""Structured arrays as tables of other libraries."""
import sys

import numpy as np
import pytest

import foliosim as fs


@pytest.fixture
def process():
    return fs.Machine(memory="64M").spawn()


def test_it_is_an_array(process):
    addr = process.mmap(8192)
    areas = process.maps()
    assert isinstance(areas, np.ndarray) and areas["start"].tolist() == [addr]
    assert process.smaps()[areas["perms"] == "rw-p"].shape == (1,)


def test_pandas(process):
    pytest.importorskip("pandas")
    addr = process.mmap(8192)
    process.touch(addr, 4096, write=True)
    frame = process.smaps().to_pandas()
    assert frame["Rss"].tolist() == [4] and frame["VmFlags"].str.contains("wr").all()
    walks = process.walk([addr, addr + 4096]).to_pandas()
    assert list(walks.columns) == ["pa", "error", "level", "rights"] and len(walks) == 2
    assert process.walk([addr]).to_pandas()["pa"].tolist() == [process.translate(addr)]
    assert process.smaps()[0:0].to_pandas().empty


def test_a_ledger_in_pandas(process):
    pytest.importorskip("pandas")
    ledger = process.machine.ledger()
    assert ledger.to_pandas().to_dict() == dict(ledger)


def test_one_line_for_each(process):
    machine, addr = process.machine, process.mmap(8192)
    process.write(addr, 8192, value=1)
    file, ring = machine.create_file("memfd", 8192), process.register_buffers([(addr, 100), None])
    machine.inject.reference((process, addr))
    assert [repr(thing) for thing in (file, machine.inject, ring, ring[0])] == [
        f"<File inode={file.inode} length=8192 cached_pages=0>", "<Injector 1 active>",
        "<RegisteredBuffers 1 of 2 slots, 4096 bytes charged>", "<CoreBuffer 100 bytes, 4096 charged>"]
    file.close()
    assert repr(file) == "<File closed>"


def test_without_pandas(process, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"foliosim\[tables\]"):
        process.maps().to_pandas()


def test_html(process):
    addr = process.mmap(4096)
    text = process.smaps()._repr_html_()
    assert f"{addr:016x}" in text and "<th>VmFlags</th>" in text and "<th>Locked</th>" not in text
    many = np.zeros(1000, dtype=[("start", "u8"), ("<name>", "U4")]).view(fs.Table)
    many["<name>"] = "<b>"
    text = many._repr_html_()
    assert "&lt;name&gt;" in text and "<b>" not in text and "940 more" in text
    assert many.reshape(10, 100)._repr_html_().startswith("<pre>")


def test_what_is_no_table_is_shown_as_an_array():
    process = fs.Machine(memory="64M").spawn()
    process.mmap(4096)
    maps = process.maps()
    for array in (maps == maps, maps.argsort()):
        assert array._repr_html_().startswith("<pre>")
        assert len(array.to_pandas()) == len(maps)
