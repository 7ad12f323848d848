"""The command ``foliosim trace``: a program is run under perf, and what it recorded becomes a trace."""
import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from foliosim.intake import text
from foliosim.intake.command import facts_of, save
from foliosim.intake.events import TRACED
from foliosim.replay.reader import TraceError

_TRACEFS = (Path("/sys/kernel/tracing/events"), Path("/sys/kernel/debug/tracing/events"))
_FAULTS = ("exceptions:page_fault_user", "exceptions:page_fault_kernel")
_TASKS = ("task:task_newtask", "sched:sched_process_exec", "sched:sched_process_exit")
_IN_USER_SPACE = "address < 0x7ffffffff000"
_SCRIPT = ("--show-mmap-events", "--show-task-events", "--show-lost-events", "--ns", "-F",
           "comm,pid,tid,cpu,time,event,trace")
_PR_SET_THP_DISABLE, _ADDR_NO_RANDOMIZE = 41, 0x0040000


def tracepoints():
    """The folder of the kernel's tracepoints, or None."""
    return next((folder for folder in _TRACEFS if os.access(folder / "syscalls", os.R_OK | os.X_OK)), None)


def missing():
    """What it would take to record here.

    Returns
    -------
    list of str
        Empty: nothing is missing.
    """
    out = []
    if shutil.which("perf") is None:
        out.append("perf is not installed (Debian: linux-perf, Fedora: perf)")
    folder = tracepoints()
    if folder is None:
        out.append("the kernel's tracepoints cannot be read: be root, and mount -t tracefs tracefs /sys/kernel/tracing")
    else:
        out += [f"this kernel has no tracepoint {name}" + (" (x86 only)" if name in _FAULTS else "")
                for name in (*_FAULTS, *_TASKS) if not (folder / name.replace(":", "/")).exists()]
    if os.geteuid() != 0 and _paranoid() > -1:
        out.append(f"perf may not trace: be root, or set kernel.perf_event_paranoid to -1 (it is {_paranoid()})")
    return out


def _paranoid():
    try:
        return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return 2


def record_command(data, program):
    """The perf command that records a program.

    Parameters
    ----------
    data : path
        Where perf writes.
    program : sequence of str

    Returns
    -------
    list of str
    """
    folder = tracepoints()
    events = [part for name in _FAULTS for part in ("-e", name, "--filter", _IN_USER_SPACE)]
    events += [part for name in _TASKS for part in ("-e", name)]
    for call in sorted(TRACED):
        for side in ("enter", "exit"):
            if (folder / f"syscalls/sys_{side}_{call}").exists():
                events += ["-e", f"syscalls:sys_{side}_{call}"]
    options = ["-q", "-d", "-k", "CLOCK_MONOTONIC", "-m", "16M", "-o", str(data)]
    return ["perf", "record", *options, *events, "--", *program]


def first_touch():
    """For this process and those it starts: no huge pages, so that every first touch of a page is a fault; addresses
    are not random.

    Raises
    ------
    OSError
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) or libc.personality(_ADDR_NO_RANDOMIZE) < 0:
        raise OSError(ctypes.get_errno(), "prctl or personality")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="The trace; left out: PROGRAM.trace.jsonl.xz.")
@click.option("--huge", is_flag=True, help="Leave huge pages as they are set; addresses stay random.  Without it the "
              "program runs under PR_SET_THP_DISABLE, which shows every first touch of a page.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def trace(out, huge, program):
    """Run PROGRAM under perf and make a trace of what its memory saw.

    Write -- before PROGRAM.  Needs root, perf and an x86 kernel; what is missing is named.
    """
    lacking = missing()
    if shutil.which(program[0]) is None:
        lacking.append(f"no program {program[0]}")
    if lacking:
        raise click.ClickException("cannot record: " + "; ".join(lacking))
    name = Path(program[0]).name
    with tempfile.TemporaryDirectory(prefix="foliosim-") as folder:
        data, script = Path(folder) / "perf.data", Path(folder) / "perf.txt"
        done = subprocess.run(record_command(data, program), preexec_fn=None if huge else first_touch)
        if not data.exists():
            raise click.ClickException(f"perf record failed with status {done.returncode}")
        with script.open("wb") as file:
            made = subprocess.run(["perf", "script", "-i", str(data), *_SCRIPT], stdout=file, stderr=subprocess.PIPE)
        if made.returncode:
            raise click.ClickException(f"perf script: {made.stderr.decode(errors='replace').strip()[:200]}")
        try:
            events, complaints, _ = text.read("perf", script)
        except TraceError as error:
            raise click.ClickException(f"perf recorded nothing: {error.reason}") from None
    facts = facts_of() | {"aslr": huge and facts_of()["aslr"]}
    save(events, complaints, list(program), facts, name, None if huge else "never",
         out or Path(f"{name}.trace.jsonl.xz"))
    if done.returncode:
        click.echo(f"{name} ended with status {done.returncode}", err=True)
