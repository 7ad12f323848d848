# cython: language_level=3
"""Integers that users pass, in the cases that are not quick."""
from cpython.exc cimport PyErr_Clear
from libc.stdint cimport INT32_MAX, INT32_MIN
import numpy as np
from foliosim.sizes import index


cdef object checked(object value, str what, object least, object most):
    PyErr_Clear()
    number = index(what, value)
    if not least <= number <= most:
        raise OverflowError(f"{what} {value!r}: must be {least:#x} to {most:#x}")
    return number


cdef uint64_t slow_u64(object value, str what) except? 0xfedcba9876543210:
    return checked(value, what, 0, (1 << 64) - 1)


cdef int64_t slow_i64(object value, str what) except? -0x123456789abcdef:
    return checked(value, what, -(1 << 63), (1 << 63) - 1)


cdef inline bint fits(object value, int64_t least, int64_t most):
    """Is it a plain int of that range?  The rest is left to `checked`."""
    cdef int64_t number
    if not PyLong_CheckExact(value):
        return False
    number = as_signed(value)        # -1: an error too, which `checked` clears
    return least <= number <= most and (number != -1 or PyErr_Occurred() == NULL)


cdef uint32_t u32(object value, str what) except? 0xfedcba98:
    if fits(value, 0, 0xffffffff):
        return as_signed(value)
    return checked(value, what, 0, 0xffffffff)


cdef int32_t i32(object value, str what) except? -0x1234567:
    if fits(value, INT32_MIN, INT32_MAX):
        return as_signed(value)
    return checked(value, what, INT32_MIN, INT32_MAX)


def addresses(values, str what):
    """An array of addresses or frame numbers, shape (n,) of uint64; a single one is an array of one."""
    given = np.atleast_1d(np.asarray(values))
    if given.size and given.dtype.kind not in "iu":      # numpy has floats for integers that fit no one type
        given = np.atleast_1d(np.asarray(values, dtype=object))
    if given.ndim != 1:
        raise TypeError(f"{what} {values!r}: must be integers, shape (n,)")
    if given.dtype.kind == "O":
        return np.array([checked(value, what, 0, (1 << 64) - 1) for value in given], dtype=np.uint64)
    if given.dtype.kind == "i" and given.size and given.min() < 0:
        raise OverflowError(f"{what} {given.min()}: must be 0 to {(1 << 64) - 1:#x}")
    return np.ascontiguousarray(given, dtype=np.uint64)
