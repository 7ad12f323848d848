"""A program and all that it starts, held still at moments that matter: ptrace, without a change to what they do."""
import ctypes
import os
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _CONT, _GETEVENTMSG, _INTERRUPT, _LISTEN = 0x4206, 7, 0x4201, 0x4207, 0x4208
_FORK, _VFORK, _CLONE, _EXEC, _VFORK_DONE, _EXIT, _STOP = 1, 2, 3, 4, 5, 6, 128
_OPTIONS = sum(1 << event for event in (_FORK, _VFORK, _CLONE, _EXEC, _VFORK_DONE, _EXIT))
_STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_WALL = 0x40000000
_PATIENCE, _MOMENT = 2, 0.0001  # seconds
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def _ptrace(request, tid, data=0):
    if _libc.ptrace(request, tid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Task:
    """A thread.

    Attributes
    ----------
    pid : int
        Its process.
    stop : int or None
        Status of the stop that it is in; None: it runs.
    dying, waits : bool
        It has come to its end; it waits for a child of vfork, and cannot stop before that is done.
    """

    def __init__(self, pid):
        self.pid, self.stop, self.dying, self.waits = pid, None, False, False


class Tree:
    """A process that is our child, and all that it starts.

    Parameters
    ----------
    root : int
        Pid.
    look : callable
        ``look(why, pid, pids)``: why is "exec" (`pid` has just been loaded), "exit" (`pid` is about to die, all
        others are held) or "checkpoint" (all are held; pid 0).
    every : float
        Seconds between checkpoints, from the first execve on; 0: none.
    """

    def __init__(self, root, look, every):
        self.look, self.every, self._due = look, every, None
        self.root, self.status = root, None
        self.tasks = {root: Task(root)}
        _ptrace(_SEIZE, root, _OPTIONS)

    def run(self):
        """Until the last of them has ended.  Returns the status of the first, as `os.waitpid` does."""
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            while self.tasks:
                if not self._collect():
                    signal.sigtimedwait({signal.SIGCHLD}, max(0.0, self._left()))
                if self._left() <= 0 and self.tasks:
                    with self._held():
                        self.look("checkpoint", 0, self.pids())
                    self._due = time.monotonic() + self.every
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        return self.status

    def _left(self):
        return self._due - time.monotonic() if self._due else 10

    def pids(self):
        """Processes that live, or are just about to die."""
        return list(dict.fromkeys(task.pid for task in self.tasks.values()))

    # ---- stops ----

    def _collect(self):
        """Take what has stopped or ended, and let it go on.  False: there was nothing."""
        any_ = False
        for tid in list(self.tasks):
            if tid in self.tasks and (self.tasks[tid].stop is not None or self._wait(tid, os.WNOHANG)):
                any_ = True
                self._handle(tid)
        return any_

    def _wait(self, tid, options):
        """Wait for a stop of a task; False: it still runs, or is gone."""
        try:
            got, status = os.waitpid(tid, options | _WALL)
        except ChildProcessError:  # another thread's execve has ended it
            del self.tasks[tid]
            return False
        if not got:
            return False
        if not os.WIFSTOPPED(status):
            self.status = status if tid == self.root else self.status
            del self.tasks[tid]
            return False
        self.tasks[tid].stop = status
        if status >> 16 in (_FORK, _VFORK, _CLONE):
            child = self._message(tid)
            self.tasks.setdefault(child, Task(_process_of(child) if status >> 16 == _CLONE else child))
        return True

    def _handle(self, tid):
        task = self.tasks[tid]
        event, number = task.stop >> 16, os.WSTOPSIG(task.stop)
        passed_on = 0
        if event == _VFORK:
            task.waits = True
        elif event == _VFORK_DONE:
            task.waits = False
        elif event == _EXEC:
            self._executed(tid)
            self.look("exec", tid, [tid])
            if self.every and self._due is None:
                self._due = time.monotonic() + self.every
        elif event == _EXIT:
            task.dying = True
            if all(one.dying for one in self.tasks.values() if one.pid == task.pid):
                with self._held():
                    self.look("exit", task.pid, self.pids())
                    self._go_on(tid, _CONT)
                    self._wait_for_end(task.pid)
                return
        elif event == _STOP and number in _STOPPING:
            self._go_on(tid, _LISTEN)
            return
        elif not event:
            passed_on = number
        self._go_on(tid, _CONT, passed_on)

    def _executed(self, tid):
        # it goes on under its process's number, whoever it was; the other threads are gone
        for other in [other for other, task in self.tasks.items() if task.pid == tid and other != tid]:
            del self.tasks[other]

    def _wait_for_end(self, pid):
        """What a dying process still does must be over before others go on; if it waits for them, it must not."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            left = [tid for tid, task in self.tasks.items() if task.pid == pid]
            if not any(self._wait(tid, os.WNOHANG) or tid in self.tasks for tid in left):
                return
            time.sleep(_MOMENT)

    def _go_on(self, tid, how, number=0):
        if tid in self.tasks:
            self.tasks[tid].stop = None
            with suppress(ProcessLookupError):
                _ptrace(how, tid, number)

    @staticmethod
    def _message(tid):
        value = ctypes.c_ulong()
        _ptrace(_GETEVENTMSG, tid, ctypes.addressof(value))
        return value.value

    @contextmanager
    def _held(self):
        """Nothing of the tree runs; what stops for another reason meanwhile is handled afterwards.

        Who waits for another that is held already (in execve, for the other threads' end) is let wait.
        """
        told, end = set(), time.monotonic() + _PATIENCE
        while running := [tid for tid, task in self.tasks.items() if task.stop is None and not task.waits
                          and not task.dying]:
            for tid in running:
                if tid not in told:
                    with suppress(ProcessLookupError):
                        _ptrace(_INTERRUPT, tid)
                    told.add(tid)
                self._wait(tid, os.WNOHANG)
            if time.monotonic() > end:
                break
            time.sleep(_MOMENT)
        yield


def _process_of(tid):
    for line in Path(f"/proc/{tid}/status").read_text().splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    return tid


def start(program, prepare):
    """A child that will execute a program as soon as it may.

    Parameters
    ----------
    program : sequence of str
    prepare : callable or None
        Called in the child.

    Returns
    -------
    pid : int
    go : callable
        It may.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(writer)
            if prepare is not None:
                prepare()
            os.read(reader, 1)
            os.close(reader)
            os.execvp(program[0], program)
        finally:
            os._exit(127)
    os.close(reader)
    return pid, lambda: os.close(writer)
