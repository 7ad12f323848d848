# cython: language_level=3
"""mremap (mm/mremap.c): checks, growing, shrinking and moving VMAs; mremap_tables.pyx moves their page tables."""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.types cimport *

# mremap(2); new_addr counts with MREMAP_FIXED, and as a hint with MREMAP_DONTUNMAP.  The address of the mapping, or
# -EINVAL, -EFAULT (no such mapping, or the range leaves it), -EPERM (sealed), -ENOMEM (no room, max_map_count,
# overcommit, no frame), or -FS_EHOSTMEM.  A target that was unmapped for MREMAP_FIXED stays so; of several VMAs, those
# below the one that failed stay moved.
cdef int64_t do_mremap(machine_t *m, mm_t *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, uint64_t flags,
                       uint64_t new_addr) noexcept nogil
