import gzip
import json

import pytest
from scripted import every_kind


@pytest.fixture
def write_lines(tmp_path):
    """Write scenarios (objects or text) to a file."""

    def write(name, *lines):
        path = tmp_path / name
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.fixture
def small():
    """A scenario that has every kind of value: all fields and flags that the contract names."""
    return every_kind()
