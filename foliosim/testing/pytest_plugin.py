"""Fixtures for tests that use foliosim.

Name it in a top-level conftest.py: ``pytest_plugins = ["foliosim.testing.pytest_plugin"]``.

``machine``
    A `Machine` of 256 MiB; ``@pytest.mark.foliosim(thp="always", ...)`` gives its other arguments.  It is validated
    when the test ends.
``arch``
    A `foliosim.cores.Core`: the test runs once for each architecture and page size, and `machine` is of that.  One
    that was not built is skipped.
``process``
    A process of that machine.
``folio_shape``
    A `foliosim.testing.shapes.Shape`, once for each shape on x86-64, and for a few on arm64; with ``--all-arch`` for
    each on every architecture and page size.  ``@pytest.mark.folio_shapes("base_page", ...)`` chooses some.  Its
    machine is its own, and is audited when the test ends.
"""
import pytest

import foliosim
from foliosim.cores import find, machines
from foliosim.errors import UnsupportedError
from foliosim.testing.shapes import build, shapes_of

# Those that differ on arm64: contiguous blocks, whole, cut and left over.
_FEW = ("thp_pte", "thp_partly_unmapped", "mthp_order4", "private_file")
_CORES = [find(*one) for one in machines()]


def pytest_addoption(parser):
    parser.addoption("--all-arch", action="store_true", help="folio shapes on every architecture and page size")


def pytest_configure(config):
    config.addinivalue_line("markers", "foliosim(**settings): arguments of Machine for the fixture 'machine'")
    config.addinivalue_line("markers", "folio_shapes(*names): the shapes that the fixture 'folio_shape' takes")


def pytest_generate_tests(metafunc):
    if "folio_shape" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("folio_shapes")
    known = {name for arch, size in machines() for name in shapes_of(arch, size)}
    unknown = [name for name in marker.args if name not in known] if marker else []
    if unknown:
        raise ValueError(f"folio_shapes {unknown[0]!r}: valid are {', '.join(shapes_of())}")
    params = [pytest.param((name, arch, size), id=name if arch == "x86_64" else f"{name}-{arch}-{size >> 10}K")
              for name, arch, size in _wanted(metafunc.config.getoption("--all-arch"))
              if marker is None or name in marker.args]
    metafunc.parametrize("folio_shape", params, indirect=True)


def _wanted(everywhere):
    for arch, size in machines():
        for name in shapes_of(arch, size):
            if everywhere or arch == "x86_64" or (size == 4096 and name in _FEW):
                yield name, arch, size


@pytest.fixture(params=_CORES, ids=[f"{core.arch}-{core.page_size >> 10}K" for core in _CORES])
def arch(request):
    """An architecture and page size."""
    try:
        request.param.machine
    except AttributeError as error:
        pytest.skip(f"not built: {error}")
    return request.param


@pytest.fixture
def machine(request):
    """An emulated machine."""
    marker = request.node.get_closest_marker("foliosim")
    settings = dict(marker.kwargs) if marker else {}
    core = request.getfixturevalue("arch") if "arch" in request.fixturenames else None
    if core in _CORES:  # and not a parameter of that name
        settings.update(arch=core.arch, page_size=core.page_size)
    built = foliosim.Machine(**{"memory": _memory(settings), **settings})
    yield built
    built.validate()


def _memory(settings):
    # 256 MiB; with large pages some PMD leaves.
    core = find(settings.get("arch", "x86_64"), settings.get("page_size", "4K"))
    return max(256 << 20, 16 * core.pmd_size)


@pytest.fixture
def process(machine):
    """A process of `machine`."""
    return machine.spawn()


@pytest.fixture
def folio_shape(request):
    """Memory of one shape; skipped, with the reason, where this version cannot make it."""
    try:
        shape = build(*request.param)
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield shape
    shape.audit()
