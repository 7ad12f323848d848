"""The same seed, the same observations; another seed, others."""
from click.testing import CliRunner

import foliosim as fs
from foliosim.testing import same

PAGE = 4096
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


def test_references_go_in_the_order_in_which_they_came():
    """Frames come back in the order in which they were freed, so that of a process's references is seen later."""
    machine = fs.Machine(memory="64M", thp="never")
    process = machine.spawn()
    addr = process.mmap(64 * PAGE)
    process.write(addr, 64 * PAGE, value=1)
    held = [process.get_user_pages(addr + i * 2 * PAGE, PAGE) for i in range(32)]
    frames = [one.page_frames[0] for one in held]
    process.munmap(addr, 64 * PAGE)
    process.exit()
    last = machine.spawn()
    addr = last.mmap(16 * PAGE)
    last.write(addr, 16 * PAGE, value=2)
    assert [last.translate(addr + i * PAGE) // PAGE for i in range(8)] == frames[:-9:-1]
