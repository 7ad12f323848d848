"""Processes under observation: starts them, sends them operations, reads their answers."""
import contextlib
import os
import socket
import struct
import subprocess

from foliosim.live.build import program
from foliosim.live.errors import LiveError, ProcessLostError

# The order is that of the enum in puppet.c.
OPS = ("warm", "mmap", "munmap", "mprotect", "madvise", "mlock", "munlock", "mlock2", "mremap", "msync", "mseal",
       "mincore", "write", "read", "get", "peek", "put", "pin", "unpin", "thp_disable", "file", "ftruncate", "punch",
       "fork", "exit")
MAX_PROCS = 8
SLOTS = 8
TIMEOUT = 60.0  # seconds that one operation may take

_NUMBERS = {name: number for number, name in enumerate(OPS)}
_REQUEST = struct.Struct("=8q192s")
_ANSWER = struct.Struct("=5q")
_DONE, _FAILED, _SIGNALLED = range(3)


def _signed(word):
    return (word + (1 << 63) & (1 << 64) - 1) - (1 << 63)


class Answer:
    """What an operation gave: ``value`` and ``data``, or ``errno``, or ``signal`` with ``code`` and ``addr``."""

    __slots__ = ("addr", "code", "data", "errno", "extra", "signal", "value")

    def __init__(self, message):
        kind, value, code, *extra = _ANSWER.unpack_from(message)
        self.value = value
        self.errno = value if kind == _FAILED else None
        self.signal = value if kind == _SIGNALLED else None
        self.code, self.addr = code, extra[0] & (1 << 64) - 1
        self.extra = extra
        self.data = message[_ANSWER.size:]


class Puppet:
    """One process and its socket."""

    def __init__(self, index, pid, channel):
        self.index, self.pid = index, pid
        self._channel = channel

    def call(self, op, *args, text=""):
        """Perform one operation in the process.

        Raises
        ------
        ProcessLostError
            The process ended or gave no answer.
        """
        words = (_NUMBERS[op], *map(_signed, args), *(0,) * (7 - len(args)))
        try:
            self._channel.send(_REQUEST.pack(*words, text.encode()))
        except OSError as error:
            raise ProcessLostError(f"p{self.index} has ended before {op}: {error.strerror}") from None
        return self.answer(op)

    def answer(self, op):
        """Wait for the answer of an operation."""
        try:
            message = self._channel.recv(_ANSWER.size + 16384)
        except TimeoutError:
            raise ProcessLostError(f"p{self.index} gave no answer to {op} in {TIMEOUT:.0f} s") from None
        except OSError as error:
            raise ProcessLostError(f"p{self.index}: {op}: {error.strerror}") from None
        if len(message) < _ANSWER.size:
            raise ProcessLostError(f"p{self.index} has ended in {op}")
        return Answer(message)

    def leave(self):
        """Ask the process to exit."""
        with contextlib.suppress(OSError):
            self._channel.send(_REQUEST.pack(_NUMBERS["exit"], *(0,) * 7, b""))


class Family:
    """The processes of one scenario: p0 and what was forked from it."""

    def __init__(self):
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(MAX_PROCS)]
        self._channels = [near for near, _ in pairs]
        far = [theirs.fileno() for _, theirs in pairs]
        for near in self._channels:
            near.settimeout(TIMEOUT)
        try:
            self._first = subprocess.Popen([program("puppet"), *map(str, far)], pass_fds=far, stdin=subprocess.DEVNULL)
        finally:
            for _, theirs in pairs:
                theirs.close()
        self.procs = {0: Puppet(0, self._first.pid, self._channels[0])}
        try:
            if self.procs[0].call("warm").value != len(OPS):
                raise LiveError("puppet.c and puppet.py name different operations")
        except BaseException:
            self.end()
            raise

    def fork(self, parent, index):
        """Fork a process.

        Raises
        ------
        LiveError
            The number is taken, or fork failed.
        """
        if not 0 < index < MAX_PROCS or index in self.procs:
            raise LiveError(f"cannot fork p{index}: at most {MAX_PROCS} processes, each with a number of its own")
        parent = self.procs[parent]
        answer = parent.call("fork", index)
        if answer.errno is not None:
            raise LiveError(f"fork failed: {os.strerror(answer.errno)}")
        child = self.procs[index] = Puppet(index, answer.value, self._channels[index])
        child.answer("fork")
        parent.call("warm")
        return child

    def exit(self, index):
        """Let a process exit; returns when its memory is gone."""
        puppet = self.procs.pop(index)
        puppet.leave()
        if index == 0:
            self._first.wait()
        else:
            os.waitpid(puppet.pid, 0)

    def end(self):
        """End all processes that are left."""
        for channel in self._channels:  # a process that cannot read any more ends
            channel.close()
        for index, puppet in sorted(self.procs.items(), reverse=True):
            if index == 0:
                self._wait_first()
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(puppet.pid, 0)
        self.procs = {}

    def _wait_first(self):
        try:
            self._first.wait(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self._first.kill()
            self._first.wait()
