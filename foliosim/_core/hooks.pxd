# cython: language_level=3
"""Policy slots that call Python, or compiled code from outside."""
from foliosim._core.types cimport *

# Let a point be decided by a Python callable of the machine's, or by a capsule; ValueError for a capsule of another
# name.
cdef int install_hook(policy_t *policy, int point, void *machine, object answer) except -1
