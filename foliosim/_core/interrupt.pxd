# cython: language_level=3
"""Long operations that may end early ask, once per table, whether they shall.  A signal that the Python process gets
stands for a fatal signal to the task (fatal_signal_pending): what was done by then stays done."""
from foliosim._core.types cimport *

cdef enum:
    TABLES_BETWEEN_LOOKS = 128   # not a millisecond of work, mostly

cdef inline bint look_for_signal(machine_t *m) noexcept nogil:
    m.interrupt.left = TABLES_BETWEEN_LOOKS
    if m.interrupt.stop or (m.interrupt.ask != NULL and m.interrupt.ask(m.interrupt.ctx)):
        m.interrupt.stop = True
        m.interrupt.left = 0
    return m.interrupt.stop

cdef inline bint fatal_signal_pending(machine_t *m) noexcept nogil:
    """Shall the operation end here?"""
    m.interrupt.left -= 1
    return m.interrupt.left < 0 and look_for_signal(m)
