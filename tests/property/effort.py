"""How much the property tests try: the same few examples every time, or many random ones with
FOLIOSIM_PROPERTY=big."""
import os

from hypothesis import HealthCheck, settings

BIG = os.environ.get("FOLIOSIM_PROPERTY", "") == "big"


def effort(few, many, **more):
    """Settings of a property test that tries `few` examples by default."""
    return settings(max_examples=many if BIG else few, derandomize=not BIG, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck), **more)
