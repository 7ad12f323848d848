"""Files that commands write: at once or not at all."""
import gzip
import json
import lzma
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

import foliosim as fs
from foliosim import schedule, whole
from foliosim.cli import main
from foliosim.plain import plain
from foliosim.verify.recording import read_lines

DATA = Path(__file__).parents[1] / "replay/data"


class Stopped(BaseException):
    """What Ctrl-C is like."""


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "run.json"
    whole.write_json(path, {"old": 1})
    with pytest.raises(Stopped), whole.whole_file(path) as file:
        file.write(b"half of the ne")
        raise Stopped
    assert json.loads(path.read_text()) == {"old": 1} and files(tmp_path) == ["run.json"]


def test_a_process_that_is_killed_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old\n")
    code = ("import os, sys\nfrom foliosim.whole import whole_file\nwith whole_file(sys.argv[1]) as file:\n"
            "    file.write(b'new' * 10000); file.flush(); os.kill(os.getpid(), 9)\n")
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.read_text() == "old\n"


def test_modes(tmp_path):
    """A new file has what the umask leaves, an old one what it had."""
    old = os.umask(0o027)
    try:
        whole.write_text(tmp_path / "new", "a")
        (tmp_path / "old").write_text("a")
        (tmp_path / "old").chmod(0o604)
        whole.write_text(tmp_path / "old", "b")
    finally:
        os.umask(old)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")] == [0o640, 0o604]


def test_links_and_pipes_stay_what_they_are(tmp_path):
    (tmp_path / "real").write_text("a")
    (tmp_path / "link").symlink_to("real")
    whole.write_text(tmp_path / "link", "b")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "b"
    out = subprocess.run([sys.executable, "-c", "from foliosim.whole import write_json; write_json('/dev/stdout', [1])"],
                         stdout=subprocess.PIPE, check=True)
    assert json.loads(out.stdout) == [1]


def test_the_error_names_the_file(tmp_path):
    path = tmp_path / "nowhere/run.json"
    with pytest.raises(FileNotFoundError) as error:
        whole.write_text(path, "a")
    assert error.value.filename == str(path)


def test_rows_and_pictures(tmp_path):
    whole.write_csv(tmp_path / "a.csv", ["a", "b"], [[1, "x,y"], {"b": 2, "a": 3}])
    assert (tmp_path / "a.csv").read_text() == 'a,b\n1,"x,y"\n3,2\n'
    figure = pytest.importorskip("matplotlib.figure").Figure()
    for name in ("a.png", "b.png", "a.svg"):
        whole.write_picture(tmp_path / name, figure)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


TRACE = str(DATA / "pipe-never.trace.jsonl.xz")


@pytest.mark.parametrize("command, written", [
    (["replay", TRACE, "--json", "{}/run.json"], "run.json"),
    (["replay", TRACE, "--out", "{}"], "run.csv"),
    (["replay", TRACE, "--out", "{}"], "run.png"),
    (["study", "half-mlock", "--json", "{}/study.json"], "study.json"),
    (["study", "half-mlock", "--out", "{}"], "half-mlock.csv"),
    (["verify", str(DATA.parents[1] / "recordings/vma.jsonl.gz"), "--json", "{}/verify.json"], "verify.json"),
    (["show", TRACE, "--out", "{}", "--html"], "pipe-never.html"),
    (["bench", "split", "--folios", "1", "--rounds", "1", "--json", "{}/bench.json"], "bench.json"),
], ids=lambda value: value if isinstance(value, str) else value[0])
def test_commands_write_at_once_or_not_at_all(command, written, tmp_path, monkeypatch):
    """Interrupted just before the new file would take its place."""
    monkeypatch.chdir(tmp_path)      # a study writes its CSV and what it has done where it is run
    path = tmp_path / written
    path.write_text("old")
    real = os.replace

    def replace(source, to):
        if Path(to) == path:
            raise Stopped
        real(source, to)

    monkeypatch.setattr(whole.os, "replace", replace)
    with pytest.raises(Stopped):
        CliRunner().invoke(main, [part.format(tmp_path) for part in command], catch_exceptions=False)
    assert path.read_text() == "old"
    assert not [name for name in files(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("use", [fs.costs.load, fs.Machine.load, lambda number: fs.Machine(memory="64M").save(number),
                                 lambda number: fs.Machine(memory="64M").ledger().time(number),
                                 lambda number: fs.Machine(memory="64M").spawn().machine.dump_physical(number),
                                 schedule.Program.read, lambda number: list(read_lines(number))])
def test_an_open_file_s_number_is_no_path(use):
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        for number in (reader, writer):
            with pytest.raises(TypeError):
                use(number)
        assert os.read(reader, 2) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("command", [["verify", "EMPTY", "--json", "FOLDER"],
                                     ["study", "half-mlock", "--json", "NONE/x"]])
def test_a_command_that_cannot_write_says_so_in_a_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    places = {"EMPTY": str(tmp_path / "empty.jsonl"), "FOLDER": str(tmp_path), "NONE/x": str(tmp_path / "none/x")}
    result = CliRunner().invoke(main, [places.get(word, word) for word in command])
    assert result.exit_code and isinstance(result.exception, SystemExit) and "Error: " in result.output


def test_a_picture_of_no_format(tmp_path):
    with pytest.raises(OSError, match="valid are .*png"):
        whole.write_picture(tmp_path / "a.foo", Figure())
    assert not list(tmp_path.iterdir())


# ---- reading ----

def pipe_of(path, content):
    """A named pipe that gives a content once."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return path


def test_a_pipe_is_read_once(tmp_path):
    machine = fs.Machine(memory="64M")
    machine.save(tmp_path / "machine")
    assert fs.Machine.load(pipe_of(tmp_path / "a", (tmp_path / "machine").read_bytes())).counters() == machine.counters()
    program = {"actors": {"p0": []}, "order": []}
    assert schedule.Schedule.read(pipe_of(tmp_path / "b", json.dumps(program).encode())).order == []
    shown = CliRunner().invoke(main, ["show", "--no-png", "--out", str(tmp_path),
                                      str(pipe_of(tmp_path / "c.xz", Path(TRACE).read_bytes()))])
    assert shown.exit_code == 0 and "c.html" in shown.output


def test_what_has_no_end_is_read_to_a_limit(monkeypatch):
    monkeypatch.setattr(whole, "_ENDLESS", 2 << 20)
    with pytest.raises(OSError, match="gives more than 2,097,152 bytes.*'/dev/zero'"):
        whole.read_whole("/dev/zero")


def test_what_the_host_cannot_read_is_named():
    with pytest.raises(OSError, match="Input/output error.*/proc/self/mem"):
        whole.read_whole("/proc/self/mem")


def test_names_of_bytes(tmp_path):
    path = os.fsencode(tmp_path / "machine")
    fs.Machine(memory="64M").save(path)
    assert fs.Machine.load(path).processes() == []
    with pytest.raises(fs.SavedError, match="pipe-never"):
        fs.Machine.load(os.fsencode(TRACE))


def test_a_name_that_is_no_text_keeps_its_bytes(tmp_path):
    path = tmp_path / "text"
    whole.write_text(path, "a\udcffb")
    assert path.read_bytes() == b"a\xffb"


@pytest.mark.parametrize("command", [["compare", "RUN", "--out", "x.foo"], ["bench", "split", "--picture", "x.foo"]])
def test_a_picture_s_format_is_checked_before_the_work(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("RUN").write_text("")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and result.output.startswith("Error: 'x.foo': no picture's format; valid are png")


def test_all_picture_formats_are_known():
    assert set(whole.PICTURES) <= set(Figure().canvas.get_supported_filetypes())


@pytest.mark.parametrize("command, reason", [
    (["dump", "M", "M"], "M': is what is read"), (["study", "os:path"], "is a module, not a Study"),
    (["bench", "split", "--to", "\u00b2"], "target '\u00b2': valid are PMD"),
    (["import", "strace", "--memory", "0", "S"], "--memory '0': must be at least 4M")])
def test_what_a_command_refuses_at_once(command, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fs.Machine(memory="64M").save("M")
    kept = Path("M").read_bytes()
    Path("S").write_text("1 1700000000.0 execve(\"/bin/true\", [\"true\"], 0x7ffc /* 1 var */) = 0\n"
                         "1 1700000000.1 brk(NULL) = 0x5000\n1 1700000000.2 brk(0x9000) = 0x9000\n")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and reason in result.output and len(result.output.splitlines()) == 1
    assert Path("M").read_bytes() == kept


@pytest.mark.parametrize("command, kept", [
    (["replay", "t.jsonl.xz", "--json", "t.jsonl.xz"], "t.jsonl.xz"), (["show", "x.html", "--no-png"], "x.html"),
    (["verify", "v.jsonl.gz", "--json", "v.jsonl.gz"], "v.jsonl.gz"), (["import", "strace", "s", "--out", "s"], "s"),
    (["schedule", "search", "p", "--out", "p"], "p"), (["compare", "r.png", "--out", "r.png"], "r.png")])
def test_what_is_read_is_not_written(command, kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl.xz").write_bytes(Path(TRACE).read_bytes())
    fs.Machine(memory="64M").save("x.html")
    Path("v.jsonl.gz").write_bytes((DATA.parents[1] / "recordings/vma.jsonl.gz").read_bytes())
    Path("s").write_text("1 1700000000.1 brk(NULL) = 0x5000\n")
    Path("p").write_text(json.dumps({"actors": {"a": []}}))
    CliRunner().invoke(main, ["replay", "t.jsonl.xz", "--json", "r.png"])
    before = Path(kept).read_bytes()
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and result.output == f"Error: '{kept}': is what is read; name another file to be written\n"
    assert Path(kept).read_bytes() == before


# ---- text of strangers ----

def test_plain_text_is_one_line_of_what_can_be_printed():
    assert plain("a\nb\0\ud800\udcff[/b]$x$") == "a\\nb\\x00\\ud800\\udcff[/b]$x$"
    assert len(plain("x" * 100_000)) == 160 and plain("x" * 100_000).endswith("...")


ODD = ["[/b]", "\ud800", r"$\frac{$", "\0" * 3, "\n" * 500, "x" * 100_000]


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_run_with_an_odd_label(odd, tmp_path):
    run, picture = tmp_path / "run.json", str(tmp_path / "c.png")
    CliRunner().invoke(main, ["replay", TRACE, "--json", str(run)])
    data = json.loads(run.read_text()) | {"label": odd, "stopped": odd}
    run.write_text(json.dumps(data))
    result = CliRunner().invoke(main, ["compare", str(run), "--out", picture], catch_exceptions=False)
    assert result.exit_code == 0 and Path(picture).stat().st_size > 10_000
    data["samples"][0][1] = {}
    run.write_text(json.dumps(data))
    result = CliRunner().invoke(main, ["compare", str(run), "--out", picture])
    assert result.exit_code == 1 and "sample 0 is no row" in result.output


@pytest.mark.parametrize("odd", [r"$\frac{$", "[/b]", "\ud800"])
def test_a_trace_with_an_odd_name(odd, tmp_path):
    lines = lzma.decompress(Path(TRACE).read_bytes()).split(b"\n")
    lines[0] = json.dumps(json.loads(lines[0]) | {"name": odd}).encode()
    trace = tmp_path / "t.jsonl"
    trace.write_bytes(b"\n".join(lines))
    for command in (["replay", str(trace), "--out", str(tmp_path)], ["show", str(trace), "--out", str(tmp_path)]):
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert {"run.png", "t.png"} <= set(files(tmp_path))


@pytest.mark.parametrize("change", [{"tags": ["random", "[/b]"]}, {"id": "\ud800"}, {"tags": ["random", "\ud800"]}])
def test_a_scenario_with_odd_words(change, tmp_path):
    scenario = json.loads(gzip.decompress((DATA.parents[1] / "recordings/vma.jsonl.gz").read_bytes()).split(b"\n")[0])
    scenario["expect"][0]["ret"] = "0x123456"
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(scenario | change) + "\n")
    for more in ([], ["--show"]):
        result = CliRunner().invoke(main, ["verify", str(path), *more], catch_exceptions=False)
        assert result.exit_code == 1 and "Traceback" not in result.output


def test_names_that_a_strict_terminal_cannot_show(tmp_path):
    out = os.fsencode(tmp_path) + b"/\xff.png"
    run = tmp_path / "run.json"
    CliRunner().invoke(main, ["replay", TRACE, "--json", str(run)])
    done = subprocess.run([sys.executable, "-m", "foliosim", "compare", str(run), "--out", out], capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}, check=True)
    assert b"wrote" in done.stdout and b"\\udcff.png" in done.stdout and os.path.exists(out)
