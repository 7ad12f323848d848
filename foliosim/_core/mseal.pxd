# cython: language_level=3
"""mseal (mm/mseal.c)."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# mseal(2).  0, -EINVAL, -ENOMEM (a hole: nothing is sealed; max_map_count: VMAs below stay sealed), or -FS_EHOSTMEM.
cdef int do_mseal(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t flags) noexcept nogil
