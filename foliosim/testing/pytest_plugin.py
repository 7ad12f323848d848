"""Fixtures for tests that use foliosim.

Name it in a top-level conftest.py: ``pytest_plugins = ["foliosim.testing.pytest_plugin"]``.

``machine``
    A `Machine` of 256 MiB; ``@pytest.mark.foliosim(thp="always", ...)`` gives its other arguments.  It is validated
    when the test ends.
``process``
    A process of that machine.
``folio_shape``
    A `foliosim.testing.shapes.Shape`, once for each shape; ``@pytest.mark.folio_shapes("base_page", ...)`` chooses
    some.  Its machine is its own, and is audited when the test ends.
"""
import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "foliosim(**settings): arguments of Machine for the fixture 'machine'")
    config.addinivalue_line("markers", "folio_shapes(*names): the shapes that the fixture 'folio_shape' takes")


def pytest_generate_tests(metafunc):
    if "folio_shape" not in metafunc.fixturenames:
        return
    from foliosim.testing.shapes import SHAPES

    marker = metafunc.definition.get_closest_marker("folio_shapes")
    names = marker.args if marker else tuple(SHAPES)
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        raise ValueError(f"folio_shapes {unknown[0]!r}: valid are {', '.join(SHAPES)}")
    metafunc.parametrize("folio_shape", names, indirect=True)


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
        shape = build(request.param)
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield shape
    shape.audit()
