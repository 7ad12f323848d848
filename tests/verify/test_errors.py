"""Exceptions carry errno, address and object, and are the builtins that Python programs catch."""
import errno
import pickle

import pytest

from foliosim.errors import BusError, SegvError, SyscallError, ValidationError, syscall_error


@pytest.mark.parametrize("number, builtin", [
    (errno.EPERM, PermissionError), (errno.EACCES, PermissionError), (errno.EEXIST, FileExistsError),
    (errno.EAGAIN, BlockingIOError), (errno.ENOMEM, OSError), (errno.EFAULT, OSError),
])
def test_errno_maps_to_builtin(number, builtin):
    error = syscall_error(-number, "mmap", (0x200000000000, 4096))
    assert isinstance(error, SyscallError) and isinstance(error, builtin)
    assert (error.errno, error.syscall, error.syscall_args) == (number, "mmap", (0x200000000000, 4096))
    assert str(error).startswith(f"mmap(0x200000000000, 4096): {errno.errorcode[number]} (")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


def test_faults():
    fault = SegvError(0x200000001000, "ACCERR", access="write")
    assert (fault.addr, fault.si_code, fault.signal) == (0x200000001000, "ACCERR", "SIGSEGV")
    assert str(fault) == "SIGSEGV ACCERR: write of 0000200000001000"
    assert str(BusError(0x1000, "ADRERR")) == "SIGBUS ADRERR: 0000000000001000"
    assert not isinstance(fault, OSError)


def test_validation_error_lists_differences():
    error = ValidationError([("folio 0x200", "refcount", 3, 2)] * 10)
    assert len(error.differences) == 10
    assert "folio 0x200: refcount is 3, recomputed 2" in str(error) and "and 2 more" in str(error)
