"""Random calls of the public API: a few rounds of them, and that each kind of finding is found."""
import inspect

import pytest

import foliosim as fs
from foliosim.testing import calls


@pytest.mark.parametrize("number", range(4))
def test_a_round_on_each_core(number, monkeypatch):
    monkeypatch.setattr(calls, "PER_ROUND", 150)
    tally = calls.Tally()
    calls.rounds(7, [number], tally)
    assert not tally.findings and tally.calls >= 150 and len(tally.made) > 60


def test_every_public_method_is_called():
    for cls in (fs.Machine, fs.Process, fs.File, fs.PageReference):
        methods, properties = calls.members(cls)
        own = {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")} - set(calls.EXCLUDED)
        assert own <= {*methods, *properties}
    assert not set(calls.EXCLUDED) & {"mmap", "write", "set_policy", "branch", "validate"}


def test_an_error_that_is_not_documented_is_a_finding(monkeypatch):
    monkeypatch.setattr(fs.Process, "mmap", lambda *arguments, **keywords: {}["nothing"], raising=True)
    with pytest.raises(KeyError):
        calls.Caller(7, 0, "")
    monkeypatch.undo()

    def broken(self):
        """Never fails."""
        raise ZeroDivisionError("nothing")

    monkeypatch.setattr(fs.Machine, "drain", broken, raising=False)
    calls.documented.cache_clear()
    tally = calls.Tally()
    calls.rounds(7, range(30), tally)
    calls.documented.cache_clear()
    assert any("Machine drain" in finding and "not documented" in finding for finding in tally.findings)


def test_a_machine_that_is_not_valid_is_a_finding(tmp_path):
    caller = calls.Caller(7, 0, tmp_path)
    caller.call()
    next(one for one in caller._objects if isinstance(one, fs.Machine)).corrupt("machine", 0, "deferred_len", 1)
    with pytest.raises(calls.Finding, match="deferred_len"):
        caller.validate()
