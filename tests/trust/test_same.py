"""The same seed, the same observations; another seed, others."""
from click.testing import CliRunner

from foliosim.testing import same

WORLDS = 4                # one of each core


def test_in_processes_of_their_own():
    found = same.in_processes(3, WORLDS, ("0", "1"))
    assert len(set(found.values())) == 1 and len(found["0"]) == 64
    assert same.digest(3, WORLDS) == found["0"]
    assert same.digest(4, WORLDS) != found["0"]


def test_what_differs_is_seen(monkeypatch):
    monkeypatch.setattr(same, "in_processes", lambda seed, worlds: {"0": "a", "1": "b"})
    monkeypatch.setattr(same, "of_sweeps", lambda: {"1": "c", "2": "c"})
    result = CliRunner().invoke(same.main, [])
    assert result.exit_code == 1 and "NOT the same" in result.output
