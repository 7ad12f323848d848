"""Live tests say why they skip."""
import os
import platform
from pathlib import Path

import pytest


def why_not():
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "needs Linux on x86-64"
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/proc/kpageflags").exists():
        return "this kernel has no /proc/kpageflags"
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    return None if release == (6, 18) else f"compares with Linux 6.18, this is {platform.release()}"


def pytest_collection_modifyitems(items):
    live = [item for item in items if item.get_closest_marker("live") and "attach" in str(item.path)]
    reason = why_not() if live else None
    for item in live if reason else ():
        item.add_marker(pytest.mark.skip(reason=f"no process can be read: {reason}"))
