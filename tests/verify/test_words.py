"""The first mismatch, printed so that a reader sees what differs."""
import copy

import pytest
from rich.console import Console
from scripted import Replays, as_scenario

from foliosim.verify import report
from foliosim.verify.replay import replay


@pytest.fixture
def shown(small):
    """Print the first mismatch of `small` with an engine that answers with a change."""

    def show(change):
        wrong = copy.deepcopy(small)
        change(wrong["expect"][1]["state"])
        scenario = as_scenario(small)
        console = Console(width=400, record=True, file=open("/dev/null", "w"))
        console.print(report.first_mismatch(scenario, replay(scenario, Replays(wrong), details=True)))
        return console.export_text()

    return show


def test_steps_up_to_the_mismatch(shown):
    text = shown(lambda state: state["procs"]["p0"].update(locked_kb=4))
    assert "every-kind (directed): step 1 of 5" in text
    assert "0 p0 fork child=p1 -> 0" in text
    assert "1 p0 read 0x200000000000 +8 KiB -> 5" in text
    assert "mlock" not in text
    assert "8 kB" in text and "4 kB" in text and "locked_kb" in text


def test_area_field_and_flag_in_words(shown):
    def change(state):
        area = state["procs"]["p0"]["vmas"][0]
        area["smaps"]["Rss"] = 24
        area["flags"].remove("lo")

    text = shown(change)
    assert "p0: area 0x200000000000-0x200000400000 rw-p" in text
    assert "20 kB" in text and "24 kB" in text
    assert "lo (locked)" in text and "absent" in text


def test_page_bits_and_frame_flags_in_words(shown):
    def change(state):
        state["procs"]["p0"]["pages"][0][2] = "0x100"
        state["frames"][0][2] = hex(int(state["frames"][0][2], 16) ^ 1 << 33)

    text = shown(change)
    assert "p0: page 0x200000000000 (page 0 of area 0x200000000000-0x200000400000 rw-p), and the 2 after it" in text
    assert "0x102 (exclusive, present)" in text and "0x100 (present)" in text
    assert "frame 0 (p0 0x200000000000)" in text and "MLOCKED" in text
