# cython: language_level=3
"""mprotect (mm/mprotect.c): the part that works on VMAs; change_prot.pyx changes the entries."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

cdef extern from *:
    """
    #define FS_PKEY_NONE 0xffffffffffffffffULL
    #define FS_PKEYS 16ULL
    """
    const uint64_t FS_PKEY_NONE, FS_PKEYS

# mprotect(2) and pkey_mprotect(2); FS_PKEY_NONE: VMAs keep their protection keys.
# 0, -EINVAL, -ENOMEM (hole, max_map_count, overcommit), -EACCES, -EPERM (sealed), or -FS_EHOSTMEM.
# VMAs below the one that failed stay changed.
cdef int do_mprotect(machine_t *m, mm_t *mm, uint64_t start, uint64_t len, uint64_t prot,
                    uint64_t pkey) noexcept nogil
