import pytest

import foliosim as fs

HUGE = 2 << 20


@pytest.fixture
def machine():
    """A machine that is audited when the test ends."""
    machine = fs.Machine(memory="256M")
    yield machine
    machine.validate()


@pytest.fixture
def process(machine):
    return machine.spawn()


@pytest.fixture
def thp(process):
    """Address of a 2 MiB folio, written in every page."""
    addr = process.mmap(HUGE)
    process.madvise(addr, HUGE, fs.MADV_HUGEPAGE)
    process.write(addr, HUGE, value=7)
    return addr
