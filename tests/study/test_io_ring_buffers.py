"""io-ring-buffers, with what is derived on docs/studies/io-ring-buffers.md."""
import json

import pytest

from foliosim.study import StudyError, run_study

PAGE, PTES = 4096, 512
RULES = ("head_once", "per_page", "head_refcounted", "per_buffer")
CASES = [  # buffers, size, unaligned, memlock
    (256, 65536, 512, 8 << 20), (256, 65536, 0, 8 << 20), (100, 5000, 0, 1 << 20), (100, 5000, 3193, 1 << 20),
    (9, 3 << 20, 100, 21 << 20), (40, 700_000, 1, 6 << 20), (30, 4096, 4095, 50_000), (12, 1, 4095, None),
    (600, 4096, 0, 2 << 20), (600, 4096, 0, (4 << 20) - 1), (5, 8 << 20, 0, 4 << 20), (3, 1 << 20, 8, 0)]


def run(policy="pin_account=head_once", **keys):
    one, = run_study("io-ring-buffers", keys, policy=[policy]).runs
    return one.metrics


class Paper:
    """Buffers as runs of pages of the heap."""

    def __init__(self, buffers, size, unaligned, heap):
        step, self.thp = -(-size // PAGE), heap == "thp"
        self.spans = [range(i * step, i * step + (unaligned + size - 1) // PAGE + 1) for i in range(buffers)]

    def folios(self, span):
        return set(range(span[0] // PTES, span[-1] // PTES + 1)) if self.thp else set()

    def charge(self, rule, i, seen):
        """What buffer i is charged for alone, and the folios that it shares."""
        span, folios = self.spans[i], self.folios(self.spans[i])
        if rule == "per_page" or not self.thp:
            return len(span)
        new = {"head_once": folios - seen, "per_buffer": folios, "head_refcounted": folios - seen}[rule]
        return PTES * len(new)

    def registered(self, rule, limit):
        total, seen, charges = 0, set(), []
        for i, span in enumerate(self.spans):
            charge = self.charge(rule, i, seen)
            if limit is not None and total + charge > limit // PAGE:
                break
            total += charge
            charges.append(charge)
            seen |= self.folios(span)
        return charges

    def pinned(self, which):
        return len({page for i in which for page in self.spans[i]})

    def after(self, rule, charges, left):
        if rule == "head_refcounted" and self.thp:
            return PTES * len({folio for i in left for folio in self.folios(self.spans[i])})
        return sum(charges[i] for i in left)


@pytest.mark.parametrize("heap, unregister", [("thp", "first"), ("thp", "last"), ("thp", "all"), ("small", "first")])
@pytest.mark.parametrize("buffers, size, unaligned, memlock", CASES)
def test_on_paper(buffers, size, unaligned, memlock, heap, unregister):
    paper = Paper(buffers, size, unaligned, heap)
    for rule in RULES:
        got = run(f"pin_account={rule}", buffers=buffers, buffer_size=size, unaligned=unaligned, heap=heap,
                  memlock="none" if memlock is None else memlock, unregister=unregister)
        charges = paper.registered(rule, memlock)
        number = len(charges)
        pinned = paper.pinned(range(number))
        assert got["registered_buffers"] == number
        assert got["acct.memlock"] == sum(charges) * PAGE
        assert got["true.memlock"] == pinned * PAGE
        touched = {folio for i in range(number) for folio in paper.folios(paper.spans[i])}
        assert got["pin_overshoot"] == ((PTES * len(touched) - pinned) * PAGE if heap == "thp" else 0)
        left = {"first": range(1, number), "last": range(number - 1), "all": ()}[unregister]
        charged, still = paper.after(rule, charges, left), paper.pinned(left)
        assert got["after.memlock_bytes"] == charged * PAGE and got["after.pinned_bytes"] == still * PAGE
        assert got["after.undercharged_bytes"] == max(still - charged, 0) * PAGE
        assert got["after.overcharged_bytes"] == max(charged - still, 0) * PAGE


@pytest.mark.parametrize("buffers, size, unaligned, memlock", CASES)
def test_closed_form(buffers, size, unaligned, memlock):
    limit = (1 << 60) // PAGE if memlock is None else memlock // PAGE
    step, span = -(-size // PAGE), (unaligned + size - 1) // PAGE + 1
    keys = {"buffers": buffers, "buffer_size": size, "unaligned": unaligned,
            "memlock": "none" if memlock is None else memlock}
    assert run(**keys, heap="small")["registered_buffers"] == min(buffers, limit // span)
    folios = [((m - 1) * step + span - 1) // PTES + 1 if m else 0 for m in range(buffers + 1)]
    assert run(**keys)["registered_buffers"] == max(m for m in range(buffers + 1) if PTES * folios[m] <= limit)


@pytest.mark.parametrize("policy", ["pin_long=move_out", "pin_long=split_try"])
def test_pins_that_take_nothing_else_along(policy):
    got = run(policy, buffers=20, buffer_size="16K", unaligned=0, memlock="none")
    assert got["pin_overshoot"] == 0 and got["registered_buffers"] == 20
    assert got["acct.memlock"] == got["true.memlock"] == 20 * 16384


def test_the_default():
    result = run_study("io-ring-buffers", policy=["pin_account=head_once", "pin_account=per_buffer"])
    assert "registers 127 with a limit of 8 MiB: 8 MiB charged" in result.conclusion
    assert "pin_account=per_buffer registers 4." in result.conclusion
    assert "linux-6.18 has " in result.conclusion and "pinned that nobody is charged for" in result.conclusion
    json.dumps(result.as_dict())


@pytest.mark.parametrize("keys, named", [
    ({"unaligned": 4096}, "unaligned='4096'.*0 to 4095"), ({"buffers": 0}, "buffers='0'"),
    ({"heap": "big"}, "thp, small"),
    ({"buffer_size": "2G"}, "buffer_size='2G'"), ({"memlock": "-1"}, "memlock='-1'"),
    ({"unregister": "second"}, "first, last, all"), ({"buffers": 1000, "buffer_size": "1G"}, "valid are 1 to 16"),
    ({"buffer": 1}, "buffers, buffer_size, unaligned, memlock, heap, unregister"),
])
def test_bad_values(keys, named):
    with pytest.raises(StudyError, match=named):
        run_study("io-ring-buffers", keys)
