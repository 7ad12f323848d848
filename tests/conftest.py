"""Fixtures of the package for all tests, and one of our own."""
import signal

import pytest

# What a script runs in the background ignores SIGINT, and so do its children, which tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["foliosim.testing.pytest_plugin"]


@pytest.fixture
def thp(process):
    """Address of a 2 MiB folio, written in every page."""
    import foliosim as fs

    addr = process.mmap(2 << 20)
    process.madvise(addr, 2 << 20, fs.MADV_HUGEPAGE)
    process.write(addr, 2 << 20, value=7)
    return addr
