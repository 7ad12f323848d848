# cython: language_level=3
"""Policy slots that call Python, or compiled code from outside."""
from foliosim._core.types cimport *

# Let a point be decided by a Python callable, or by a capsule; ValueError for a capsule of another name.  What the
# machine has to keep as long as the slot is so.
cdef object install_hook(policy_t *policy, int point, void *machine, object answer)
# Is a point decided by a Python callable?
cdef bint calls_python(const policy_t *policy) noexcept
# The machine goes: nothing of what it kept may be called any more.
cdef void remove_hooks(policy_t *policy) noexcept
