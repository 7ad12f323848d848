"""The command ``foliosim trace``: a program is run under perf, and what it recorded becomes a trace."""
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from foliosim.intake import hold, observe, text, write
from foliosim.intake.command import facts_of, save
from foliosim.intake.events import TRACED
from foliosim.replay.reader import TraceError

_TRACEFS = (Path("/sys/kernel/tracing/events"), Path("/sys/kernel/debug/tracing/events"))
_FAULTS = ("exceptions:page_fault_user", "exceptions:page_fault_kernel")
_TASKS = ("task:task_newtask", "sched:sched_process_exec", "sched:sched_process_exit")
_ALLOCATIONS = "kmem:mm_page_alloc"
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


def record_command(data, *whom):
    """The perf command that records.

    Parameters
    ----------
    data : path
        Where perf writes.
    *whom : str
        Options that say whom: a process, or a program and its arguments.

    Returns
    -------
    list of str
    """
    folder = tracepoints()
    events = [part for name in _FAULTS for part in ("-e", name, "--filter", _IN_USER_SPACE)]
    events += [part for name in _TASKS for part in ("-e", name)]
    if (folder / _ALLOCATIONS.replace(":", "/")).exists():
        events += ["-e", _ALLOCATIONS, "--filter", "order > 0"]
    for call in sorted(TRACED):
        for side in ("enter", "exit"):
            if (folder / f"syscalls/sys_{side}_{call}").exists():
                events += ["-e", f"syscalls:sys_{side}_{call}"]
    options = ["-q", "-d", "-k", "CLOCK_MONOTONIC", "-m", "16M", "-o", str(data)]
    return ["perf", "record", *options, *events, *whom]


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


def witnessed(data, program, prepare, every):
    """Record a program, and what the kernel says of it: after each execve, before each exit, and at checkpoints.

    Parameters
    ----------
    data : path
        Where perf writes.
    program : sequence of str
    prepare : callable or None
        Called in the process that becomes the program.
    every : float
        Seconds between checkpoints; 0: none.

    Returns
    -------
    status : int
        The program's exit status.
    snapshots : list of tuple
        Time, why, pid, what `observe.process` says of each process.
    """
    snapshots = []

    def look(why, pid, pids):
        snapshots.append((time.monotonic_ns(), why, pid, {one: observe.process(one) for one in pids}))

    pid, go = hold.start(program, prepare)
    tree = hold.Tree(pid, look, every)
    with _perf_on(data, pid):
        go()
        status = tree.run()
    return os.waitstatus_to_exitcode(status), snapshots


@contextmanager
def _perf_on(data, pid):
    """perf records a process, and all that it starts."""
    (control, order), (answer, ack) = os.pipe(), os.pipe()
    command = record_command(data, "-D", "-1", "--control", f"fd:{control},{ack}", "-p", str(pid))
    with subprocess.Popen(command, pass_fds=(control, ack)) as perf:
        os.close(control)
        os.close(ack)
        try:
            os.write(order, b"enable\n")
            if not os.read(answer, 4):
                raise click.ClickException(f"perf record failed with status {perf.wait()}")
            yield
        finally:
            with suppress(BrokenPipeError):  # it has ended with the program
                os.write(order, b"stop\n")
            perf.wait()
            os.close(order)
            os.close(answer)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="The trace; left out: PROGRAM.trace.jsonl.xz.")
@click.option("--huge", is_flag=True, help="Leave huge pages as they are set; addresses stay random.  Without it the "
              "program runs under PR_SET_THP_DISABLE, which shows every first touch of a page.")
@click.option("--truth", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write what the kernel says of all processes, for `foliosim replay --against`: at each execve "
              "and exit and at checkpoints, for which the program is held still.")
@click.option("--every", type=click.FloatRange(0), default=0.5, show_default=True,
              help="Seconds between checkpoints of --truth; 0: none.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def trace(out, huge, truth, every, program):
    """Run PROGRAM under perf and make a trace of what its memory saw.

    Write -- before PROGRAM.  Needs root, perf and an x86 kernel; what is missing is named.
    """
    lacking = missing()
    if shutil.which(program[0]) is None:
        lacking.append(f"no program {program[0]}")
    if lacking:
        raise click.ClickException("cannot record: " + "; ".join(lacking))
    name, snapshots = Path(program[0]).name, []
    with tempfile.TemporaryDirectory(prefix="foliosim-") as folder:
        data, script = Path(folder) / "perf.data", Path(folder) / "perf.txt"
        prepare = None if huge else first_touch
        if truth:
            status, snapshots = witnessed(data, program, prepare, every)
        else:
            status = subprocess.run(record_command(data, "--", *program), preexec_fn=prepare).returncode
        if not data.exists():
            raise click.ClickException(f"perf record failed with status {status}")
        events, complaints = _read(data, script)
    for number, (when, why, pid, _) in enumerate(snapshots):
        events.add(when, ["S", when, pid, 0, number, why])
    facts = facts_of() | {"aslr": huge and facts_of()["aslr"]}
    mode = None if huge else "never"
    header = save(events, complaints, list(program), facts, name, mode, out or Path(f"{name}.trace.jsonl.xz"))
    if truth:
        write.write_truth(header, snapshots, events, truth)
        click.echo(f"wrote {truth}: {len(snapshots)} snapshots")
    if status:
        click.echo(f"{name} ended with status {status}", err=True)


def _read(data, script):
    with script.open("wb") as file:
        made = subprocess.run(["perf", "script", "-i", str(data), *_SCRIPT], stdout=file, stderr=subprocess.PIPE)
    if made.returncode:
        raise click.ClickException(f"perf script failed with status {made.returncode}: {_last_line(made.stderr)}")
    try:
        events, complaints, _ = text.read("perf", script)
    except TraceError as error:
        raise click.ClickException(f"perf recorded nothing: {error.reason}") from None
    events.drop_before_execve()
    return events, complaints


def _last_line(text):
    lines = [line for line in text.decode(errors="replace").splitlines() if line and not line.endswith("Ignoring.")]
    return lines[-1] if lines else "it does not say why"
