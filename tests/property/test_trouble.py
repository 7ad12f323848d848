"""Random policies, failures and schedules: every invariant holds after every step; and a broken one is found."""
import re

import pytest
from click.testing import CliRunner
from effort import BIG

from foliosim.testing import trouble


def test_every_invariant_after_every_step():
    tally = trouble.run(100_000 if BIG else 2000, seed=7)
    assert tally.unsupported == 0
    assert min(tally.policies, tally.daemons, tally.troubles) > tally.steps // 20
    assert {"ENOMEM", "EINVAL", "EAGAIN"} <= set(tally.errors)


def test_the_same_on_arm64():
    tally = trouble.run(100_000 if BIG else 500, seed=8, arch="arm64")
    assert tally.unsupported == 0 and min(tally.policies, tally.daemons, tally.troubles) > tally.steps // 20


def test_the_same_seed_the_same_walk():
    one, two = (trouble.run(300, seed=3) for _ in range(2))
    assert one == two


def test_a_mistake_is_found(monkeypatch):
    """One more folio on the deferred split queue than there is, once a policy was changed."""
    def miscount(player, step):
        player.machine.corrupt("machine", 0, "deferred_len", 1)
        return {"ret": 0}

    monkeypatch.setattr(trouble, "_set_policy", miscount)
    with pytest.raises(trouble.BrokenWalk, match="deferred_len") as broken:
        trouble.run(2000, seed=7)
    assert str(broken.value).splitlines()[-1].startswith("{'op': 'policy'")


def test_the_command():
    result = CliRunner().invoke(trouble.main, ["--steps", "200", "--seed", "2"])
    assert result.exit_code == 0
    assert re.search(r"seed 2: \d+ programs, 2\d\d steps, each validated", result.output)
