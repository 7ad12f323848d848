# cython: language_level=3
"""The border for files."""
from foliosim._core.machine cimport CoreMapping
from foliosim._core.types cimport *

cdef class CoreFile(CoreMapping):
    cdef mapping_t *look(self) except NULL
    cdef mapping_t *begin(self) except NULL
    cdef int leave(self, int64_t result, str syscall, tuple args) except -1
