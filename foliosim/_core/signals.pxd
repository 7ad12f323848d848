# cython: language_level=3
"""Signals to the Python process."""

# For `interrupt_t`, ctx the CoreMachine: did a signal's handler raise?  What it raised is kept on the machine.
cdef bint look_for_signals(void *ctx) noexcept nogil
