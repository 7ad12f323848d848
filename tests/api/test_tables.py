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
