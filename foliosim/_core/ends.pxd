# cython: language_level=3
"""How operations end, and machines."""
from foliosim._core.types cimport *

# What the end of every operation does: nothing waits on a CPU's batches, or to be split.
cdef void drain_batches(machine_t *m) noexcept nogil
# All that a machine has of the host.
cdef void free_machine(machine_t *m) noexcept nogil
