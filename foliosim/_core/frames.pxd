# cython: language_level=3
"""The border's ground: the core's struct, and whose turn it is to work on it."""
from foliosim._core.turn cimport turn_t
from foliosim._core.types cimport machine_t

cdef class CoreFrames:
    cdef machine_t m
    cdef turn_t turn             # which thread works on it

    # Wait until no other thread is in the middle of an operation.  What follows is short, or holds the turn: no Python
    # code may run between two looks at what the core may change.
    cdef int look(self) except -1
    # Raise what a hook raised meanwhile.
    cdef int settle(self) except -1
