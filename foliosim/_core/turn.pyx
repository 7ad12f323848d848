# cython: language_level=3
"""Whose turn it is.  The lock is taken with the GIL held if it is free, else the GIL is given away to wait for it."""
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from foliosim.errors import ReentryError

cdef enum:
    LOOK_EVERY = 50_000_000      # ns

cdef extern from "pythread.h":
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE, PY_LOCK_ACQUIRED, PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible)
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    void PyEval_RestoreThread(PyThreadState *state)
    int PyErr_CheckSignals() except -1


cdef int turn_init(turn_t *turn) except -1:
    turn.lock = PyThread_allocate_lock()
    if turn.lock == NULL:
        raise MemoryError("cannot make a lock")
    return 0


cdef void turn_deinit(turn_t *turn) noexcept:
    if turn.lock != NULL:
        PyThread_free_lock(turn.lock)
    turn.lock = NULL


cdef int acquire(turn_t *turn) except -1:
    """Ctrl-C ends the wait."""
    cdef PyThreadState *state
    cdef PyLockStatus got = PyThread_acquire_lock_timed(turn.lock, 0, 0)
    while got != PY_LOCK_ACQUIRED:
        state = PyEval_SaveThread()
        got = PyThread_acquire_lock_timed(turn.lock, -1, 1)
        PyEval_RestoreThread(state)
        if got == PY_LOCK_INTR:
            PyErr_CheckSignals()
    return 0


cdef bint is_mine(const turn_t *turn) except -1:
    if turn.owner != PyThread_get_thread_ident():
        return False
    if turn.busy:
        raise ReentryError("a policy hook, or a signal's handler, called back into its machine")
    return True


cdef int wait_for_turn(turn_t *turn) except -1:
    if not is_mine(turn):
        acquire(turn)
        PyThread_release_lock(turn.lock)
    return 0


cdef int take_turn(turn_t *turn, bint give_gil) except -1:
    if not is_mine(turn):
        acquire(turn)
        turn.owner = PyThread_get_thread_ident()
    turn.busy = True
    turn.give_gil = give_gil and not turn.hooks
    return 0


cdef void give_up(turn_t *turn) noexcept:
    if not turn.held:
        turn.owner = 0
        PyThread_release_lock(turn.lock)


cdef void end_turn(turn_t *turn) noexcept:
    if turn.saved != NULL:
        PyEval_RestoreThread(turn.saved)
        turn.saved = NULL
    turn.busy = False
    give_up(turn)


cdef bint time_to_look(turn_t *turn) noexcept nogil:
    cdef timespec now
    cdef int64_t ns
    clock_gettime(CLOCK_MONOTONIC, &now)
    ns = now.tv_sec * 1_000_000_000 + now.tv_nsec
    if not turn.busy or ns - turn.looked < LOOK_EVERY:
        return False
    turn.looked = ns
    return True


cdef int give_way(const turn_t *turn) except -1:
    if turn.saved == NULL:
        PyEval_RestoreThread(PyEval_SaveThread())
    return PyErr_CheckSignals()


cdef int hold_turn(turn_t *turn) except -1:
    if not is_mine(turn):
        acquire(turn)
        turn.owner = PyThread_get_thread_ident()
    turn.held += 1
    return 0


cdef int check_holder(const turn_t *turn, int entered, bint busy) except -1:
    if not entered or not turn.held or turn.owner != PyThread_get_thread_ident():
        raise RuntimeError("this thread does not hold the machine")
    if turn.busy and not busy:
        raise ReentryError("a policy hook, or a signal's handler, called back into its machine")
    return 0


cdef void release_turn(turn_t *turn) noexcept:
    turn.held -= 1
    give_up(turn)
