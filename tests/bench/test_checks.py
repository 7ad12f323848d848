"""The checks in bench/ see what they are for.  The folder is not installed: without it they are skipped."""
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="no bench/ beside tests/")

CODE = """\
cdef long add(long n) noexcept nogil:
    cdef long i, total = 0
    for i in range(n):
        total += i
    return total


def each(values, long n):
    cdef long i
    out = []
    for i in range(n):
        out.append(i)
    return out
"""
LISTING = """\
9,000 (90.00%)  ???:__pyx_f_8foliosim_5_core_3zap_unmap_vma_range [/some/zap.so]
  812 ( 8.12%)  ???:__pyx_f_8foliosim_5_core_11split_folio_split_folio_to_order [/some/split_folio.so]
  700 ( 7.00%)  ???:__pyx_pw_8foliosim_5_core_7machine_11CoreProcess_9sys_mprotect [/some/machine.so]
   10 ( 0.10%)  ???:PyObject_Call [/some/libpython.so]
"""


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def test_python_in_a_loop_is_seen_and_clean_code_is_not_blamed(tmp_path):
    from bench.annotate import annotated, yellow

    source = tmp_path / "sample.pyx"
    source.write_text(CODE)
    lines = annotated(source)
    assert len(lines) == len(CODE.splitlines())
    assert [code for _, _, code in yellow(lines)] == ["out.append(i)"]


def test_instruction_counts_are_read_and_growth_is_seen():
    from bench.gate import LIMIT, _parse, compare

    counts = _parse(LISTING)
    assert counts == {"zap.unmap_vma_range": 9000, "split_folio.split_folio_to_order": 812, "CoreProcess.sys_mprotect": 700}
    grown = {name: ratio > LIMIT for name, _, _, ratio in compare({**counts, "zap.unmap_vma_range": 8800}, counts)}
    assert grown == {"zap.unmap_vma_range": True, "split_folio.split_folio_to_order": False, "CoreProcess.sys_mprotect": False}
