# cython: language_level=3
"""P21: folios that an operation left partly mapped and that are not to wait for memory pressure."""
from foliosim._core.types cimport *

# At the end of an operation: split those that it marked.
cdef void split_marked(machine_t *m) noexcept nogil
