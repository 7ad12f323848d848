# cython: language_level=3
"""Policy slots that call Python."""
from foliosim._core.types cimport *

# Put the trampoline of a point into its slot; KeyError if there is no such point.
cdef int install_hook(policy_t *policy, str point) except -1
