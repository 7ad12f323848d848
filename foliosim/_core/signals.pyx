# cython: language_level=3
"""What signals to the Python process do to an operation that has the turn: if a handler raises, it ends soon."""
from foliosim._core.machine cimport CoreMachine
from foliosim._core.turn cimport give_way, time_to_look


cdef bint look_for_signals(void *ctx) noexcept nogil:
    """For `interrupt_t`: did a signal's handler raise?"""
    return time_to_look(&(<CoreMachine>ctx).turn) and signal_raised(ctx)


cdef bint signal_raised(void *ctx) noexcept with gil:
    cdef CoreMachine machine = <CoreMachine>ctx
    try:
        give_way(&machine.turn)
    except BaseException as error:
        machine.keep_error(error)
        machine.m.interrupt.stop = True
    return machine.m.interrupt.stop
