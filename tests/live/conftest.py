"""Tests marked `live` use the machine's own kernel; where that cannot be done they say why they skip."""
import pytest

from foliosim.live import build, facts
from foliosim.live.errors import LiveError


def why_not():
    reason = facts.why_not()
    if reason is not None:
        return reason
    try:
        build.program("puppet")
        build.program("guard")
    except LiveError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items):
    live = [item for item in items if item.get_closest_marker("live")]
    reason = why_not() if live else None
    if reason is not None:
        for item in live:
            item.add_marker(pytest.mark.skip(reason=f"the live kernel cannot be observed: {reason}"))


@pytest.fixture
def recorder():
    from foliosim.live.recorder import Recorder

    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def turn():
    from foliosim.live.settings import Turn

    with Turn() as turn:
        yield turn
