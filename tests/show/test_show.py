"""Pictures of address spaces: what is in them, as data, PNG, notebook HTML, and a page in a real browser."""
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import foliosim as fs
from foliosim.cli import main
from foliosim.show.html import page
from foliosim.show.scene import (FILE, GUARD, MLOCKED, PARTIAL, PINNED, PMD, SHARED, SWAPPED, ZERO, orders_of,
                                 pages_with, scene)

TRACE = Path(__file__).parents[1] / "replay/data/pipe-always.trace.jsonl.xz"
PAGE, HUGE, ARENA = 4096, 2 << 20, 0x200000000000


@pytest.fixture
def machine():
    """A machine that has everything that is drawn."""
    machine = fs.Machine(memory="256M", thp="always", swap="16M")
    process = machine.spawn()
    process.mmap(4 * HUGE, addr=ARENA, flags=fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED)
    process.write(ARENA, 3 * HUGE, value=1)
    machine.child = process.fork().pid
    process.write(ARENA, 10 * PAGE, value=2)
    process.mlock(ARENA + 2 * HUGE, 512 * PAGE)
    process.madvise(ARENA + HUGE, 100 * PAGE, fs.MADV_DONTNEED)
    machine.pin = process.pin_user_pages(ARENA + 2 * HUGE, PAGE)
    process.madvise(ARENA + 3 * HUGE, HUGE, fs.MADV_NOHUGEPAGE)
    process.write(ARENA + 3 * HUGE, 20 * PAGE, value=1)
    process.read(ARENA + 3 * HUGE + 30 * PAGE, 5 * PAGE)
    process.madvise(ARENA + 3 * HUGE, 7 * PAGE, fs.MADV_PAGEOUT)
    process.madvise(ARENA + 3 * HUGE + 100 * PAGE, 3 * PAGE, fs.MADV_GUARD_INSTALL)
    file = machine.create_file("disk", 16 * PAGE, fill=1)
    process.read(process.mmap(16 * PAGE, file=file, flags=fs.MAP_PRIVATE), PAGE)
    return machine


class TestScene:
    def test_what_is_in_it(self, machine):
        parent, child = scene(machine)["processes"]
        total = {bit: sum(pages_with(area, bit) for area in parent["areas"])
                 for bit in (PMD, SHARED, MLOCKED, PINNED, ZERO, FILE, PARTIAL, SWAPPED, GUARD)}
        assert total[SWAPPED] == 7 and total[GUARD] == 3 and total[ZERO] == 5 and total[PINNED] == 1
        assert total[MLOCKED] == 512 and total[FILE] == 16
        assert total[PMD] == 0 and sum(pages_with(area, PMD) for area in child["areas"]) == 3 * 512
        assert total[SHARED] == 502 + 412
        orders = {}
        for area in parent["areas"]:
            for order, pages in orders_of(area).items():
                orders[order] = orders.get(order, 0) + pages
        assert orders == {0: 10 + 512 + 13, 9: 502 + 412}

    def test_pages_add_up_to_rss(self, machine):
        for process in scene(machine)["processes"]:
            for area in process["areas"]:
                there = sum(n for _, n, _, bits, *_ in area["runs"] if not bits & (ZERO | SWAPPED | GUARD))
                assert there * 4 == area["rss"]

    def test_looking_changes_nothing(self, machine):
        before = dict(machine.ledger())
        scene(machine)
        assert dict(machine.ledger()) == before
        machine.validate()


class TestNotebooks:
    def test_machine_area_folio(self, machine):
        process = machine.process(1)
        texts = [machine._repr_html_(), process.areas()[0]._repr_html_(),
                 machine.folio(process.translate(ARENA + HUGE + 200 * PAGE) >> 12)._repr_html_()]
        assert "process 1" in texts[0] and texts[0].count("<svg") > 3
        assert "in order 9" in texts[1] and "shared" in texts[1]
        assert "512 (order 9)" in texts[2]
        for text in texts:
            for tag in ("table", "tr", "td", "div", "svg"):
                assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>")

    def test_one_line_each(self, machine):
        process = machine.process(1)
        assert repr(machine).startswith("<Machine x86_64 processes=2 steps=")
        place = f"<Area {ARENA:#x}-{ARENA + 2 * HUGE:#x} rw-p: "
        assert repr(process.areas()[0]).startswith(place + "10 pages of order 0, ")
        assert repr(fs.Machine(memory="16M"))
        assert fs.Machine(memory="16M")._repr_html_() == "<div>no process</div>"


class TestCommand:
    def test_of_a_saved_machine(self, machine, tmp_path):
        del machine.child, machine.pin
        machine.save(tmp_path / "machine")
        result = CliRunner().invoke(main, ["show", str(tmp_path / "machine"), "--out", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        assert (tmp_path / "out/machine.png").read_bytes().startswith(b"\x89PNG")
        data = json.loads(re.search(r'type="application/json">(.*)</script>',
                                    (tmp_path / "out/machine.html").read_text())[1])
        assert len(data["scenes"]) == 1 and len(data["scenes"][0]["processes"]) == 2

    def test_of_a_trace(self, tmp_path):
        result = CliRunner().invoke(main, ["show", str(TRACE), "--out", str(tmp_path), "--no-png"])
        assert result.exit_code == 0, result.output
        text = (tmp_path / "pipe-always.html").read_text()
        data = json.loads(re.search(r'type="application/json">(.*)</script>', text)[1])
        assert len(data["scenes"]) > 3
        assert any("snapshot 0" in one["title"] for one in data["scenes"])
        assert any(area["name"].startswith("/") for one in data["scenes"] for process in one["processes"]
                   for area in process["areas"])

    @pytest.mark.parametrize("content, reason", [(b"foliosim", "cut short"), (b"nonsense", "")])
    def test_of_something_else(self, tmp_path, content, reason):
        (tmp_path / "file").write_bytes(content)
        result = CliRunner().invoke(main, ["show", str(tmp_path / "file"), "--out", str(tmp_path)])
        assert result.exit_code == 1 and reason in result.output and len(result.output.splitlines()) == 1

    def test_a_snapshot_that_is_none(self, tmp_path, machine):
        fs.Machine(memory="16M").save(tmp_path / "machine")
        result = CliRunner().invoke(main, ["show", str(tmp_path / "machine"), "--at", "3"])
        assert result.exit_code == 1 and "--at 3: must be 0 to 0" in result.output


# ---- a real browser ----

@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: extra browser-test")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_the_page(browser, machine, tmp_path):
    first = scene(machine, title="before")
    machine.process(1).munmap(ARENA, 2 * HUGE)
    (tmp_path / "page.html").write_text(page([first, scene(machine, title="after <script>")]))
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    errors, requests = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(f"file://{tmp_path}/page.html")
    assert tab.inner_text("#title") == "before" and tab.inner_text("#where") == "1 of 2"
    assert "order 9 (2048 kB)" in tab.inner_text("#orders") and "2,048 kB" in tab.inner_text("#marks")

    row = tab.evaluate("view.rows.filter(r => !r.label)[0].y")
    canvas = tab.locator("#map").bounding_box()
    assert canvas["width"] > 800 and canvas["height"] > 600

    def pixel(x, y):
        return tab.evaluate(f"[...document.getElementById('map').getContext('2d').getImageData({x}, {y}, 1, 1).data]")

    assert pixel(121, row + 7)[:3] == [0xf2, 0xc1, 0x4e]                # ten copied pages of order 0
    tab.mouse.move(canvas["x"] + 600, canvas["y"] + row + 7)
    tip = tab.inner_text("#tip")
    assert "folio of order 9" in tip and "shared" in tip and "mapped by PTEs" in tip
    wide = tab.evaluate("[view.zoom(4, 119, 20), view.scale][1]")
    assert wide == 4
    x, y = tab.evaluate(f"[Math.round(px(7.5)), Math.round(py({row})) + 15]")
    assert x > 150 and pixel(x, y)[:3] == [0xf2, 0xc1, 0x4e]            # the same ten pages are wider now
    assert tab.inner_text("#scale") == "×4.0"
    tab.click("#reset")
    tab.select_option("#process", str(machine.child))
    tab.mouse.move(canvas["x"] + 600, canvas["y"] + row + 7)
    assert "mapped by a PMD" in tab.inner_text("#tip")
    tab.keyboard.press("ArrowRight")
    tab.evaluate("view.step(1)")
    assert tab.inner_text("#title") == "after <script>" and tab.inner_text("#where") == "2 of 2"
    areas = tab.locator("#areas div").count()
    assert areas > 0
    assert errors == [] and [url for url in requests if not url.startswith("file://")] == []
    tab.close()
