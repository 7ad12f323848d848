"""Fixtures for tests that use foliosim.

Name it in a top-level conftest.py: ``pytest_plugins = ["foliosim.testing.pytest_plugin"]``.

``machine``
    A `Machine` of 256 MiB; ``@pytest.mark.foliosim(thp="always", ...)`` gives its other arguments.  It is validated
    when the test ends.
``process``
    A process of that machine.
``folio_shape``
    A `foliosim.testing.shapes.Shape`, once for each shape on x86-64, and for a few on arm64; with ``--all-arch`` for
    each on every architecture and page size.  ``@pytest.mark.folio_shapes("base_page", ...)`` chooses some.  Its
    machine is its own, and is audited when the test ends.
"""
import pytest


# Those that differ on arm64: contiguous blocks, whole, cut and left over.
_FEW = ("thp_pte", "thp_partly_unmapped", "mthp_order4", "private_file")


def pytest_addoption(parser):
    parser.addoption("--all-arch", action="store_true", help="folio shapes on every architecture and page size")


def pytest_configure(config):
    config.addinivalue_line("markers", "foliosim(**settings): arguments of Machine for the fixture 'machine'")
    config.addinivalue_line("markers", "folio_shapes(*names): the shapes that the fixture 'folio_shape' takes")


def pytest_generate_tests(metafunc):
    if "folio_shape" not in metafunc.fixturenames:
        return
    from foliosim.cores import machines
    from foliosim.testing.shapes import shapes_of

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
    from foliosim.cores import machines
    from foliosim.testing.shapes import shapes_of

    for arch, size in machines():
        for name in shapes_of(arch, size):
            if everywhere or arch == "x86_64" or (size == 4096 and name in _FEW):
                yield name, arch, size


@pytest.fixture
def machine(request):
    """An emulated machine."""
    import foliosim

    marker = request.node.get_closest_marker("foliosim")
    built = foliosim.Machine(**{"memory": "256M", **(marker.kwargs if marker else {})})
    yield built
    built.validate()


@pytest.fixture
def process(machine):
    """A process of `machine`."""
    return machine.spawn()


@pytest.fixture
def folio_shape(request):
    """Memory of one shape; skipped, with the reason, where this version cannot make it."""
    from foliosim.errors import UnsupportedError
    from foliosim.testing.shapes import build

    try:
        shape = build(*request.param)
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield shape
    shape.audit()
