# cython: language_level=3
"""The border for files."""
from foliosim._core.machine cimport CoreMapping
from foliosim._core.types cimport *

cdef class CoreFile(CoreMapping):
    cdef mapping_t *enter(self) except NULL
    cdef int leave(self, int result, str syscall, tuple args) except -1
