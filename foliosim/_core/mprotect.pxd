# cython: language_level=3
"""mprotect (mm/mprotect.c): the part that works on VMAs; change_prot.pyx changes the entries."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# mprotect(2).  0, -EINVAL, -ENOMEM (hole, max_map_count, overcommit), -EACCES, -EPERM (sealed), or -FS_EHOSTMEM.
# VMAs below the one that failed stay changed.
cdef int do_mprotect(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t prot) noexcept nogil
