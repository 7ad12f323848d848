# cython: language_level=3
"""Whose turn it is: one thread at a time works on a machine, and long work is done without the GIL.

Most operations are over sooner than the GIL could be given away.  They keep it, so that no other thread comes between;
all they do is look whether somebody else is in the middle of a long one.  A long operation, and any in which Python
code may run, takes the turn: others wait for it.
"""
from cpython.pystate cimport PyThreadState
from libc.stdint cimport int64_t, uint64_t

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock

cdef extern from "Python.h":
    PyThreadState *PyEval_SaveThread() nogil

cdef enum:
    LONG = 1024                  # pages: microseconds of work at least

cdef struct turn_t:              # changes only while the GIL is held
    unsigned long owner          # thread whose turn it is; 0: nobody's
    bint busy                    # it is in the core
    bint hooks                   # Python decides policy points: the GIL is kept
    bint give_gil                # the operation is long enough to go without it
    int held                     # blocks of Python code that have the machine for themselves, one inside the other
    PyThread_type_lock lock      # the owner has it
    PyThreadState *saved         # of the owner, while it goes without the GIL
    int64_t looked               # when signals were looked for last, ns

cdef int turn_init(turn_t *turn) except -1
cdef void turn_deinit(turn_t *turn) noexcept

# The slow parts of the functions below.
cdef int wait_for_turn(turn_t *turn) except -1
cdef int take_turn(turn_t *turn, bint give_gil) except -1
cdef void end_turn(turn_t *turn) noexcept

# Signals are looked for some times a second, in operations that have the turn.
cdef bint time_to_look(turn_t *turn) noexcept nogil
# Let others run, if the operation keeps the GIL, and raise what a signal's handler raises.
cdef int give_way(const turn_t *turn) except -1

# A block of Python code has the machine for itself, and operates it.
cdef int hold_turn(turn_t *turn) except -1
# RuntimeError: it is not this thread that has it; ReentryError: in the middle of an operation.
cdef int check_holder(const turn_t *turn, int entered, bint busy) except -1
cdef void release_turn(turn_t *turn) noexcept


cdef inline int look_turn(turn_t *turn) except -1:
    """Wait until nobody is in the middle of an operation.  ReentryError: this thread is."""
    return wait_for_turn(turn) if turn.owner else 0


cdef inline int enter_turn(turn_t *turn, uint64_t pages) except -1:
    """Look, and take the turn if the operation, on so many pages, needs it."""
    if turn.owner or turn.hooks or pages >= <uint64_t>LONG:
        return take_turn(turn, pages >= <uint64_t>LONG)
    return 0


cdef inline void run_turn(turn_t *turn) noexcept:
    """From here to `leave_turn` nothing may touch Python."""
    if turn.busy and turn.give_gil:
        turn.saved = PyEval_SaveThread()


cdef inline void leave_turn(turn_t *turn) noexcept:
    if turn.busy:
        end_turn(turn)
