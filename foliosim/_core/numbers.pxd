# cython: language_level=3
"""Integers that users pass: what cannot be one, or does not fit, is an error that names it.

A plain int is quick.  What has ``__index__`` (numpy's integers, members of an enum) is converted; a bool or a float is
no number of bytes.  Objects are asked here, before an operation begins: they may run Python code.
"""
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "Python.h":
    unsigned long as_unsigned "PyLong_AsUnsignedLong"(object)    # 64 bits, and quicker than those of long long
    long as_signed "PyLong_AsLong"(object)
    void *PyErr_Occurred()

# What the quick ones below do not convert, and the rare ones.
cdef uint64_t slow_u64(object value, str what) except? 0xfedcba9876543210
cdef int64_t slow_i64(object value, str what) except? -0x123456789abcdef
cdef uint32_t u32(object value, str what) except? 0xfedcba98
cdef int32_t i32(object value, str what) except? -0x1234567


cdef inline uint64_t u64(object value, str what) except? 0xfedcba9876543210:
    """A register's value; TypeError if it is no integer, OverflowError if it does not fit."""
    cdef uint64_t number
    if not PyLong_CheckExact(value):
        return slow_u64(value, what)
    number = as_unsigned(value)
    if number == <uint64_t>-1 and PyErr_Occurred() != NULL:
        return slow_u64(value, what)
    return number


cdef inline int64_t i64(object value, str what) except? -0x123456789abcdef:
    """The same with a sign."""
    cdef int64_t number
    if not PyLong_CheckExact(value):
        return slow_i64(value, what)
    number = as_signed(value)
    if number == -1 and PyErr_Occurred() != NULL:
        return slow_i64(value, what)
    return number
