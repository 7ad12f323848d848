# cython: language_level=3
"""The lines of a trace: page faults, which are nearly all of them, into columns; where the others are."""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr
import numpy as np

cdef enum:
    FAULT_WRITE = 1
    FAULT_EXEC = 2
    FAULT_PRESENT = 4
    FAULT_KERNEL = 8


cdef inline const char *blanks(const char *at, const char *end) noexcept nogil:
    """Behind the blanks that JSON allows between values."""
    while at < end and (at[0] == b' ' or at[0] == b'\t' or at[0] == b'\r'):
        at += 1
    return at


cdef const char *number(const char *at, const char *end, uint64_t *value) noexcept nogil:
    """Decimal digits and a comma; behind them, or NULL if there are none or more than 19."""
    cdef const char *start
    at = blanks(at, end)
    start = at
    value[0] = 0
    while at < end and 0x30 <= at[0] <= 0x39:
        value[0] = value[0] * 10 + <uint64_t>(at[0] - 0x30)
        at += 1
    if not 0 < at - start <= 19:
        return NULL
    at = blanks(at, end)
    return at + 1 if at < end and at[0] == b',' else NULL


cdef int fault_flags(const char *at, const char *end) noexcept nogil:
    """The bits of ``"wpk"]``; -1: something else."""
    cdef int flags
    if end - at < 4 or at[0] != b'"':
        return -1
    flags = 0 if at[1] == b'r' else FAULT_WRITE if at[1] == b'w' else FAULT_EXEC if at[1] == b'x' else -1
    if flags < 0:
        return -1
    at += 2
    if at[0] == b'p':
        flags |= FAULT_PRESENT
        at += 1
    if at[0] == b'k':
        flags |= FAULT_KERNEL
        at += 1
    if at >= end or at[0] != b'"':
        return -1
    at = blanks(at + 1, end)
    return flags if at < end and at[0] == b']' and blanks(at + 1, end) == end else -1


cdef int fault_line(const char *at, const char *end, uint64_t *columns) noexcept nogil:
    """``["f",time,pid,tid,address,"flags"]``: its flags and the four numbers; -1: another line."""
    cdef int i
    at = blanks(at, end)
    if end - at < 16 or at[0] != b'[':
        return -1
    at = blanks(at + 1, end)
    if end - at < 4 or at[0] != b'"' or at[1] != b'f' or at[2] != b'"':
        return -1
    at = blanks(at + 3, end)
    if at >= end or at[0] != b',':
        return -1
    at += 1
    for i in range(4):
        at = number(at, end, columns + i)
        if at == NULL:
            return -1
    return fault_flags(blanks(at, end), end)


def scan_lines(const uint8_t[::1] text, int64_t start):
    """Split a trace's text from byte `start` on.

    Returns
    -------
    (time, pid, tid, address, flags), others
        Columns of the faults: arrays of uint64, int64, int64, uint64 and uint8 (bit 0: write, 1: instruction fetch,
        2: a page was present, 3: kernel mode).  ``others``: an array of int64 with four columns, for every
        other line that is not blank: first byte, byte behind it, faults before it, lines before it.
    """
    cdef const char *base = <const char *>&text[0] if text.shape[0] else NULL
    cdef const char *at = base + start
    cdef const char *stop = base + text.shape[0]
    cdef const char *end
    cdef int64_t lines = np.count_nonzero(np.asarray(text[start:]) == 0x0a) + 1
    cdef int64_t n = 0, k = 0, line = 0
    cdef uint64_t columns[4]
    cdef int flags
    time, pid, tid = np.empty(lines, np.uint64), np.empty(lines, np.int64), np.empty(lines, np.int64)
    address, bits = np.empty(lines, np.uint64), np.empty(lines, np.uint8)
    others = []
    cdef uint64_t[::1] to_time = time, to_address = address
    cdef int64_t[::1] to_pid = pid, to_tid = tid
    cdef uint8_t[::1] to_bits = bits
    while at < stop:
        end = <const char *>memchr(at, 0x0a, stop - at)
        if end == NULL:
            end = stop
        flags = fault_line(at, end, columns)
        if flags >= 0:
            to_time[n], to_address[n], to_bits[n] = columns[0], columns[3], <uint8_t>flags
            to_pid[n], to_tid[n] = <int64_t>columns[1], <int64_t>columns[2]
            n += 1
        elif blanks(at, end) < end:
            others.append((at - base, end - base, n, line))
        line += 1
        at = end + 1
    return (time[:n], pid[:n], tid[:n], address[:n], bits[:n]), np.array(others, np.int64).reshape(-1, 4)
