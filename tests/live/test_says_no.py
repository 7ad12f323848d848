"""Where the live kernel cannot be used, this is said in a sentence."""
import json
import os

import pytest
from click.testing import CliRunner

from foliosim.cli import main
from foliosim.live import build, facts
from foliosim.live.errors import LiveError
from foliosim.live.recorder import check_steps
from foliosim.live.settings import complete, of_scenario

AREA = {"addr": "0x200000000000", "length": 4096}


def test_without_root(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "not root" in facts.why_not()
    file = tmp_path / "some.jsonl"
    file.write_text(json.dumps({"id": "a", "steps": []}) + "\n")
    for arguments in (["record", str(file)], ["fuzz", "--live", "--scenarios", "1"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert "not root" in result.output


def test_fuzz_wants_to_be_told_to_use_the_kernel():
    result = CliRunner().invoke(main, ["fuzz"])
    assert result.exit_code == 2
    assert "--live" in result.output


def test_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(LiveError, match="no C compiler"):
        build.program("puppet")


@pytest.mark.parametrize("steps, reason", [
    ([{"op": "read", "proc": "p1", **AREA}], "no process p1"),
    ([{"op": "jump", "proc": "p0"}], "unknown op 'jump'"),
    ([{"op": "read", "proc": "p0", "addr": 5, "length": 1}], "'addr' is 5"),
    ([{"op": "ftruncate", "proc": "p0", "file": "f0", "length": 1}], "no file f0"),
    ([{"op": "file", "proc": "p0", "file": "f0", "kind": "disk", "length": 1}], "without fill"),
    ([{"op": "get", "proc": "p0", "id": "g8", **AREA}], "at most 8"),
    ([{"op": "fork", "proc": "p0", "child": "p8"}], "p8"),
])
def test_wrong_steps(steps, reason):
    with pytest.raises(LiveError, match=reason):
        check_steps(steps)


def test_settings_are_those_of_the_scenario():
    assert of_scenario({}) == complete({})
    assert of_scenario({"settings": {"mthp": {"64kB": "madvise"}}})["mthp"]["64kB"] == "madvise"
    assert of_scenario({"machine": {"thp_enabled": "never", "release": "6.18"}})["thp_enabled"] == "never"
    with pytest.raises(LiveError, match="no setting"):
        complete({"thp": "always"})
    with pytest.raises(LiveError, match="no size 8kB"):
        complete({"mthp": {"8kB": "always"}})
